"""A model is looked at once per version and calibration; what changed is looked at again."""

import gc
import weakref
from functools import wraps

import pytest
import torch
from torch import nn

from jlab_compress.compression import prepare as rooms
from jlab_compress.notebook.kernel import prepared_cache
from jlab_compress.notebook.kernel.block_cache import known_blocks
from jlab_compress.notebook.kernel.prepared_cache import recall_prepared

X = torch.randn(40, 4)


def small():
    return nn.Sequential(nn.Linear(4, 32), nn.LeakyReLU(0.1), nn.Linear(32, 2))


@pytest.fixture
def preparations(monkeypatch):
    """The calls of `prepare`, which goes on working."""
    calls, real = [], rooms.prepare

    @wraps(real)
    def counting(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(rooms, "prepare", counting)
    prepared_cache._latest.clear()
    return calls


def test_a_model_is_not_kept_alive():
    net = small()
    recall_prepared(net, X)
    there = weakref.ref(net)
    del net
    gc.collect()
    assert there() is None


def test_a_model_is_prepared_once_for_the_same_calibration(preparations):
    net = small()
    first = recall_prepared(net, X)
    assert recall_prepared(net, X.clone()) is first
    assert len(preparations) == 1
    assert known_blocks(net) is first.blocks


def train(net):
    with torch.no_grad():
        net[0].weight += 1e-3


def set_a_slope(net):
    net[1].negative_slope = 0.5


def replace_a_layer(net):
    net[1] = nn.Tanh()


@pytest.mark.parametrize("change", [train, set_a_slope, replace_a_layer])
def test_a_model_that_changed_is_prepared_again(preparations, change):
    net = small()
    first = recall_prepared(net, X)
    change(net)
    assert recall_prepared(net, X) is not first
    assert len(preparations) == 2


def test_other_calibration_another_seed_and_another_model_are_prepared_again(preparations):
    net = small()
    x = X.clone()
    recall_prepared(net, x)
    x[0, 0] += 1
    recall_prepared(net, x)
    recall_prepared(net, (x,))
    recall_prepared(net, (x,), seed=1)
    recall_prepared(small(), (x,), seed=1)
    assert len(preparations) == 5


def test_only_the_latest_is_kept_since_it_holds_a_copy():
    recall_prepared(small(), X)
    first = weakref.ref(recall_prepared(small(), X).original)
    recall_prepared(small(), X)
    gc.collect()
    assert first() is None


def test_what_may_read_otherwise_next_time_is_never_taken_for_the_same(preparations):
    net = small()
    loader = torch.utils.data.DataLoader(X, batch_size=10, shuffle=True)
    assert recall_prepared(net, loader) is not recall_prepared(net, loader)
    assert len(preparations) == 2
