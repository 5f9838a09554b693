"""Compressions that take no time, for tests of everything but the quality of a fit."""

import torch

from jlab_compress import compress_baseline
from jlab_compress.fitting.effort import Effort
from tests.models import rows

X = rows(120, 6)
FAST = Effort(
    node_steps=10,
    node_batches=4,
    projection_evaluations=20,
    output_steps=20,
    mixed_rows=100,
    trial_steps=5,
    trial_batches=2,
    state_passes=1,
    state_steps=10,
    gradient_passes=1,
    gradient_steps=10,
    kernel_steps=10,
    image_passes=1,
    image_steps=10,
    matching_steps=10,
    matching_batches=4,
)


def narrow(model, widths, x=X, **options):
    return compress_baseline(model, widths, calibration=x, method=options.pop("method", "greedy"), **options)


def tensors(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
