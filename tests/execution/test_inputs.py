from collections import UserDict

import pytest
import torch
from torch import nn

from jlab_compress.execution.calls import Call
from jlab_compress.execution.inputs import read_batches, read_call
from tests.models import rows


class Pair(nn.Module):
    def forward(self, x, scale=1.0):
        return x * scale


X = rows(6, 3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (X, [((X,), {})]),
        ((X, 2.0), [((X, 2.0), {})]),
        ({"x": X, "scale": 2.0}, [((), {"x": X, "scale": 2.0})]),
        (UserDict(x=X), [((), {"x": X})]),
        ([X, X], [((X,), {}), ((X,), {})]),
        ([(X, 2.0), {"x": X}], [((X, 2.0), {}), ((), {"x": X})]),
        ((b for b in [X]), [((X,), {})]),
    ],
)
def test_batches_are_read_as_the_model_is_called(value, expected):
    calls, cut = read_batches(Pair(), value)
    assert not cut
    for call, (args, kwargs) in zip(calls, expected, strict=True):
        assert len(call.args) == len(args)
        assert set(call.kwargs) == set(kwargs)
        assert torch.equal(call(Pair()), Pair()(*args, **kwargs))


def test_values_beyond_the_models_arguments_are_left_out_and_reported():
    calls, cut = read_batches(Pair(), [[X, 2.0, torch.zeros(6)]])
    assert cut
    assert len(calls[0].args) == 2


def test_infinite_masks_are_allowed_but_not_infinite_inputs():
    mask = torch.full((6, 3), -torch.inf)
    read_batches(Pair(), {"x": X, "scale_mask": mask})
    with pytest.raises(ValueError, match="NaN or infinite"):
        read_batches(Pair(), {"x": mask})


def test_what_is_no_batch_is_refused():
    with pytest.raises(TypeError, match="of keyword arguments, not int"):
        read_call(Pair(), 3)
    with pytest.raises(TypeError, match="inputs batch 1: a batch must be"):
        read_batches(Pair(), [X, 3], "inputs")
    with pytest.raises(
        TypeError,
        match="an iterable of these, got ndarray",
    ):
        read_batches(Pair(), X.numpy())
    with pytest.raises(ValueError, match="expected at least one batch, got none"):
        read_batches(Pair(), [])
    with pytest.raises(ValueError, match="batch 0: holds an empty tensor"):
        read_batches(Pair(), X[:0])


def test_a_call_is_taken_as_it_is():
    call = Call((X,))
    assert read_call(Pair(), call) == (call, False)
