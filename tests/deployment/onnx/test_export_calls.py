"""However a model is called and whatever it returns, its file has flat named tensors and its numbers."""

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from jlab_compress.deployment.onnx.export import export_onnx
from jlab_compress.errors import ExportMismatchError
from jlab_compress.execution.calls import Call
from tests.deployment.networks import normal

A, B, C = normal(3, 4), normal(3, 4, seed=1), normal(3, 4, seed=2)


@dataclass
class Batch:
    left: Any
    right: Any
    scale: float = 2.0


@dataclass
class Result:
    logits: Any
    hidden: Any
    cache: Any = None


class Layer(nn.Module):
    """A linear layer whose subclass says how it is called and what it returns."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 4)


class Starred(Layer):
    def forward(self, *parts, gain, **more):
        return self.linear(parts[0]) - parts[1] * gain + more["last"]


class Nested(Layer):
    def forward(self, batch, extra=None):
        (first, second), third = batch["pair"], batch["inner"]["third"]
        return {"logits": self.linear(first) - second, "inner": [third * 2, None, (first, third)]}


class Typed(Layer):
    def forward(self, batch):
        hidden = self.linear(batch.left) - batch.right * batch.scale
        return Result(hidden.relu(), hidden)


class Echo(Layer):
    """Outputs with the names of an input, of a parameter, of operators, and of nothing new."""

    def __init__(self):
        super().__init__()
        self.add = nn.Parameter(normal(4, seed=3))

    def forward(self, logits, relu):
        hidden = self.linear(logits) + self.add
        found = {"logits": hidden, "relu": hidden.relu(), "linear.weight": hidden - 1, "add": relu}
        return OrderedDict(found, same=hidden, weight=self.linear.weight, x=logits, mul=hidden * 2)


CALLS = {
    "starred": (Starred(), Call((A, B), {"gain": C, "last": B}), ["parts_0", "parts_1", "gain", "last"]),
    "nested": (
        Nested(),
        ({"pair": (A, B), "inner": {"third": C}}, None),
        ["batch_pair_0", "batch_pair_1", "batch_inner_third"],
    ),
    "typed": (Typed(), (Batch(A, B, 3.0),), ["batch_left", "batch_right"]),
    "echo": (Echo(), (A, B), ["logits", "relu"]),
}
OUTPUTS = {
    "starred": ["output"],
    "nested": ["logits", "inner_0", "inner_2_0", "inner_2_1"],
    "typed": ["logits", "hidden"],
    "echo": ["logits_out", "relu_out", "linear.weight_out", "add_out", "same", "weight", "x", "mul"],
}


@pytest.mark.parametrize("name", CALLS)
def test_every_way_of_calling_is_a_graph_of_named_tensors(name, tmp_path):
    model, example, inputs = CALLS[name]
    export_onnx(model, tmp_path / "m.onnx", example)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert [port.name for port in session.get_inputs()] == inputs
    assert [port.name for port in session.get_outputs()] == OUTPUTS[name]
    call = example if isinstance(example, Call) else Call(example)
    feeds = dict(zip(inputs, (tensor.numpy() for tensor in call.tensors), strict=True))
    value = model.eval()(*call.args, **call.kwargs)
    right = {
        "starred": lambda y: [y],
        "nested": lambda y: [y["logits"], y["inner"][0], *y["inner"][2]],
        "typed": lambda y: [y.logits, y.hidden],
        "echo": lambda y: list(y.values()),
    }[name](value)
    for found, expected in zip(session.run(None, feeds), right, strict=True):
        np.testing.assert_allclose(found, expected.detach(), rtol=1e-5, atol=1e-6)


def test_an_encoder_with_a_padding_mask_needs_no_names_of_axes(tmp_path):
    class Encoder(nn.TransformerEncoderLayer):
        def forward(self, x, ignored):
            return super().forward(x, src_key_padding_mask=ignored)

    model = Encoder(8, 2, 16, batch_first=True).eval()
    ignored = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    export = export_onnx(model, tmp_path / "m.onnx", (normal(2, 5, 8), ignored))
    assert [port.shape for port in export.form.inputs] == [("batch", "sequence", 8), ("batch", "sequence")]
    x, ignored = normal(3, 9, 8, seed=4), torch.zeros(3, 9, dtype=torch.bool)
    feeds = {"x": x.numpy(), "ignored": ignored.numpy()}
    found = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, feeds)[0]
    np.testing.assert_allclose(found, model(x, ignored).detach(), rtol=1e-4, atol=1e-5)


class Casting(Layer):
    """It computes in another type than its parameters have."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, x):
        with torch.autocast("cpu", dtype=self.dtype):
            return self.linear(x).float()


def deep(*layers):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), *layers, nn.Linear(8, 2))


@pytest.mark.parametrize(
    ("model", "example", "held", "precision"),
    [
        (
            deep(nn.Tanh()).double(),
            A.double(),
            "1e-06 of their norm, as the model computes in float64",
            "float64",
        ),
        (deep(nn.GELU(), nn.LayerNorm(8)).half(), A.half(), "1e-02 .* in float16", "float16"),
        (deep(nn.GELU()), A, "1e-05 .* in float32", "float32"),
        (Casting(torch.float16), A, "1e-02 .* in float16 and float32", "float32"),
    ],
)
def test_the_tolerance_follows_the_type_and_is_printed(model, example, held, precision, tmp_path):
    export = export_onnx(model, tmp_path / "m.onnx", example)
    assert export.precision == precision
    assert re.search(held, export.report.notes[0])
    assert export.max_gap <= export.tolerance


@pytest.mark.parametrize(
    ("model", "example", "error", "words"),
    [
        (deep(nn.GELU()).double(), A.double(), ValueError, r"no Erf for float64, .* \(model.float\(\)\)"),
        (nn.Conv1d(3, 2, 2).double(), normal(2, 3, 4).double(), ValueError, "no Conv for float64"),
        (deep().bfloat16(), A.bfloat16(), ValueError, "its input 'input' is bfloat16, .* model.float"),
        (Casting(torch.bfloat16), A, ValueError, r"no \w+ for bfloat16, .* without autocast inside it"),
        (
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).half(), normal(2, 5, 8).half(),
            ExportMismatchError, "onnxruntime cannot load it .*a model in float16 as model.float",
        ),
    ],
)  # fmt: skip
def test_types_that_the_runtime_lacks_are_refused_in_one_sentence(model, example, error, words, tmp_path):
    with pytest.raises(error, match=words) as caught:
        export_onnx(model, tmp_path / "m.onnx", example)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_smaller_precision_is_made_from_float32_only(tmp_path):
    with pytest.raises(ValueError, match=r"int8 is made from float32 weights, the model's are float64; pass"):
        export_onnx(deep().double(), tmp_path / "m.onnx", A.double(), precision="int8")
    assert list(tmp_path.iterdir()) == []
