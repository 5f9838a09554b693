"""Inputs and outputs are named by where they are; no name is there twice, and none is lost."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from jlab_compress.deployment.program.names import distinct, named_inputs, named_outputs
from jlab_compress.execution.calls import Call

A, B, C = (torch.full((2, 3), float(n)) for n in range(3))


class Plain(nn.Module):
    def forward(self, x, y=None):
        return x


class Rest(nn.Module):
    def forward(self, first, *rest, key=None, **more):
        return first


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclass
class Batch:
    ids: Any
    extra: Any = None


@pytest.mark.parametrize(
    ("model", "call", "names"),
    [
        (Plain(), Call((A, B)), ["x", "y"]),
        (Plain(), Call((A,), {"y": B}), ["x", "y"]),
        (Plain(), Call(({"a": A, "b": (B, [C])},)), ["x_a", "x_b_0", "x_b_1_0"]),
        (Plain(), Call((Batch(A, {"b": B}),)), ["x_ids", "x_extra_b"]),
        (Plain(), Call((Pair(A, B), None), {}), ["x_0", "x_1"]),
        (Plain(), Call((A, 2.0)), ["x"]),
        (Rest(), Call((A, B, C)), ["first", "rest_0", "rest_1"]),
        (Rest(), Call((A, (B, C)), {"key": A, "z": [B]}), ["first", "rest_0_0", "rest_0_1", "key", "z_0"]),
        (Plain(), Call(({"a_b": A, "a": {"b": B}}, {"": C})), ["x_a_b", "x_a_b_in", "y_"]),
    ],
)
def test_inputs_are_named_by_their_argument_and_the_keys_in_it(model, call, names):
    found = named_inputs(model, call)
    assert list(found) == names
    assert [id(tensor) for tensor in found.values()] == [id(tensor) for tensor in call.tensors]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (A, ["output"]),
        ((A, B), ["output_0", "output_1"]),
        ((None, A), ["output_1"]),
        ({"a": A, "b": (B, None, C)}, ["a", "b_0", "b_2"]),
        (({"a": A}, [B]), ["output_0_a", "output_1_0"]),
        (Batch(A, B), ["ids", "extra"]),
        ({"a_0": A, "a": (B,), 0: C}, ["a_0", "a_0_out", "0"]),
        ({1: A, "1": B}, ["1", "1_out"]),
        ({"x": A}, ["x_out"]),
    ],
)
def test_outputs_are_named_by_their_keys_and_numbers(value, names):
    assert list(named_outputs(value, taken={"x"})) == names


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": A, "cache": "text"}, "output cache is a str"),
        ((A, 3.0), "output output_1 is a float"),
        (None, "holds no tensor"),
        ((), "no tensor"),
    ],
)
def test_an_output_that_is_no_tensor_is_refused(value, words):
    with pytest.raises(TypeError, match=words):
        named_outputs(value)


@pytest.mark.parametrize("name", ["", "a\nb", "\x00", "\ud800", "tab\t"])
def test_names_that_cannot_be_printed_are_refused(name):
    with pytest.raises(ValueError, match="expected printable names of inputs and outputs"):
        named_outputs({name: A})


def test_a_taken_name_gets_an_ending_until_it_is_free():
    assert distinct(["a", "a_in", "a", "b"], "_in", taken=["b"]) == ["a", "a_in", "a_in_in", "b_in"]
