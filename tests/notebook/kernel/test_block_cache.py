"""Blocks are searched once per shape of a model, whoever asks."""

import gc
import weakref
from functools import wraps

import pytest
from torch import nn

from jlab_compress.inspection import find
from jlab_compress.notebook.kernel.block_cache import (
    known_blocks,
    recall_blocks,
    remember_blocks,
    search_blocks,
)


def small():
    return nn.Sequential(nn.Linear(4, 32), nn.LeakyReLU(0.1), nn.Linear(32, 2))


def counted(monkeypatch, room, name):
    """The calls of a function, which goes on working."""
    calls, real = [], getattr(room, name)

    @wraps(real)
    def counting(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(room, name, counting)
    return calls


@pytest.fixture
def searches(monkeypatch):
    return counted(monkeypatch, find, "find_blocks")


def test_blocks_are_searched_once_per_shape(searches):
    net = small()
    assert known_blocks(net) is None
    assert search_blocks(net) is search_blocks(net) is recall_blocks(net) is known_blocks(net)
    assert len(searches) == 1
    net[0], net[2] = nn.Linear(4, 16), nn.Linear(16, 2)
    assert known_blocks(net) is None
    assert recall_blocks(net)[0].width == 16
    assert len(searches) == 2


def test_a_large_model_is_searched_only_where_somebody_asks_for_it(searches):
    large = nn.Sequential(*(small() for _ in range(60)), nn.Linear(2, 4))
    assert recall_blocks(large) is None
    assert searches == []
    remember_blocks(large, found := search_blocks(small()))
    assert recall_blocks(large) is found


def test_why_blocks_cannot_be_read_is_kept_and_gives_way_to_blocks(searches):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def __deepcopy__(self, memo):
            raise ZeroDivisionError("no copies please")

    net = Broken()
    assert "no copies please" in search_blocks(net)
    assert search_blocks(net) is known_blocks(net)
    assert len(searches) == 1
    remember_blocks(net, found := search_blocks(small()))
    assert known_blocks(net) is found


def test_models_that_claim_to_be_equal_are_kept_apart():
    class Same(nn.Linear):
        def __eq__(self, other):
            return True

        __hash__ = nn.Module.__hash__

    one, other = nn.Sequential(Same(4, 8), nn.ReLU(), Same(8, 2)), Same(3, 3)
    remember_blocks(one, found := search_blocks(one))
    assert known_blocks(one) is found
    assert known_blocks(other) is None


def test_a_model_is_not_kept_alive():
    net = small()
    search_blocks(net)
    there = weakref.ref(net)
    del net
    gc.collect()
    assert there() is None
