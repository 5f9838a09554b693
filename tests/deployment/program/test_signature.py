"""Named inputs, the axes that vary, other sizes of both, and outputs by name."""

import numpy as np
import pytest
import torch
from torch import nn

from jlab_compress.deployment.program.signature import feeds_of, outputs_by_name, read_signature
from jlab_compress.execution.calls import Call


class Two(nn.Module):
    def forward(self, ids, mask, scale=1.0, *, bias=None):
        return {"sum": (ids * mask * scale).sum(1) + (0 if bias is None else bias)}


IDS, MASK = torch.arange(12).reshape(3, 4), torch.ones(3, 4).int()


def test_positional_inputs_get_the_names_of_forward_and_keywords_keep_theirs():
    signature = read_signature(Two(), Call((IDS, MASK, 2.0), {"bias": torch.zeros(3)}))
    assert signature.call.args[2] == 2.0
    assert list(signature.call.kwargs) == ["bias"]
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


class Padded(nn.Module):
    """A mask beside features of its length, as an encoder without an embedding takes them."""

    def __init__(self, length=None, fills=False):
        super().__init__()
        self.length, self.fills = length, fills

    def forward(self, x, keep):
        assert self.length in (None, keep.shape[1])
        if self.fills:  # a mask that is too short, as some libraries do
            keep = nn.functional.pad(keep, (0, max(0, x.shape[1] - keep.shape[1])))
        return x * keep[:, :, None]


@pytest.mark.parametrize(
    ("model", "example", "along"),
    [
        (Padded(), (torch.ones(2, 5, 3), torch.ones(2, 5).bool()), {"x", "keep"}),
        (Padded(), (torch.ones(2, 2, 3), torch.ones(2, 2).int()), {"x", "keep"}),
        (Padded(fills=True), (torch.ones(2, 5, 3), torch.ones(2, 5).bool()), {"x", "keep"}),
        (Padded(5), (torch.ones(2, 5, 3), torch.ones(2, 5).bool()), set()),
        (Two(), (IDS, MASK), {"ids", "mask"}),
        (Two(), (IDS.double(), MASK.double()), set()),  # a mask, but the matrix beside it is none
        (nn.Linear(4, 2), torch.ones(3, 4).int(), set()),
        (nn.Embedding(12, 2), IDS, {"input"}),
    ],
)
def test_a_sequence_is_what_the_model_runs_at_other_lengths_of(model, example, along):
    signature = read_signature(model, example)
    assert {name for name, axes in signature.axes.items() if axes.get(1) == "sequence"} == along
    assert all(axes[0] == "batch" for axes in signature.axes.values())


def test_calls_of_any_number_of_rows_give_arrays_by_name():
    assert feeds_of(Two(), Call((IDS[:1], MASK[:1])))["ids"].tolist() == [[0, 1, 2, 3]]


def test_axes_that_are_given_stay_as_they_are():
    given = {"keep": {0: "batch"}}
    assert read_signature(Padded(), (torch.ones(2, 5, 3), MASK[:2, :1] > 0), given).axes == {
        "keep": {0: "batch"}, "x": {0: "batch"},
    }  # fmt: skip


def test_the_model_is_not_called_to_find_its_axes():
    class Counting(nn.Embedding):
        calls = 0

        def forward(self, input):
            self.calls += 1
            return super().forward(input)

    model = Counting(12, 2)
    read_signature(model, IDS)
    assert model.calls == 0


def test_a_model_that_does_not_run_on_the_example_is_named_in_one_line():
    signature = read_signature(nn.Linear(3, 2), torch.ones(2, 4))
    with pytest.raises(
        ValueError, match=r"example_inputs: .* stopped with RuntimeError: mat1 and mat2"
    ) as caught:
        outputs_by_name(nn.Linear(3, 2), signature)
    assert "\n" not in str(caught.value)
    good = read_signature(nn.Linear(4, 2), torch.ones(2, 4))
    assert np.shape(outputs_by_name(nn.Linear(4, 2), good)["output"]) == (2, 2)
