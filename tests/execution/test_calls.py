from collections import namedtuple

import pytest
import torch

from jlab_compress.execution.calls import Call, leaves_in, tensors_in
from tests.models import rows

X = rows(6, 3)
Point = namedtuple("Point", "a b")


def test_tensors_are_found_in_nested_values_in_order():
    point = Point(X, [X[0]])
    assert [t.shape for t in tensors_in({"p": point, "n": 3})] == [X.shape, X[0].shape]


def test_leaves_come_with_their_keys_and_numbers():
    found = dict(leaves_in(({"a": 1, "b": [2, None]}, Call((3,), {"k": 4}))))
    assert found.pop((1, "whole")) == frozenset()
    assert found == {(0, "a"): 1, (0, "b", 0): 2, (0, "b", 1): None, (1, "args", 0): 3, (1, "kwargs", "k"): 4}
    assert [path for path, _ in leaves_in(torch.ones(2))] == [()]


def test_a_call_for_some_rows_takes_them_from_every_tensor():
    call = Call((Point(X, [X[:, 0]]),), {"scale": 2.0})
    taken = call.take(torch.tensor([4, 1]))
    assert isinstance(taken.args[0], Point)
    assert torch.equal(taken.args[0].a, X[[4, 1]])
    assert torch.equal(taken.args[0].b[0], X[[4, 1], 0])
    assert taken.kwargs == {"scale": 2.0}
    assert call.rows == 6
    assert Call((2.0,)).rows == 1


@pytest.mark.parametrize("args", [(X, X[:4]), (X, torch.tensor(1.0)), (2.0,)])
def test_rows_of_tensors_that_do_not_share_them_cannot_be_taken(args):
    assert Call(args).take(torch.tensor([0])) is None


def test_a_call_is_the_models_call():
    assert Call((2.0,), {"b": 3.0})(lambda a, b: a - b) == -1.0


def test_floats_keep_their_dtype_on_a_device():
    moved = Call((X,), {"ids": torch.arange(6)}).to(torch.device("cpu"))
    assert [t.dtype for t in moved.tensors] == [X.dtype, torch.long]
