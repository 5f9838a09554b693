"""Whether models and random states are as they were, bit for bit."""

import random

import numpy as np
import torch


def snapshot(*models):
    values = [t.clone() for model in models for t in (*model.parameters(), *model.buffers())]
    flags = [module.training for model in models for module in model.modules()]
    return values, flags, torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()


def assert_untouched(before, *models):
    now = snapshot(*models)
    assert all(torch.equal(a, b) for a, b in zip(before[0], now[0], strict=True))
    assert before[1] == now[1]
    assert torch.equal(before[2], now[2])
    assert before[3:] == now[3:]
    assert all(p.grad is None for model in models for p in model.parameters())
