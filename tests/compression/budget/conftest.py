"""A layer that takes a known share of the time."""

import time

import pytest
from torch.nn import functional as F


@pytest.fixture
def slow_between(monkeypatch):
    """Let a layer from 40 to 30 neurons take nearly all the time of a network, whatever the machine."""
    linear = F.linear

    def slow(x, weight, bias=None):
        if weight.shape == (30, 40):
            time.sleep(0.004)
        return linear(x, weight, bias)

    monkeypatch.setattr(F, "linear", slow)
