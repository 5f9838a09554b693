"""How a net with several narrowed hidden layers trains on: relabelled digits, and from initialisation.

    python benchmarks/deep_dynamics.py              # three seeds, half an hour on one core
    python benchmarks/deep_dynamics.py --quick      # one seed, trained ReLU nets only
    python benchmarks/deep_dynamics.py --cases "trained, convolutions" --json out.json

64-512-256-128-10, every hidden layer to an eighth of its width; three convolutions of 48, 96 and 64 channels
and a hidden layer of 128, without and with batch norms, to a quarter. Training gap on test rows after 200
steps of SGD (.05) and of AdamW (3e-4) on the same batches, and the function gap before them, both to the full
net: ||(f_slim,T - f_slim,0) - (f_T - f_0)|| / ||f_T - f_0||. "noise" is the full net under another batch
order. Batch norms take the statistics of batches while they train.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from digits_problem import Digits, digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from jlab_compress import compress
from jlab_compress.compression.compress import compress_baseline
from jlab_compress.fitting.held_out import relative_error

STEPS = 200


def dense(activation: type[nn.Module]) -> nn.Sequential:
    sizes = (64, 512, 256, 128, 10)
    parts = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), activation())]
    return nn.Sequential(*parts[:-1])


def convolutions(norms: bool) -> nn.Sequential:
    def stage(a: int, b: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(b)] if norms else []
        return [nn.Conv2d(a, b, 3, padding=1), *norm, nn.ReLU()]

    stages = (*stage(1, 48), *stage(48, 96), nn.MaxPool2d(2), *stage(96, 64))
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), *stages, nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 10)
    )


@dataclass(frozen=True)
class Case:
    """A net, how long it is trained before it is narrowed, and to what fraction."""

    make: Callable[[], nn.Sequential]
    trained: int
    fraction: float = 0.125


CASES = {
    "trained, ReLU": Case(lambda: dense(nn.ReLU), 1500),
    "trained, GELU": Case(lambda: dense(nn.GELU), 1500),
    "initial, ReLU": Case(lambda: dense(nn.ReLU), 0),
    "trained, convolutions": Case(lambda: convolutions(norms=False), 600, 0.25),
    "trained, batch norms": Case(lambda: convolutions(norms=True), 600, 0.25),
    "initial, convolutions": Case(lambda: convolutions(norms=False), 0, 0.25),
}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, 0.05),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, 3e-4),
}
AIMS = ("dynamics", "function")
BASELINES = ("random", "magnitude", "k-means", "greedy", "interpolative", "nnls")


def net_of(case: str, seed: int, task: Digits) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = CASES[case].make()
    return train(net, task.inputs, task.labels, torch.optim.Adam, CASES[case].trained, seed)


def train(net: nn.Module, inputs: Tensor, labels: Tensor, optimizer: Any, steps: int, seed: int) -> nn.Module:
    """Return a trained copy; the same seed gives the same batches."""
    net = copy.deepcopy(net).train()
    opt, generator = optimizer(net.parameters()), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (64,), generator=generator)
        opt.zero_grad()
        cross_entropy(net(inputs[rows]), labels[rows]).backward()
        opt.step()
    return net.eval()


@torch.no_grad()
def outputs(net: nn.Module, task: Digits) -> Tensor:
    found: Tensor = net.eval()(task.test_inputs)
    return found


def measure(case: str, seed: int) -> list[dict[str, Any]]:
    """Return one row per method: training gaps under both optimizers and the function gap."""
    task = digits(seed)
    net = net_of(case, seed, task)
    renamed = torch.randperm(10, generator=torch.Generator().manual_seed(seed))[task.labels]
    labels = renamed if CASES[case].trained else task.labels
    rows = []

    def moved(start: nn.Module, name: str, order: int = seed + 5) -> Tensor:
        done = train(start, task.inputs, labels, OPTIMIZERS[name], STEPS, order)
        return outputs(done, task) - outputs(start, task)

    full = {name: moved(net, name) for name in OPTIMIZERS}
    noise = {name: relative_error(moved(net, name, seed + 6), full[name]) for name in OPTIMIZERS}
    rows.append({"case": case, "seed": seed, "method": "noise", **noise, "function": 0.0})
    options: dict[str, Any] = {"calibration": task.inputs, "seed": seed}
    fraction = CASES[case].fraction
    for method in (*AIMS, *BASELINES):
        if method in AIMS:
            slim = compress(net, fraction, preserve=method, progress=False, **options).model
        else:
            slim = compress_baseline(net, fraction, method=method, **options).model
        gaps = {name: relative_error(moved(slim, name), full[name]) for name in OPTIMIZERS}
        function = relative_error(outputs(slim, task), outputs(net, task))
        rows.append({"case": case, "seed": seed, "method": method, **gaps, "function": function})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    cases = given.cases[:1] if given.quick else given.cases
    for case in cases:
        print(f"\n{case}\n\n| method | SGD | AdamW | function gap |\n|---|---|---|---|")
        mine = [row for seed in range(1 if given.quick else 3) for row in measure(case, seed)]
        for method in ("noise", *AIMS, *BASELINES):
            own = [row for row in mine if row["method"] == method]
            cells = [fmean(row[name] for row in own) for name in (*OPTIMIZERS, "function")]
            print(f"| {method} | " + " | ".join(f"{value:.3f}" for value in cells) + " |", flush=True)
        rows += mine
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
