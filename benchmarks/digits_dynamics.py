"""How a narrowed 64-1024-10 ReLU net trains on: relabelled classes, and from initialisation.

Final output gap to the full net and training gap, on test rows, after 300 steps of SGD (.1) and of
AdamW (.001) on the same batches; every neuron's gradient is divided by its multiplicity.

Run: python benchmarks/digits_dynamics.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from digits_problem import Digits, digits, fresh_layer, train, trained_layer
from torch import Tensor

from jlab_compress.fitting.baselines import greedy_refit, kmeans_merge, nnls_outputs, random_subset
from jlab_compress.fitting.dynamics import fit_dynamics
from jlab_compress.fitting.function import fit_function
from jlab_compress.fitting.layer import Fit, Layer
from jlab_compress.fitting.rows import relative_error

OPTIMIZERS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, 0.1),
    "AdamW": lambda p: torch.optim.AdamW(p, 1e-3),
}
STEPS = 300


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
    "k-means merge": kmeans_merge,
    "greedy + refit, c = 1": greedy_refit,
    "greedy + refit, c = n/s": spread_counts,
    "outputs-only NNLS": nnls_outputs,
    "fresh small net": fresh,
    "function only": fit_function,
    "preserve=dynamics": fit_dynamics,
}


def trained(start: Layer, name: str, task: Digits, labels: Tensor, seed: int) -> Tensor:
    """Train with one optimizer and return the outputs on the test rows."""
    done = train(start, task.inputs, labels, optimizer=OPTIMIZERS[name], steps=STEPS, seed=seed + 5)
    return done(task.test_inputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, one width")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    widths = (64,) if options.quick else (128, 64, 32, 16)
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in range(1 if options.quick else 3):
        task = digits(seed)
        shuffled = torch.randperm(10, generator=torch.Generator().manual_seed(seed))[task.labels]
        cases = {"tune": (trained_layer(seed, task), shuffled), "init": (fresh_layer(seed + 50), task.labels)}
        x = task.test_inputs
        for case, (layer, labels) in cases.items():
            finals = {name: trained(layer, name, task, labels, seed) for name in OPTIMIZERS}
            for width in widths:
                for method, fit in METHODS.items():
                    start = time.process_time()
                    made = fit(layer, task.inputs, width, seed=seed)
                    figures = {"width": width, "seconds": time.process_time() - start}
                    for name, final in finals.items():
                        own = trained(made.layer, name, task, labels, seed)
                        figures[f"{case} {name} output gap"] = relative_error(own, final)
                        figures[f"{case} {name} training gap"] = relative_error(
                            own - made.layer(x), final - layer(x)
                        )
                    if made.follows is not None:
                        figures[f"{case} follows"] = float(made.follows)
                    rows[method].append(figures)
            print(f"seed {seed}, {case}: done", flush=True)
    columns = [f"{case} {name}" for case in ("tune", "init") for name in OPTIMIZERS]
    for width in widths:
        print(f"\n{width} neurons: output gap / training gap")
        print(f"{'':26}" + "".join(f"{c:>18}" for c in columns) + "  slowest, s CPU")
        for method, figures in rows.items():
            own = [f for f in figures if f["width"] == width]
            cells = []
            for column in columns:
                known = [f for f in own if f"{column} output gap" in f]
                gaps = [fmean(f[f"{column} {kind} gap"] for f in known) for kind in ("output", "training")]
                cells.append(f"{gaps[0]:>10.3f} / {gaps[1]:.3f}")
            print(
                f"{method:26}"
                + "".join(f"{c:>18}" for c in cells)
                + f"  {max(f['seconds'] for f in own):.1f}"
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
