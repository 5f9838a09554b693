"""From the public call to the numerics it is a short way."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from jlab_compress import compress
from tests.house.structure import ROOT

MOST_HOPS = 6


def hops(call, start, room, root=ROOT):
    """The functions from `start`, which is not counted, to the first one of a room, by the shortest way.

    Comprehensions are no calls, and neither is code of others.
    """
    inside, ways = str(root / Path(*room.split("."))), []

    def watch(frame, event, argument):
        if event != "call" or not frame.f_code.co_filename.startswith(inside):
            return
        way = []
        while frame is not None and frame.f_code.co_name != start:
            name = frame.f_code.co_name
            if frame.f_code.co_filename.startswith(str(root)) and not name.startswith("<"):
                way.insert(0, name)
            frame = frame.f_back
        if frame is not None:
            ways.append(way)

    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    return min(ways, key=len)


@pytest.mark.parametrize("preserve", ["dynamics", "function"])
@pytest.mark.parametrize("room", ["fitting.moving", "fitting.solvers"])
def test_compress_reaches_the_numerics_in_few_calls(preserve, room):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 3)), torch.randn(120, 6)
    way = hops(
        lambda: compress(net, 8, calibration=x, preserve=preserve, effort="quick", progress=False),
        "compress",
        room,
    )
    assert len(way) <= MOST_HOPS, " > ".join(way)


def test_a_long_way_is_measured(tmp_path):
    steps = (
        ["step9()"] + [f"def step{i}(): step{i - 1}()" for i in range(9, 0, -1)] + ["def step0(): solve()"]
    )
    names: dict = {}
    exec(compile("def solve(): pass", str(tmp_path / "deep.py"), "exec"), names)
    exec(
        compile("\n".join([*steps[1:], f"def compress(): {steps[0]}"]), str(tmp_path / "way.py"), "exec"),
        names,
    )
    way = hops(names["compress"], "compress", "deep", tmp_path)
    assert way == [*(f"step{i}" for i in range(9, -1, -1)), "solve"]
    assert len(way) > MOST_HOPS
