"""A recorded chain of calls as a function."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.execution.calls import Call
from jlab_compress.graph.paths import candidates
from jlab_compress.graph.pointwise import mixing_problem
from jlab_compress.graph.recorder import record
from tests.models import Gated, rows, seeded


class Between(nn.Module):
    def __init__(self, between):
        super().__init__()
        self.a, self.b, self.slope = nn.Linear(3, 6), nn.Linear(6, 2), nn.Parameter(torch.tensor(0.3))
        self.between = between

    def forward(self, x):
        return self.b(self.between(self, self.a(x)))


def replayed(model, x):
    trace = record(model, Call((x,)))
    (candidate,) = candidates(trace)
    return candidate.function(trace)


CHAINS = {
    "relu": (lambda m, h: h.relu(), "relu"),
    "sigmoid, mul": (lambda m, h: h * torch.sigmoid(h), "sigmoid, mul"),
    "in place": (lambda m, h: h.mul_(2.0).relu_(), "mul, relu"),
    "a number that is learnt": (lambda m, h: torch.where(h > 0, h, m.slope * h), "gt, mul, where"),
    "dropout and shapes": (lambda m, h: F.dropout(h[None].squeeze(0).view(-1, 6), 0.5).tanh(), "tanh"),
    "nothing": (lambda m, h: h, "identity"),
}


@pytest.mark.parametrize("name", [name for name in CHAINS if name != "dropout and shapes"])
def test_a_chain_gives_what_the_model_computed(name):
    between, words = CHAINS[name]
    model = seeded(Between, between).double().eval()
    activation = replayed(model, rows(4, 3))
    h = rows(5, 6, seed=2)
    before = h.clone()
    assert torch.equal(activation(h), between(model, h.clone()))
    assert torch.equal(h, before), "the replay changed its argument"
    assert (activation.name.replace("__", ""), activation.arguments) == (words, 1)
    assert mixing_problem(activation, 6) is None


def test_a_gate_takes_both_layers():
    model = seeded(Gated).double()
    activation = replayed(model, rows(4, 6))
    g, u = rows(5, 12), rows(5, 12, seed=1)
    assert torch.equal(activation(g, u), F.silu(g) * u)
    assert (activation.arguments, activation.name) == (2, "silu, mul")


def test_the_values_of_a_run_and_its_operations_stay_inside():
    activation = replayed(seeded(Between, CHAINS["relu"][0]).double(), rows(4, 3))
    assert {name for name in vars(activation) if not name.startswith("_")} == {"name", "arguments"}


@pytest.mark.parametrize(
    ("between", "words"),
    [
        (lambda m, h: h.flip(-1), "mixes its hidden units"),
        (lambda m, h: h.softmax(-1), "mixes its hidden units"),
        (lambda m, h: F.layer_norm(h, (6,)), "works on all hidden units together"),
    ],
)
def test_a_chain_that_is_not_pointwise_is_known(between, words):
    activation = replayed(seeded(Between, between).double(), rows(4, 3))
    assert words in mixing_problem(activation, 6)
