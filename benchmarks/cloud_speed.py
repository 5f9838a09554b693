"""Time of a reduction against one pass over its features, and the paper's Fig. 6 beside ours.

    python benchmarks/cloud_speed.py --plot time.svg --json speed.json

The pass builds the same features chunk by chunk and sums them in float64, without looking for the
centre and scale first, which our time includes. One thread, CPU time, median of 5.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from cloud_problem import draw_problem, finish, reference, reference_compressor, timed

from jlab_compress import compress_cloud
from jlab_compress.core.features import basis_features
from jlab_compress.core.polynomials import count_functions, fit_basis

# (m, k, n, goal): N = 35, 165, 1001, 165
CASES = (
    (4, 3, 1_000_000, 1.5),
    (8, 3, 1_000_000, 2.0),
    (10, 4, 100_000, 30.0),
    (4, 10, 100_000, 30.0),
    (8, 3, 10_000, 20.0),
)
# Fig. 6, degree 5, d' = 0.1 d (N at least), d = 128,000: seconds published by the authors (Apple M4 Pro)
PUBLISHED = {3: 449.0, 4: 1588.0, 5: 11507.0}


def median_seconds(action: Callable[[], object], repeats: int = 5) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def ratios(repeats: int) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for cloud in ("uniform", "gaussian"):
        for m, k, n, goal in CASES:
            generator = torch.Generator().manual_seed(0)
            draw = torch.rand if cloud == "uniform" else torch.randn
            points = draw(n, m, generator=generator, dtype=torch.float64)
            features = basis_features(fit_basis(points, k), points)
            one = median_seconds(lambda f=features, p=points: f.moments(p.new_ones(len(p))), repeats)
            ours = median_seconds(lambda p=points, k=k: compress_cloud(p, degree=k), repeats)
            kept = compress_cloud(points, degree=k)
            rows.append(
                (cloud, features.functions, n, m, k, one, ours, ours / one, goal, kept.residual, kept.spread)
            )
            print(*rows[-1], flush=True)
    return rows


def memory() -> list[tuple[object, ...]]:
    points = torch.rand(1_000_000, 8, dtype=torch.float64)
    compress_cloud(points[:20_000], degree=3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    compress_cloud(points, degree=3)
    unit = 1024 if sys.platform == "linux" else 1024**2
    return [
        (1_000_000, 8, 3, 64.0, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit, 600.0)
    ]


def figure6(sizes: list[int], reference_up_to: int) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for m in (3, 4, 5):
        for d in sizes:
            _, points = draw_problem(m, d, 0)
            cloud = torch.from_numpy(points)
            size = max(d // 10, count_functions(m, 5))
            fixed = median_seconds(lambda c=cloud, s=size: compress_cloud(c, size=s, degree=5), 1)
            theirs = float("nan")
            if d <= reference_up_to and reference_compressor() is not None and m == 3:
                theirs = timed(lambda p=points, s=size: reference(p, s, 5))[1]
            published = PUBLISHED[m] if d == 128_000 else float("nan")
            rows.append((m, 5, d, size, fixed, theirs, published))
            print(*rows[-1], flush=True)
    return rows


def plot(rows: list[tuple[object, ...]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for m, colour in zip((3, 4, 5), ("tab:blue", "tab:orange", "tab:green"), strict=True):
        mine = [row for row in rows if row[0] == m]
        axes.loglog([r[2] for r in mine], [r[4] for r in mine], "o-", color=colour, label=f"ours, m = {m}")
        axes.loglog([128_000], [PUBLISHED[m]], "x", color=colour, label=f"published, m = {m}")
    axes.set(xlabel="objects d", ylabel="seconds", title="degree 5, d' = 0.1 d")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4000, 8000, 16000, 32000, 64000, 128000])
    parser.add_argument("--reference-up-to", type=int, default=0, help="run the authors' code up to this d")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    finish("Memory", ("n", "m", "k", "input MB", "peak above it MB", "goal MB"), memory(), None)
    columns = ("cloud", "N", "n", "m", "k", "pass s", "ours s", "ratio", "goal", "residual", "min/mean c")
    finish("Time against one pass", columns, ratios(arguments.repeats), None)
    columns = ("m", "k", "d", "d'", "ours, CPU s", "reference here, CPU s", "published s")
    rows = figure6(arguments.sizes, arguments.reference_up_to)
    finish("Run time (Fig. 6)", columns, rows, arguments.json)
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
