from collections import UserDict, namedtuple

import pytest
import torch
from torch import nn

from jlab_compress.execution.calls import (
    Call,
    first_rows,
    in_words,
    outputs_of,
    read_batches,
    split_rows,
    tensors_in,
)
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


def test_tensors_and_outputs_are_found_in_nested_values():
    point = namedtuple("Point", "a b")(X, [X[0]])
    assert [t.shape for t in tensors_in({"p": point, "n": 3})] == [X.shape, X[0].shape]
    assert [t.shape for t in outputs_of((X, torch.ones(2, dtype=torch.long)))] == [X.shape]
    with pytest.raises(ValueError, match="no floating-point tensor but int"):
        outputs_of(3)


def test_rows_are_split_without_loss_and_reproducibly():
    calls = [Call((rows(50, 3),)), Call((rows(2, 3, seed=1),))]
    (kept, apart), (again, _) = split_rows(calls, 0.1, 0), split_rows(calls, 0.1, 0)
    assert [c.rows for c in kept] == [45, 2]
    assert [c.rows for c in apart] == [5]
    assert torch.equal(kept[0].args[0], again[0].args[0])
    together = torch.cat([kept[0].args[0], apart[0].args[0]])
    assert torch.equal(together.sort(0).values, calls[0].args[0].sort(0).values)
    assert not torch.equal(split_rows(calls, 0.1, 1)[0][0].args[0], kept[0].args[0])


def test_calls_whose_tensors_disagree_about_rows_stay_whole():
    odd = Call((rows(6, 3), rows(4)))
    kept, apart = split_rows([odd] * 5, 0.2, 0)
    assert (kept, apart) == ([odd] * 4, [odd])
    assert first_rows(odd, 2) is odd
    assert first_rows(Call((X,)), 2).rows == 2


def test_someone_elses_error_fits_into_one_line():
    assert in_words(ValueError("first\nsecond")) == "ValueError: first"
    assert in_words(KeyError()) == "KeyError: "
    assert len(in_words(ValueError("long " * 100))) == 200
