"""Figure 4 of the paper: a wide net and its slim forms, trained from the same initialisation.

    python benchmarks/training_width.py                      # 2000 -> 200 neurons, minutes on a laptop
    python benchmarks/training_width.py --full               # 10,000 -> 1000, 3000 epochs, needs a GPU
    python benchmarks/training_width.py --width 10000 --size 1000 --optimizers AdamW   # the paper's widths

Printed for each optimizer and model: test loss at the end and at its highest, distance of the mean test-loss
curve from the original's (rms of log ratios over the later half), training gap at the end. "1/2" and "1/3"
have a half and a third of the size. The original under another batch order is the floor of both distances.
Results, and why the naive net won with RMSprop in the paper: benchmarks/training.md.
"""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import nn
from training_race import (
    MOVED,
    cosine,
    harmonic_batches,
    moved_centres,
    race,
    race_row,
    slim_net,
    slim_nets,
    wide_net,
)

from jlab_compress.inspection.find import find_blocks
from jlab_compress.report import Report, Table
from jlab_compress.slim.layers import read_layer
from jlab_compress.validation.measures.curve import Curve
from jlab_compress.validation.roles import ORIGINAL, REORDERED


@dataclass(frozen=True)
class Setting:
    """One size of the experiment; the target is a harmonic (order, waves), rates are per optimizer."""

    width: int
    size: int
    rows: int
    steps: int
    target: tuple[int, float]
    rates: dict[str, float]


# The full size is the paper's. The laptop size has a target that can be learned in its few steps.
FULL_SIZE = Setting(
    10_000, 1000, 100_000, 588_000, (6, 20.0),
    {"AdamW": 1e-4, "Adam": 1e-4, "SGD": 1e-3, "RMSprop": 1e-4, "RMSprop, slow": 1e-5},
)  # fmt: skip
LAPTOP_SIZE = Setting(
    2000, 200, 10_240, 600, (2, 8.0),
    {"AdamW": 1e-3, "Adam": 1e-3, "SGD": 2e-2, "RMSprop, fast": 1e-2, "RMSprop": 1e-3, "RMSprop, slow": 1e-4},
)  # fmt: skip


@cache
def contestants(
    width: int, size: int, *, seed: int, device: str, skip: tuple[str, ...] = ()
) -> dict[str, nn.Module]:
    """Return the wide net and its slim forms, also ours with a half and a third of the width."""
    net = wide_net(width, seed=seed, device=device)
    x = 2 * torch.rand(2000, 2, generator=torch.Generator().manual_seed(seed)).to(device) - 1
    layer = read_layer(net, find_blocks(net).named("0"), torch.relu)
    fewer = {f"{MOVED}, 1/{k}": slim_net(net, moved_centres(layer, size // k)) for k in (2, 3)}
    return {ORIGINAL: net, REORDERED: net} | slim_nets(net, size, x, degree=5, seed=seed, skip=skip) | fewer


def run(
    setting: Setting, name: str, *, rate: float, seed: int, device: str, skip: tuple[str, ...] = ()
) -> dict[str, Curve]:
    models = contestants(setting.width, setting.size, seed=seed, device=device, skip=skip)
    kind = getattr(torch.optim, name.partition(",")[0])
    data = partial(harmonic_batches, target=setting.target, device=device)
    return race(
        {label: copy.deepcopy(model) for label, model in models.items()},
        data(setting.rows, 512, noise=0.2, seed=seed),
        data(4096, 4096, noise=0.0, seed=seed + 1000),
        optimizer=cosine(kind, rate, setting.steps),
        steps=setting.steps,
        seed=seed,
    )


def table(name: str, rate: float, runs: list[dict[str, Curve]]) -> Table:
    rows = tuple(race_row(runs, model) for model in runs[0])
    columns = ("model", "test loss", "highest", "curve distance", "training gap")
    return Table(f"{name}, rate {rate:g}, {len(runs)} seeds", columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the paper's size; hours without a GPU")
    parser.add_argument("--optimizers", nargs="*", help="some of the keys of the setting's rates")
    for name in ("width", "size", "steps"):
        parser.add_argument(f"--{name}", type=int, help="instead of the setting's")
    parser.add_argument("--skip", nargs="*", default=[], help="models to leave out")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rate-factor", type=float, default=1.0)
    given = parser.parse_args()
    setting = FULL_SIZE if given.full else LAPTOP_SIZE
    own = {name: getattr(given, name) for name in ("width", "size", "steps") if getattr(given, name)}
    setting = replace(setting, **own)
    device, began = given.device, time.monotonic()
    for name in given.optimizers or setting.rates:
        rate = setting.rates[name] * given.rate_factor
        runs = [
            run(setting, name, rate=rate, seed=seed, device=device, skip=tuple(given.skip))
            for seed in range(given.seeds)
        ]
        title = f"{setting.width} -> {setting.size}, {setting.steps} steps"
        print(Report(title, tables=(table(name, rate, runs),)), flush=True)
    print(f"{time.monotonic() - began:.0f} s on {device}")


if __name__ == "__main__":
    main()
