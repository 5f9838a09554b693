"""Differences of known size, at every size that is promised, and what rounding may explain."""

import numpy as np
import pytest
import torch
from torch import nn

from jlab_compress.deployment.program.parity import (
    Parity,
    _difference,
    cases,
    check_parity,
    compare,
    run_module,
)
from jlab_compress.deployment.program.signature import read_signature
from jlab_compress.errors import ExportMismatchError

NET = nn.Linear(3, 2)
NET.weight.data.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
NET.bias.data.zero_()
X = torch.tensor([[3.0, 2.0, 9.0], [0.0, 0.0, 9.0]])
SIGNATURE = read_signature(NET, X)


def off_by(error):
    """Answers of the net with an error on the first value."""

    def ask(feeds):
        answer = NET(torch.from_numpy(feeds["input"])).detach().numpy().copy()
        answer[0, 0] += error
        return {"output": answer}

    return ask


def test_a_difference_has_its_three_known_sizes():
    parity = compare(off_by(0.5), NET, "here", SIGNATURE)  # outputs (3, 4) and (0, 0)
    assert parity == Parity("here", 0.5, pytest.approx(0.5 / 4), pytest.approx(0.5 / 5))
    assert compare(off_by(0.0), NET, "here", SIGNATURE) == Parity("here", 0.0, 0.0, 0.0)


def test_sizes_are_four_batches_four_lengths_and_padding():
    class Masked(nn.Module):
        def forward(self, ids, mask):
            return ids * mask

    ids = torch.ones(2, 6).int()
    named = [case for case, _ in cases(read_signature(Masked(), (ids, ids)))]
    assert named[:4] == ["batch 1", "batch 2", "batch 7", "batch 64"]
    assert named[4:] == [f"batch 2, sequence {n}" for n in (1, 2, 4, 13)] + ["padding mask"]


def test_a_size_that_the_model_refuses_is_not_asked():
    class Fixed(nn.Module):
        def forward(self, x):
            assert len(x) == 2
            return x

    def ask(feeds):
        raise AssertionError("asked")

    signature = read_signature(Fixed(), X)
    refused = compare(ask, Fixed(), "batch 7", signature.resized(batch=7))
    assert refused == Parity("batch 7 (the model refuses this size)", None, None, None)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (np.zeros((2, 3), np.float32), r"expected shape \(2, 2\), got \(2, 3\)"),
        (np.full((2, 2), np.nan, np.float32), "finite in other places"),
    ],
)
def test_another_shape_and_other_infinite_places_are_refused(answer, words):
    with pytest.raises(ExportMismatchError, match=words):
        compare(lambda feeds: {"output": answer}, NET, "here", SIGNATURE)


def test_the_imaginary_part_counts():
    expected, found = np.array([3.0 + 4.0j]), np.array([3.0 + 3.0j])
    assert _difference("y", "here", expected, found) == pytest.approx((1.0, 1 / 5, 1 / 5))


def test_an_error_above_the_tolerance_is_refused_with_its_size():
    good, bad = Parity("batch 1", 0.0, 9e-6, 9e-6), Parity("batch 7", 1e-3, 2e-3, 5e-4)
    check_parity("m.onnx", (good, Parity("batch 2", None, None, None)), NET, SIGNATURE, 1e-5)
    with pytest.raises(ExportMismatchError, match=r"m\.onnx: at batch 7 it is 5\.00e-04 of the outputs'"):
        check_parity("m.onnx", (good, bad), NET, SIGNATURE, 1e-5)


def test_a_module_runs_without_gradients_off_the_fused_path():
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    seen = []
    layer.linear1.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    run_module(layer, read_signature(layer, torch.ones(2, 3, 4)))
    assert seen == [False]
