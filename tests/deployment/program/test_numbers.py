"""The types in which a model computes, seen while it runs, and what they allow."""

import pytest
import torch
from torch import nn

from jlab_compress.deployment.program.numbers import in_words_of, tolerance_of, types_of
from jlab_compress.deployment.program.signature import read_signature

F64, F32, F16, BF16 = torch.float64, torch.float32, torch.float16, torch.bfloat16


class Between(nn.Module):
    """A layer in another type than the one before it."""

    def __init__(self, dtype):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3).to(dtype)

    def forward(self, x):
        return self.second(self.first(x).to(self.second.weight.dtype)).to(x.dtype)


class Branching(nn.Linear):
    """A branch inside the graph."""

    def forward(self, input):
        found = super().forward(input)
        return torch.cond(found.sum() > 0, lambda x: x + 1, lambda x: x - 1, (found,))


class Cast(nn.Linear):
    """No parameter tells that this one computes in bfloat16."""

    def forward(self, input):
        with torch.autocast("cpu", dtype=BF16):
            return super().forward(input).float()


@pytest.mark.parametrize(
    ("model", "dtype", "types"),
    [
        (nn.Linear(3, 3), F32, {F32}),
        (nn.Linear(3, 3).double(), F64, {F64}),
        (nn.Linear(3, 3).half(), F16, {F16}),
        (Between(F16), F32, {F32, F16}),
        (Between(F64), F32, {F32, F64}),
        (Cast(3, 3), F32, {F32, BF16}),
        (Branching(3, 3), F32, {F32}),
        (nn.Embedding(4, 2), torch.int64, {F32}),
    ],
)
def test_types_are_those_of_all_that_is_computed(model, dtype, types):
    assert types_of(model, read_signature(model, torch.ones(2, 3, dtype=dtype))) == types


def test_the_coarsest_type_says_what_is_allowed():
    found = [tolerance_of(frozenset(types)) for types in ({F64}, {F32, F64}, {F32, F16}, {BF16, F32}, ())]
    assert found == [1e-6, 1e-5, 1e-2, 5e-2, 1e-5]
    assert in_words_of(frozenset({F32, BF16})) == "bfloat16 and float32"
    assert in_words_of(frozenset()) == "float32"
