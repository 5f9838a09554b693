"""A 10,000-wide tanh net with two or three inputs: does its narrowed form train on alike?

The net is trained on a smooth target; wide and slim net then take 100 full-batch steps of gradient
descent towards another one, gradients divided by multiplicities. All methods get the same net and the same
rows; gaps are on test rows that no fit has seen.

Run: python benchmarks/tanh_lowdim.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from jlab_compress.fitting.aims.baselines import (
    greedy_refit,
    interpolative,
    kmeans_merge,
    magnitude,
    nnls_outputs,
    random_subset,
)
from jlab_compress.fitting.aims.dynamics import fit_dynamics
from jlab_compress.fitting.aims.short_training import ShortTraining, largest_eigenvalue, train_on
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.held_out import relative_error
from jlab_compress.fitting.layer import Layer
from jlab_compress.report import Report, Table

ROWS = 1200
SIZES = {2: 200, 3: 400}
METHODS: dict[str, Callable[..., Fit]] = {
    "random subset": random_subset,
    "magnitude": magnitude,
    "k-means merge": kmeans_merge,
    "greedy + refit": greedy_refit,
    "interpolative": interpolative,
    "outputs-only NNLS": nnls_outputs,
    "preserve=dynamics": fit_dynamics,
}


def target(x: Tensor, phase: float) -> Tensor:
    return torch.sin(2.5 * x[:, :1] + phase) * torch.cos(2 * x[:, 1:2] - phase) + 0.5 * x[:, -1:] ** 2


def wide_net(n_in: int, width: int, x: Tensor, seed: int, steps: int) -> Layer:
    """Draw a net at the usual scale and train it by gradient descent at a stable rate."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, fan: int) -> Tensor:
        return (2 * torch.rand(*shape, generator=generator) - 1) / fan**0.5

    incoming, biases = 3 * uniform(width, n_in, fan=n_in), uniform(width, fan=n_in)
    start = Layer(
        (incoming,), (biases,), uniform(width, 1, fan=width), torch.zeros(1), torch.ones(width), torch.tanh
    )
    rate = 1.0 / largest_eigenvalue(start, x, seed)
    return train_on(start, ShortTraining(x, target(x, 0.0), x, {"sgd": rate}), "sgd", steps)


def measured(n_in: int, width: int, seed: int, steps: int) -> list[dict[str, Any]]:
    """Narrow one trained net by every method and train all on; one row of figures for each."""
    generator = torch.Generator().manual_seed(seed)
    x, test = (2 * torch.rand(2, ROWS, n_in, generator=generator) - 1).unbind()
    layer = wide_net(n_in, width, x, seed, steps)
    task = ShortTraining(x, target(x, 0.7), test, {"sgd": 1.0 / largest_eigenvalue(layer, x, seed)})
    before, after = layer(test), train_on(layer, task, "sgd", 100)(test)
    rows = []
    for name, fit in METHODS.items():
        start = time.process_time()
        made = fit(layer, x, SIZES[n_in], seed=seed)
        seconds = time.process_time() - start
        slim = made.layer
        moved = train_on(slim, task, "sgd", 100)(test) - slim(test)
        row = {
            "method": name,
            "n_in": n_in,
            "seed": seed,
            "neurons": slim.width,
            "function_gap": relative_error(slim(test), before),
            "training_gap": relative_error(moved, after - before),
            "trains alike": made.trains_alike,
            "seconds": seconds,
        }
        rows.append(row)
        print(f"m_in {n_in} seed {seed} {name}: training gap {row['training_gap']:.4f}", flush=True)
    return rows


def means(rows: list[dict[str, Any]], n_in: int) -> Table:
    """Return each method's mean over the seeds, and its worst training gap."""
    shown = []
    for name in METHODS:
        own = [r for r in rows if r["n_in"] == n_in and r["method"] == name]
        gaps = [r["training_gap"] for r in own]
        function, seconds = (fmean(r[key] for r in own) for key in ("function_gap", "seconds"))
        neurons = max(r["neurons"] for r in own)
        figures = (f"{x:.4f}" for x in (function, fmean(gaps), max(gaps)))
        shown.append((name, neurons, *figures, f"{seconds:.1f}"))
    columns = ("method", "neurons", "function gap", "training gap", "worst seed", "s CPU")
    return Table(f"m_in = {n_in}, at most {SIZES[n_in]} neurons", columns, tuple(shown))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="width 2000, two inputs, one seed")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    width, steps, seeds = (2000, 100, 1) if options.quick else (10_000, 300, 3)
    sizes = (2,) if options.quick else (2, 3)
    rows = [row for n_in in sizes for seed in range(seeds) for row in measured(n_in, width, seed, steps)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    summary = f"Means of {seeds} seeds, width {width}. Peak memory of the process: {peak:.1f} GiB."
    print(Report("Training gap after 100 steps", summary, tables=tuple(means(rows, m) for m in sizes)))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
