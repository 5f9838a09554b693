"""How a narrowed 64-1024-10 ReLU net trains on: relabelled classes, and from initialisation.

Final output gap to the full net and training gap, on test rows, after 300 steps of SGD (.1) and of
AdamW (.001) on the same batches; every neuron's gradient is divided by its multiplicity.

Run: python benchmarks/digits_dynamics.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from digits_problem import Digits, digits, fresh_layer, train, trained_layer
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
from jlab_compress.fitting.aims.function import fit_function
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.held_out import relative_error
from jlab_compress.fitting.layer import Layer

OPTIMIZERS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, 0.1),
    "AdamW": lambda p: torch.optim.AdamW(p, 1e-3),
}
STEPS = 300
WIDTHS = {"tune": (64, 32, 16), "init": (128, 32)}


def spread_counts(layer: Layer, inputs: Tensor, size: int, *, seed: int) -> Fit:
    """Greedy + refit with every neuron counted n / s times."""
    fit = greedy_refit(layer, inputs, size, seed=seed)
    share = layer.width / size
    counted = replace(
        fit.layer, outgoing=fit.layer.outgoing / share, multiplicities=fit.layer.multiplicities * share
    )
    return replace(fit, layer=counted)


def fresh(layer: Layer, inputs: Tensor, size: int, *, seed: int) -> Fit:
    """A small net of its own."""
    return Fit(fresh_layer(seed + 1000, size), None, "fresh", float("nan"))


METHODS: dict[str, Callable[..., Fit]] = {
    "random subset": random_subset,
    "magnitude": magnitude,
    "k-means merge": kmeans_merge,
    "greedy + refit, c = 1": greedy_refit,
    "greedy + refit, c = n/s": spread_counts,
    "interpolative": interpolative,
    "outputs-only NNLS": nnls_outputs,
    "fresh small net": fresh,
    "function only": lambda layer, x, size, seed: fit_function(layer, FitRows(x), size, seed=seed),
    "preserve=dynamics": fit_dynamics,
}


def trained(start: Layer, name: str, task: Digits, labels: Tensor, seed: int) -> Tensor:
    """Train with one optimizer and return the outputs on the test rows."""
    done = train(start, task.inputs, labels, optimizer=OPTIMIZERS[name], steps=STEPS, seed=seed + 5)
    return done(task.test_inputs)


def measure(case: str, seed: int, widths: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return one row per width and method: gaps to the full net under both optimizers."""
    task = digits(seed)
    shuffled = torch.randperm(10, generator=torch.Generator().manual_seed(seed))[task.labels]
    tune = case == "tune"
    layer, labels = (trained_layer(seed, task), shuffled) if tune else (fresh_layer(seed + 50), task.labels)
    finals = {name: trained(layer, name, task, labels, seed) for name in OPTIMIZERS}
    x, rows = task.test_inputs, list[dict[str, Any]]()
    for width, (method, fit) in itertools.product(widths, METHODS.items()):
        start = time.process_time()
        made = fit(layer, task.inputs, width, seed=seed)
        seconds = time.process_time() - start
        rows.append({"case": case, "seed": seed, "width": width, "method": method, "seconds": seconds})
        rows[-1]["trains alike"] = made.trains_alike
        for name, final in finals.items():
            own = trained(made.layer, name, task, labels, seed)
            moved = own - made.layer(x)
            rows[-1] |= {f"{name} output": relative_error(own, final)}
            rows[-1] |= {f"{name} training": relative_error(moved, final - layer(x))}
    return rows


def table(rows: list[dict[str, Any]], case: str, width: int) -> None:
    """Print the means over seeds as a Markdown table."""
    print(f"\n{case}, {width} neurons\n")
    print("| method | SGD output gap | SGD training gap | AdamW output gap | AdamW training gap | s CPU |")
    print("|---|---|---|---|---|---|")
    for method in METHODS:
        own = [r for r in rows if (r["case"], r["width"], r["method"]) == (case, width, method)]
        gaps = [fmean(r[f"{n} {kind}"] for r in own) for n in OPTIMIZERS for kind in ("output", "training")]
        seconds = max(r["seconds"] for r in own)
        print(f"| {method} | " + " | ".join(f"{g:.3f}" for g in gaps) + f" | {seconds:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, 64 neurons, trained net only")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plans = {"tune": (64,)} if options.quick else WIDTHS
    rows: list[dict[str, Any]] = []
    for seed, case in itertools.product(range(1 if options.quick else 3), plans):
        rows += measure(case, seed, plans[case])
        print(f"seed {seed}, {case}: done", flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))
    for case, widths in plans.items():
        for width in widths:
            table(rows, case, width)


if __name__ == "__main__":
    main()
