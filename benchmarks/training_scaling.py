"""Figure 5b of the paper: test loss against width, before and after d -> factor sqrt(d).

    python benchmarks/training_scaling.py            # 64 .. 4096 neurons, minutes on a laptop
    python benchmarks/training_scaling.py --full     # 256 .. 16384, 2000 epochs, needs a GPU

If slim nets train like their originals, a law L ~ d^-a becomes L ~ d'^-(2 a): the ratio of the two
exponents should reach 2. The paper has .308 before and .607 after (ratio 1.97).
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
import torch
from training_race import (
    DYNAMICS,
    MOVED,
    PAPER,
    RANDOM,
    cosine,
    harmonic_batches,
    race,
    slim_nets,
    wide_net,
)

from jlab_compress.report import Report, Scalar, Table
from jlab_compress.validation.measures.curve import HELD_OUT_LOSS
from jlab_compress.validation.roles import ORIGINAL

MODELS = (ORIGINAL, MOVED, DYNAMICS, PAPER, RANDOM)


@dataclass(frozen=True)
class Setting:
    """One size of the experiment."""

    widths: tuple[int, ...]
    factor: float
    rows: int
    batch: int
    steps: int
    rate: float
    target: tuple[int, float]


FULL_SIZE = Setting((256, 1024, 4096, 16384), 16.0, 20_000, 128, 314_000, 1e-3, (6, 20.0))
LAPTOP_SIZE = Setting((64, 128, 256, 512, 1024, 2048, 4096), 8.0, 8192, 128, 2000, 1e-3, (3, 12.0))


def losses(setting: Setting, width: int, *, seed: int, device: str) -> dict[str, float]:
    """Return the final test loss of each model at one width; slim forms have factor sqrt(width) neurons."""
    net = wide_net(width, seed=seed, device=device)
    size = min(width, round(setting.factor * math.sqrt(width)))
    x = 2 * torch.rand(2000, 2, generator=torch.Generator().manual_seed(seed)).to(device) - 1
    slim = slim_nets(net, size, x, degree=6, seed=seed)
    data = partial(harmonic_batches, target=setting.target, device=device)
    curves = race(
        {ORIGINAL: net} | {name: slim[name] for name in MODELS[1:]},
        data(setting.rows, setting.batch, noise=0.2, seed=seed),
        data(4096, 4096, noise=0.0, seed=seed + 1000),
        optimizer=cosine(torch.optim.AdamW, setting.rate, setting.steps),
        steps=setting.steps,
        seed=seed,
    )
    return {name: fmean(curve.of(HELD_OUT_LOSS)[-3:]) for name, curve in curves.items()}


def exponent(widths: list[float], values: list[float]) -> float:
    """Return a of the law L ~ d^-a fitted to log L against log d."""
    return -float(np.polyfit(np.log(widths), np.log(values), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the paper's size; hours without a GPU")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, help="instead of the setting's")
    given = parser.parse_args()
    setting = FULL_SIZE if given.full else LAPTOP_SIZE
    if given.steps:
        setting = Setting(**(vars(setting) | {"steps": given.steps}))
    device, began = given.device, time.monotonic()
    means: dict[str, list[float]] = {name: [] for name in MODELS}
    rows: list[tuple[Scalar, ...]] = []
    narrow = [float(min(d, round(setting.factor * math.sqrt(d)))) for d in setting.widths]
    for width, size in zip(setting.widths, narrow, strict=True):
        runs = [losses(setting, width, seed=seed, device=device) for seed in range(given.seeds)]
        for name in MODELS:
            means[name].append(fmean(run[name] for run in runs))
        rows.append((width, int(size), *(means[name][-1] for name in MODELS)))
        print(rows[-1], flush=True)
    before = exponent([float(d) for d in setting.widths], means[ORIGINAL])
    after = {name: exponent(narrow, means[name]) for name in MODELS[1:]}
    laws = tuple((name, before, a, a / before) for name, a in after.items())
    tables = (
        Table("Final test loss", ("width", "slim width", *MODELS), tuple(rows)),
        Table("Exponents", ("model", "before", "after", "ratio"), laws),
    )
    print(Report(f"Scaling law, {setting.steps} steps, {given.seeds} seeds, {device}", tables=tables))
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
