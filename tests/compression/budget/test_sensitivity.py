"""How far an error of a block is felt in the outputs: known factors, and nothing left behind."""

import copy

import pytest
import torch
from torch import nn

from jlab_compress.compression.budget.sensitivity import sensitivity
from jlab_compress.execution.calls import Call
from jlab_compress.inspection.find import find_blocks
from tests.models import rows

X = rows(200, 3)
CALLS = [Call((X[:150],)), Call((X[150:],))]


def net(last):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4), last).double()


class Doubled(nn.Module):
    """Outputs of which a part does not depend on the block."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        found = self.inner(x)
        return found, torch.ones_like(found) * found.detach().norm() / found.numel() ** 0.5


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (net(nn.Identity()), 1.0),
        (Doubled(net(nn.Identity())), 0.5**0.5),
        (net(nn.Hardtanh(1e6, 2e6)), 0.0),
    ],
)
def test_known_factors(model, expected):
    block = find_blocks(model, X[:2])[0]
    assert sensitivity(model, block, CALLS) == pytest.approx(expected, rel=0.02)


def test_the_model_stays_and_a_seed_gives_the_same_number(fingerprint):
    model = net(nn.Tanh())
    block = find_blocks(model, X[:2])[0]
    before = fingerprint(model)
    first = sensitivity(model, block, CALLS, seed=1)
    assert fingerprint(model) == before
    assert sensitivity(copy.deepcopy(model), block, CALLS, seed=1) == first
    assert sensitivity(model, block, CALLS, seed=2) != first
