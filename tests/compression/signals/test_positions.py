"""Rows without padding, means over positions, and patches under a filter."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jlab_compress.compression.signals.positions import looked_at, means_of, patches, rows_of
from jlab_compress.execution.calls import Call
from tests.models import rows

VALUES = rows(2, 3, 4)
MASK = torch.tensor([[1, 1, 0], [1, 0, 0]])
MASKED = Call((), {"attention_mask": MASK})


def test_rows_that_a_mask_blanks_are_left_out():
    assert torch.equal(rows_of(VALUES, MASKED), VALUES[[0, 0, 1], [0, 1, 0]])
    assert torch.equal(rows_of(VALUES, Call((VALUES,))), VALUES.reshape(6, 4))


def test_means_are_over_the_positions_that_a_mask_keeps():
    found = means_of(VALUES, MASKED)
    assert torch.allclose(found, torch.stack([VALUES[0, :2].mean(dim=0), VALUES[1, 0]]))
    assert torch.equal(means_of(VALUES, Call((VALUES,))), VALUES.mean(dim=1))
    blank = Call((), {"attention_mask": torch.zeros(2, 3)})
    assert not means_of(VALUES, blank).any()


@pytest.mark.parametrize(
    "kwargs", [{"attention_mask": MASK[:, :2]}, {"attention_mask": MASK, "decoder_input_ids": MASK}]
)
def test_masks_of_something_else_keep_all_rows(kwargs):
    assert len(rows_of(VALUES, Call((), kwargs))) == 6


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(2, 3, 3, padding=1),
        nn.Conv2d(2, 3, (2, 3), stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
    ],
)
def test_a_filter_times_its_patches_is_the_convolution(conv):
    images = rows(4, 2, 7, 8).float()
    seen = patches(conv, images, most=1000)
    with torch.no_grad():
        expected = conv(images).flatten(2).transpose(1, 2)
        assert torch.allclose(F.linear(seen, conv.weight.flatten(1), conv.bias), expected, atol=1e-5)
        few = patches(conv, images, most=5)
        at = looked_at(expected.shape[1], 5)
        assert torch.allclose(F.linear(few, conv.weight.flatten(1), conv.bias), expected[:, at], atol=1e-5)
    assert torch.equal(patches(conv, images[0], most=1000), seen[:1])


def test_positions_are_drawn_once_for_all_images():
    assert looked_at(3, 10).tolist() == [0, 1, 2]
    assert torch.equal(looked_at(100, 10), looked_at(100, 10))
    assert len(set(looked_at(100, 10).tolist())) == 10
