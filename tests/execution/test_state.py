"""What a run changes of a model is put back, whatever holds it; parameters and other objects are left."""

import random
from collections import OrderedDict, defaultdict, deque

import numpy as np
import pytest
import torch
from torch import nn

from jlab_compress.execution.isolation import undisturbed
from jlab_compress.execution.state import State

CHANGES = {
    "count": lambda net: setattr(net, "count", net.count + 1),
    "average": lambda net: net.average.add_(1.0),
    "plain": lambda net: net.plain.data.mul_(2.0),
    "seen": lambda net: net.seen.append(1),
    "recent": lambda net: net.recent.popleft(),
    "names": lambda net: net.names.add("b"),
    "cache": lambda net: net.cache.update(a=2, b=3),
    "nested": lambda net: net.nested["inner"].append(1),
    "tensors": lambda net: net.tensors[0].fill_(7.0),
    "array": lambda net: net.array.fill(7.0),
    "drawn": lambda net: torch.rand(1, generator=net.drawn),
    "dice": lambda net: net.dice.random(),
    "legacy": lambda net: net.legacy.rand(),
    "modern": lambda net: net.modern.random(),
    "part.count": lambda net: setattr(net.part, "count", 3),
    "late": lambda net: setattr(net, "late", torch.ones(1)),
    "gone": lambda net: delattr(net, "gone"),
    "added": lambda net: net.register_buffer("added", torch.ones(1)),
    "scale": lambda net: setattr(net, "scale", nn.Parameter(torch.zeros(1))),
}


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.count, self.gone = 0, 1
        self.register_buffer("average", torch.zeros(2))
        self.plain = torch.ones(2)
        self.seen, self.recent, self.names = [], deque([1, 2], maxlen=5), {"a"}
        self.cache, self.nested = OrderedDict(a=1), defaultdict(list, inner=[0])
        self.tensors = [torch.zeros(2)]
        self.array = np.zeros(2)
        self.drawn = torch.Generator().manual_seed(0)
        self.dice, self.legacy = random.Random(0), np.random.RandomState(0)
        self.modern = np.random.default_rng(0)
        self.part = nn.Linear(2, 2)
        self.part.count = 0
        self.scale = nn.Parameter(torch.ones(1))


def told(net):
    """Everything that a holder holds, as values; reading draws from no generator."""
    found = {name: (id(value), repr(value)) for name, value in vars(net).items()}
    states = [net.drawn.get_state().tolist(), net.dice.getstate(), repr(net.legacy.get_state())]
    return found, states, net.modern.bit_generator.state, repr(vars(net.part)), list(net.state_dict())


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_put_back_and_named(name):
    net = Holder()
    before, state = told(net), State.of(net)
    CHANGES[name](net)
    assert told(net) != before
    assert state.put_back() == (name,)
    assert told(net) == before
    assert state.put_back() == ()


def test_all_is_put_back_at_once_also_after_an_error():
    net = Holder()
    before = told(net)

    @undisturbed(net)
    def fails():
        for change in CHANGES.values():
            change(net)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fails()
    assert told(net) == before


def test_parameters_are_not_put_back():
    net = Holder()
    state = State.of(net)
    with torch.no_grad():
        net.scale.add_(1.0)
    assert state.put_back() == ()
    assert net.scale.item() == 2.0


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x):
        self.seen = self.seen + 1
        return self.norm(x) + self.seen


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_buffers_of_torchscript_are_put_back_whether_written_into_or_replaced(whole):
    part = torch.jit.script(Steps())
    net, x = part if whole else nn.Sequential(part), torch.arange(6.0).reshape(3, 2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = State.of(net)
    net(x)
    assert all(
        not torch.equal(value, before[name]) for name, value in net.state_dict().items() if "norm.r" in name
    )
    assert state.put_back() == (("", "norm") if whole else ("0", "0.norm"))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert state.put_back() == ()
