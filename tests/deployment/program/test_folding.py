"""What is written and what it must agree with: one copy of a plain model, two of a slim one."""

import copy

import pytest
import torch
from torch import nn

from jlab_compress.deployment.program import folding
from jlab_compress.deployment.program.folding import frozen, plan_of_any, ready
from jlab_compress.slim.conversion import plan_of
from jlab_compress.slim.weighted import WeightedLayer
from tests.deployment.networks import mlp, normal, slim_mlp


@pytest.fixture
def copies(monkeypatch):
    """The deep copies that are made."""
    made = []
    monkeypatch.setattr(copy, "deepcopy", counted(copy.deepcopy, made))
    return made


def counted(deepcopy, made):
    def count(value, memo=None):
        if isinstance(value, nn.Module) and not memo:
            made.append(value)
        return deepcopy(value, memo)

    return count


def test_a_plain_model_is_copied_once_and_frozen(copies):
    model = mlp().train()
    made = ready(model, normal(4, 8))
    assert made.folded is made.reference
    assert made.plan is None
    assert not any(module.training for module in made.reference.modules())
    assert model.training
    assert len(copies) == 1


def test_a_slim_model_is_copied_twice_and_folded(copies):
    slim, wide = slim_mlp()
    made = ready(slim.train(), normal(4, 8))
    assert len(copies) == 2
    assert made.plan == plan_of(slim)
    assert any(isinstance(m, WeightedLayer) for m in made.reference.modules())
    assert not any(isinstance(m, WeightedLayer) or m.training for m in made.folded.modules())
    torch.testing.assert_close(made.folded(normal(4, 8)), wide.eval()(normal(4, 8)))


def test_slim_layers_without_a_plan_are_folded_too():
    slim, wide = slim_mlp()
    made = ready(nn.Sequential(slim, nn.Tanh()), normal(4, 8))
    assert made.plan is None
    torch.testing.assert_close(made.folded(normal(4, 8)), wide.eval()(normal(4, 8)).tanh())


def test_a_frozen_copy_shares_nothing():
    model = mlp()
    made = frozen(model)
    with torch.no_grad():
        made[0].weight.zero_()
    assert model[0].weight.count_nonzero()
    assert plan_of_any(model) is None
    assert folding.plan_of_any(slim_mlp()[0]) is not None
