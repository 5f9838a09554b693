"""Named inputs, the axes that vary, other sizes of both, and outputs by name."""

import numpy as np
import pytest
import torch
from torch import nn

from jlab_compress.deployment.program.signature import named_outputs, outputs_by_name, read_signature
from jlab_compress.execution.calls import Call


class Two(nn.Module):
    def forward(self, ids, mask, scale=1.0, *, bias=None):
        return {"sum": (ids * mask * scale).sum(1) + (0 if bias is None else bias)}


IDS, MASK = torch.arange(12).reshape(3, 4), torch.ones(3, 4).int()


def test_positional_inputs_get_the_names_of_forward_and_keywords_keep_theirs():
    signature = read_signature(Two(), Call((IDS, MASK, 2.0), {"bias": torch.zeros(3)}))
    assert list(signature.values) == ["ids", "mask", "scale", "bias"]
    assert (signature.n_positional, signature.args[2]) == (3, 2.0)
    assert list(signature.kwargs) == ["bias"]
    assert list(signature.tensors) == ["ids", "mask", "bias"]
    assert signature.axes == {
        "ids": {0: "batch", 1: "sequence"}, "mask": {0: "batch", 1: "sequence"}, "bias": {0: "batch"},
    }  # fmt: skip
    assert signature.sizes == {"batch": 3, "sequence": 4}


@pytest.mark.parametrize("example", [(IDS, MASK), [IDS, MASK], {"ids": IDS, "mask": MASK}, Call((IDS, MASK))])
def test_every_form_of_a_batch_is_read_alike(example):
    signature = read_signature(Two(), example)
    assert torch.equal(signature.call(Two())["sum"], IDS.sum(1))


def test_targets_of_a_loader_are_not_dropped_in_silence():
    with pytest.raises(ValueError, match=r"expected at most 1 positional inputs, .* leave the targets out"):
        read_signature(nn.Linear(4, 2), (torch.ones(3, 4), torch.ones(3, 2)))


def test_other_sizes_go_round_the_entries_of_the_example():
    sized = read_signature(Two(), (IDS, MASK)).resized(batch=5, sequence=2)
    assert torch.equal(sized.tensors["ids"], IDS[[0, 1, 2, 0, 1]][:, [0, 1]])
    assert sized.feeds()["mask"].shape == (5, 2)


def test_padding_masks_the_later_half_of_every_odd_row():
    padded = read_signature(Two(), (IDS, MASK)).padded()
    assert padded.tensors["mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]]
    assert torch.equal(padded.tensors["ids"], IDS)
    assert read_signature(nn.Linear(4, 2), torch.ones(3, 4)).padded() is None


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (MASK, ["output"]),
        ((MASK, MASK), ["output_0", "output_1"]),
        ({"a": MASK, "b": (MASK, None, MASK)}, ["a", "b_0", "b_2"]),
        (({"a": MASK}, [MASK]), ["output_0_a", "output_1_0"]),
    ],
)
def test_outputs_are_named_by_their_keys_and_numbers(value, names):
    assert list(named_outputs(value)) == names


@pytest.mark.parametrize(
    ("value", "words"),
    [({"a": MASK, "cache": "text"}, "output cache is a str"), (None, "holds no tensor"), ((), "no tensor")],
)
def test_an_output_that_is_no_tensor_is_refused(value, words):
    with pytest.raises(TypeError, match=words):
        named_outputs(value)


def test_a_model_that_does_not_run_on_the_example_is_named_in_one_line():
    signature = read_signature(nn.Linear(3, 2), torch.ones(2, 4))
    with pytest.raises(
        ValueError, match=r"example_inputs: .* stopped with RuntimeError: mat1 and mat2"
    ) as caught:
        outputs_by_name(nn.Linear(3, 2), signature)
    assert "\n" not in str(caught.value)
    good = read_signature(nn.Linear(4, 2), torch.ones(2, 4))
    assert np.shape(outputs_by_name(nn.Linear(4, 2), good)["output"]) == (2, 2)
