"""What a file costs: every batch with every number of threads, and memory of a process of its own."""

import pytest
import torch

from jlab_compress.deployment.onnx.costs import BATCHES, Latency, measure_latency, measure_memory
from jlab_compress.deployment.onnx.files import write_graph
from jlab_compress.deployment.onnx.graph import trace
from jlab_compress.deployment.program.signature import read_signature
from tests.deployment.networks import mlp

SIGNATURE = read_signature(mlp(), torch.ones(2, 8))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A large file and a small one with the same inputs."""
    folder = tmp_path_factory.mktemp("costs")
    for name, width in (("large", 200_000), ("small", 8)):
        write_graph(trace(mlp(width).eval(), SIGNATURE, 18), folder / f"{name}.onnx")
    return folder / "large.onnx", folder / "small.onnx"


def test_each_batch_and_thread_count_has_a_median_for_each_file(pair):
    ticks = iter(range(100_000))
    threads = {"1": 1, "all": 0}
    found = measure_latency(pair, SIGNATURE, seconds=0.0, threads=threads, clock=lambda: next(ticks))
    wanted = [Latency(batch, label, (1000.0, 1000.0)) for batch in BATCHES for label in threads]
    assert list(found) == wanted  # every run lasts one tick of this clock


def test_memory_counts_the_weights(pair):
    large, small = (measure_memory(path, SIGNATURE) for path in pair)
    weights = 4 * 200_000 * (8 + 1 + 4)
    assert large - small > 0.9 * weights


def test_memory_is_not_known_elsewhere(pair, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert measure_memory(pair[1], SIGNATURE) is None
