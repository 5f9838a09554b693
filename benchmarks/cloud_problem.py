"""Shared by the cloud benchmarks: the paper's test functions, the reductions to compare, the tables."""

from __future__ import annotations

import importlib
import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from jlab_compress import compress_cloud

Reduced = tuple[np.ndarray, np.ndarray]  # points (s, m), multiplicities (s,)
Reduce = Callable[[np.ndarray, int], Reduced]


def draw_problem(dimension: int, objects: int, trial: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 10 inputs (m, 10) and the cloud (d, m), uniform on [-1, 1], drawn as the authors draw them."""
    rng = np.random.default_rng(dimension + objects + trial)
    inputs = 2 * rng.random((dimension, 10)) - 1
    return inputs, 2 * rng.random((objects, dimension)) - 1


def mean_sigmoid(points: np.ndarray, inputs: np.ndarray, counts: np.ndarray | None = None) -> float:
    """Fig. 2's function: the mean of sigmoid(<w, x_a>) over objects and inputs."""
    return _mean((1 / (1 + np.exp(-(points @ inputs)))).mean(1), counts)


def mean_pole(points: np.ndarray, inputs: np.ndarray, counts: np.ndarray | None = None) -> float:
    """Fig. 8's function: the mean of 1 / (m + 0.05 + <w, x_a>)."""
    return _mean((1 / (points.shape[1] + 0.05 + points @ inputs)).mean(1), counts)


def _mean(values: np.ndarray, counts: np.ndarray | None) -> float:
    return float(values.mean() if counts is None else values @ counts / counts.sum())


def ours(points: np.ndarray, size: int, *, move: bool = False) -> Reduced:
    cloud = compress_cloud(torch.from_numpy(points), size=size, move=move)
    return cloud.points.numpy(), cloud.multiplicities.numpy()


def ours_moved(points: np.ndarray, size: int) -> Reduced:
    return ours(points, size, move=True)


def random_subset(points: np.ndarray, size: int) -> Reduced:
    chosen = np.random.default_rng(0).choice(len(points), size, replace=False)
    return points[chosen], np.ones(size)


def kmeans_counts(points: np.ndarray, size: int) -> Reduced:
    from sklearn.cluster import KMeans

    fit = KMeans(size, n_init=1, random_state=0).fit(points)
    return fit.cluster_centers_, np.bincount(fit.labels_, minlength=size).astype(float)


def kernel_thinning(points: np.ndarray, size: int) -> Reduced:
    """Halve with goodpoints until at most 1.25 * size remain (it knows powers of two only)."""
    from goodpoints import kt

    def gaussian(one: np.ndarray, many: np.ndarray) -> np.ndarray:
        return np.exp(-((one - many) ** 2).sum(-1) / (2 * points.shape[1]))

    rounds = int(np.ceil(np.log2(len(points) / (1.25 * size))))
    chosen = kt.thin(points, rounds, gaussian, gaussian, seed=0)
    return points[chosen], np.ones(len(chosen))


def reference_compressor() -> type | None:
    """Return the authors' Compressor class if their folder is on PYTHONPATH, else None."""
    try:
        return importlib.import_module("compressor").Compressor
    except ImportError:
        return None


def reference(points: np.ndarray, size: int, degree: int) -> Reduced:
    """Reduce with the authors' code at one degree."""
    compressor = reference_compressor()
    assert compressor is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counts, kept = compressor(points).compress(degree, dstop=size)
    return kept, counts


def timed(reduce: Callable[[], Reduced]) -> tuple[Reduced, float]:
    """Return what a reduction gives and its CPU seconds."""
    start = time.process_time()
    result = reduce()
    return result, time.process_time() - start


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table; floats get three significant digits."""

    def show(value: object) -> str:
        return (
            f"{value:.2e}"
            if isinstance(value, float) and not 0.01 <= abs(value) < 1e4
            else (f"{value:.3g}" if isinstance(value, float) else str(value))
        )

    lines = [columns, ["---"] * len(columns), *[[show(v) for v in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def finish(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], path: Path | None) -> None:
    """Print a table and write it as JSON where a path is given."""
    print(f"\n### {title}\n\n{markdown(columns, rows)}\n", flush=True)
    if path is not None:
        path.write_text(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=2))
