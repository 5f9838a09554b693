"""How often a model is copied, recorded and searched, and how many copies of it live at one time."""

import copy
import gc

import pytest

from jlab_compress import allocate_widths, compress, compress_baseline, prepare, sweep
from jlab_compress.inspection import find
from tests.quick import FAST, X
from tests.watched import Watched


@pytest.fixture
def watched(monkeypatch):
    net = Watched()

    def confirmed(*args, plain=find.confirmed):
        net.looks.searches += 1
        return plain(*args)

    monkeypatch.setattr(find, "confirmed", confirmed)
    return net


def counts(net):
    # A look is recorded in evaluation and in training mode.
    return net.looks.copies, net.looks.recordings, net.looks.searches


HOW = {"effort": FAST, "progress": False}


@pytest.mark.parametrize("preserve", ["dynamics", "function"])
def test_compress_looks_once_and_keeps_one_copy_beside_the_slim_model(watched, preserve):
    made = compress(watched, {"body.0": 20, "body.2": 12}, calibration=X, preserve=preserve, **HOW)
    assert counts(watched) == (4, 2, 1)
    assert watched.looks.most == 2
    gc.collect()
    assert list(watched.looks.alive) == [made.model]


def test_a_tolerance_and_a_baseline_take_no_further_look(watched):
    compress(watched, tolerance=0.3, calibration=X, preserve="function", **HOW)
    assert counts(watched) == (4, 2, 1)
    compress_baseline(watched, 8, calibration=X, method="greedy")
    assert counts(watched) == (8, 4, 2)
    assert watched.looks.most == 2


@pytest.mark.parametrize("budget", ["parameters", "macs"])
def test_one_look_serves_allocation_and_compression(watched, budget):
    prepared = prepare(watched, X)
    widths = allocate_widths(prepared, **{budget: 0.9}, effort=FAST)
    assert counts(watched) == (4, 2, 1)
    compress(prepared, widths, **HOW)
    assert counts(watched) == (5, 2, 1)
    sweep(prepared, [4], effort=FAST)
    assert counts(watched) == (5, 2, 1)
    assert watched.looks.most == 2


def test_two_looks_are_counted_as_two(watched):
    for seed in (0, 1):
        compress_baseline(watched, 8, calibration=X, method="random", seed=seed)
    assert counts(watched) == (8, 4, 2)
    kept = [copy.deepcopy(watched) for _ in range(3)]
    assert watched.looks.most >= len(kept)
