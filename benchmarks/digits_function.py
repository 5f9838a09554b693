"""Held-out output error of a 64-1024-10 ReLU net at 1/2 .. 1/32 of its width, against plain methods.

Run: python benchmarks/digits_function.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import torch
from digits_problem import accuracy, digits, trained_layer

from jlab_compress.fitting.aims.baselines import (
    greedy_refit,
    interpolative,
    kmeans_merge,
    magnitude,
    nnls_outputs,
    random_subset,
)
from jlab_compress.fitting.aims.function import fit_function
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.forecast.predict import predict_function
from jlab_compress.fitting.held_out import relative_error

METHODS = {
    "random subset": random_subset,
    "magnitude L2": magnitude,
    "k-means merge": kmeans_merge,
    "outputs-only NNLS": nnls_outputs,
    "interpolative": interpolative,
    "greedy + refit": greedy_refit,
    "preserve=function": lambda layer, x, size, seed: fit_function(layer, FitRows(x), size, seed=seed),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, two widths")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    widths = (64, 32) if options.quick else (512, 256, 128, 64, 32)
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in range(1 if options.quick else 3):
        task = digits(seed)
        layer = trained_layer(seed, task)
        outputs = layer(task.test_inputs)
        print(f"seed {seed}: accuracy {accuracy(layer, task.test_inputs, task.test_labels):.4f}", flush=True)
        forecast = predict_function(layer, FitRows(task.inputs), widths, seed=seed)
        for width, expected in zip(widths, forecast.function_errors, strict=True):
            rows["forecast"].append({"width": width, "error": expected, "accuracy": 0.0, "seconds": 0.0})
        for name, fit in METHODS.items():
            for width in widths:
                start = time.process_time()
                slim = fit(layer, task.inputs, width, seed=seed).layer
                rows[name].append(
                    {
                        "width": width,
                        "error": relative_error(slim(task.test_inputs), outputs),
                        "accuracy": accuracy(slim, task.test_inputs, task.test_labels),
                        "seconds": time.process_time() - start,
                    }
                )
    print(f"{'relative error on test rows':28}" + "".join(f"{w:>9}" for w in widths) + "   slowest, s CPU")
    for name, figures in rows.items():
        means = [fmean(f["error"] for f in figures if f["width"] == w) for w in widths]
        slowest = max(f["seconds"] for f in figures)
        print(f"{name:28}" + "".join(f"{m:9.4f}" for m in means) + f"   {slowest:.1f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
