import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from jlab_compress.execution.isolation import copy_model, inference, undisturbed
from tests.models import rows


class Noisy(nn.Module):
    """Draws from all three generators, in evaluation too."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.layer.eval()

    def forward(self, x):
        return self.layer(x) + torch.rand(3) + float(np.random.rand()) + random.random()


def test_runs_are_repeatable_and_leave_flags_and_random_states(fingerprint):
    net, x = Noisy(), rows(4, 3).float()
    before = fingerprint(net)
    with undisturbed(net, seed=1):
        first = net(x)
        assert not net.training
        assert not first.requires_grad
    with undisturbed(net, seed=1):
        assert torch.equal(net(x), first)
    with undisturbed(net, seed=2):
        assert not torch.allclose(net(x), first)
    with pytest.raises(ValueError, match="stopped"), undisturbed(net):
        raise ValueError("stopped")
    assert fingerprint(net) == before
    assert (net.training, net.layer.training) == (True, False)


def test_encoders_are_kept_off_their_fused_path():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    parts = []
    layer.linear1.forward = lambda x: parts.append(x) or nn.functional.linear(x, layer.linear1.weight)
    x = torch.randn(2, 3, 8)
    with torch.no_grad():
        layer(x)
    assert parts == []
    with undisturbed(layer):
        layer(x)
    with inference():
        assert not layer(x).requires_grad
    assert len(parts) == 2


def test_models_with_computed_tensors_are_copied():
    net = nn.Linear(3, 2)
    net.extra = net.weight * 2.0
    with pytest.raises(RuntimeError, match="deepcopy protocol"):
        copy.deepcopy(net)
    twin = copy_model(net)
    assert torch.equal(twin.extra, net.extra)
    assert twin.extra is not net.extra
    assert twin.bias is not net.bias


def test_what_cannot_be_copied_is_named():
    net = nn.Linear(3, 2)
    net.lines = (line for line in ())
    with pytest.raises(ValueError, match="generator"):
        copy_model(net)
