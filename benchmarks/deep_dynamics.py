"""How a net with three narrowed hidden layers trains on: relabelled digits, and from initialisation.

    python benchmarks/deep_dynamics.py              # three seeds, a quarter of an hour on one core
    python benchmarks/deep_dynamics.py --quick      # one seed, trained ReLU nets only
    python benchmarks/deep_dynamics.py --json out.json

64-512-256-128-10, every hidden layer to an eighth of its width. Training gap on test rows after 200 steps
of SGD (.05) and of AdamW (3e-4) on the same batches, ||(f_slim,T - f_slim,0) - (f_T - f_0)|| / ||f_T - f_0||,
and the function gap before them, both to the full net.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from digits_problem import Digits, digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from jlab_compress import compress
from jlab_compress.fitting.rows import relative_error
from jlab_compress.network.compression import compress_baseline

SIZES, FRACTION, STEPS = (64, 512, 256, 128, 10), 0.125, 200
CASES: dict[str, tuple[type[nn.Module], bool]] = {
    "trained, ReLU": (nn.ReLU, True),
    "trained, GELU": (nn.GELU, True),
    "initial, ReLU": (nn.ReLU, False),
}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, 0.05),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, 3e-4),
}
AIMS = ("dynamics", "function")
BASELINES = ("random", "magnitude", "k-means", "greedy", "interpolative", "nnls")


def net_of(case: str, seed: int, task: Digits) -> nn.Module:
    activation, trained = CASES[case]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = [part for a, b in itertools.pairwise(SIZES) for part in (nn.Linear(a, b), activation())]
    net = nn.Sequential(*parts[:-1])
    return train(net, task.inputs, task.labels, torch.optim.Adam, 1500, seed) if trained else net


def train(net: nn.Module, inputs: Tensor, labels: Tensor, optimizer: Any, steps: int, seed: int) -> nn.Module:
    """Return a trained copy; the same seed gives the same batches."""
    net = copy.deepcopy(net)
    opt, generator = optimizer(net.parameters()), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (64,), generator=generator)
        opt.zero_grad()
        cross_entropy(net(inputs[rows]), labels[rows]).backward()
        opt.step()
    return net


@torch.no_grad()
def outputs(net: nn.Module, task: Digits) -> Tensor:
    found: Tensor = net(task.test_inputs)
    return found


def measure(case: str, seed: int) -> list[dict[str, Any]]:
    """Return one row per method: training gaps under both optimizers and the function gap."""
    task = digits(seed)
    net = net_of(case, seed, task)
    renamed = torch.randperm(10, generator=torch.Generator().manual_seed(seed))[task.labels]
    labels = renamed if CASES[case][1] else task.labels
    rows = []

    def moved(start: nn.Module, name: str) -> Tensor:
        done = train(start, task.inputs, labels, OPTIMIZERS[name], STEPS, seed + 5)
        return outputs(done, task) - outputs(start, task)

    full = {name: moved(net, name) for name in OPTIMIZERS}
    options: dict[str, Any] = {"calibration": task.inputs, "seed": seed}
    for method in (*AIMS, *BASELINES):
        if method in AIMS:
            slim = compress(net, FRACTION, preserve=method, progress=False, **options).model
        else:
            slim = compress_baseline(net, FRACTION, method=method, **options).model
        gaps = {name: relative_error(moved(slim, name), full[name]) for name in OPTIMIZERS}
        function = relative_error(outputs(slim, task), outputs(net, task))
        rows.append({"case": case, "seed": seed, "method": method, **gaps, "function": function})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    cases = list(CASES)[:1] if given.quick else list(CASES)
    for case in cases:
        print(f"\n{case}\n\n| method | SGD | AdamW | function gap |\n|---|---|---|---|")
        mine = [row for seed in range(1 if given.quick else 3) for row in measure(case, seed)]
        for method in (*AIMS, *BASELINES):
            own = [row for row in mine if row["method"] == method]
            cells = [fmean(row[name] for row in own) for name in (*OPTIMIZERS, "function")]
            print(f"| {method} | " + " | ".join(f"{value:.3f}" for value in cells) + " |", flush=True)
        rows += mine
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
