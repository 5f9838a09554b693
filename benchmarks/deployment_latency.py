"""Speed in onnxruntime before and after, against the ratio of multiply-adds.

Run as ``python benchmarks/deployment_latency.py [--all-threads]``. The widths are cut by magnitude, which is
quick: speed does not depend on which neurons stay. Files take turns in short bursts, so that each runs with
its weights in the processor's cache, as on a server; one run each in turn would make narrow nets look
slower. With one thread the time is the thread's own CPU time, so that other jobs of a busy machine do not
count; with all threads it is the clock's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from minilm_data import batches, corpus, encoder
from torch import Tensor, nn

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.deployment.onnx.costs import measure_latency
from jlab_compress.deployment.onnx.files import bytes_of, write_graph
from jlab_compress.deployment.onnx.graph import trace
from jlab_compress.deployment.program.folding import ready
from jlab_compress.deployment.program.signature import Signature, read_signature
from jlab_compress.graph.costs import count_macs
from jlab_compress.report import Report, Table

FRACTIONS = (0.5, 0.25, 0.125)
TOKENS = 64
COLUMNS = ("width", "batch", "ms before", "ms after", "speed-up", "multiply-add ratio", "reached", "MB", "of")


def main() -> None:
    """Measure a small network and a sentence encoder, and print one table each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all-threads", action="store_true", help="clock time with all threads")
    everything = parser.parse_args().all_threads
    torch.manual_seed(0)
    mlp = nn.Sequential(
        *(nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))
    )
    print(measure("MLP 784-1024-1024-10", mlp, torch.randn(64, 784), everything))
    print(measure(f"MiniLM, {TOKENS} tokens", encoder(), sentences(), everything))


def sentences() -> dict[str, Tensor]:
    """Return eight sentences of the same length, so that rows of any batch cost alike."""
    (batch,) = batches(corpus().calibration.texts[:8])
    rounds = torch.arange(TOKENS) % batch["input_ids"].shape[1]
    return {name: tensor[:, rounds] for name, tensor in batch.items()}


def measure(title: str, model: nn.Module, inputs: object, everything: bool) -> Report:
    """Export a model at full width and at each fraction, and time all files in turn."""
    signature = read_signature(model, inputs)
    with tempfile.TemporaryDirectory() as room:
        models = [model] + [
            compress_baseline(model, fraction, calibration=inputs, method="magnitude").model
            for fraction in FRACTIONS
        ]
        folded = [ready(slim).folded for slim in models]
        paths = [write(one, signature, Path(room, f"{i}.onnx")) for i, one in enumerate(folded)]
        macs = [count_macs(one, signature.call) for one in folded]
        rows = table_rows(paths, signature, macs, everything)
    threads = "all threads" if everything else "one thread"
    return Report(title, f"{threads}, medians of interleaved rounds", tables=(Table("Speed", COLUMNS, rows),))


def write(model: nn.Module, signature: Signature, path: Path) -> Path:
    write_graph(trace(model, signature, 18), path)
    return path


def table_rows(
    paths: list[Path], signature: Signature, macs: list[int], everything: bool
) -> tuple[tuple[str | int | float, ...], ...]:
    threads, clock = ({"all": 0}, time.perf_counter) if everything else ({"1": 1}, time.thread_time)
    rows: list[tuple[str | int | float, ...]] = []
    sizes = [bytes_of(path) / 1e6 for path in paths]
    for latency in measure_latency(paths, signature, seconds=10, threads=threads, clock=clock):
        full = latency.milliseconds[0]
        for fraction, ms, mac, size in zip(
            FRACTIONS, latency.milliseconds[1:], macs[1:], sizes[1:], strict=True
        ):
            ratio = macs[0] / mac
            rows.append(
                (
                    f"{fraction:g}",
                    latency.batch,
                    full,
                    ms,
                    full / ms,
                    ratio,
                    full / ms / ratio,
                    size,
                    sizes[0],
                )
            )
    return tuple(rows)


if __name__ == "__main__":
    main()
