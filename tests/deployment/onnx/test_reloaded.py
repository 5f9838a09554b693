"""A model that was saved and loaded is exported as the one before, in any precision."""

import copy

import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.deployment.onnx.export import export_onnx
from jlab_compress.slim.storage import load, save
from tests.deployment.networks import MODELS, Encoder, normal


def test_a_reloaded_model_gives_the_same_file(tmp_path):
    example = MODELS["encoder"][1]
    widths = {"encoder.layers.0.linear1": 8, "encoder.layers.0.self_attn": 1}
    slim = compress_baseline(Encoder().eval(), widths, calibration=example, method="magnitude").model
    save(slim, tmp_path / "slim.safetensors")
    back = load(tmp_path / "slim.safetensors", Encoder().eval())
    files = [
        export_onnx(model, tmp_path / name, example).sha256
        for model, name in ((slim, "a.onnx"), (back, "b.onnx"))
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.bfloat16, 3e-2), (torch.float16, 3e-3), (torch.float64, 1e-6)]
)
def test_a_model_comes_back_in_another_precision(dtype, bound, tmp_path):
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    slim = compress_baseline(model, 16, calibration=normal(64, 8), method="interpolative").model
    save(slim, tmp_path / "slim.safetensors")
    back = load(tmp_path / "slim.safetensors", copy.deepcopy(model).to(dtype))
    assert {parameter.dtype for parameter in back.parameters()} == {dtype}
    x = normal(5, 8)
    found, right = back(x.to(dtype)).float(), slim(x)
    assert 0 < (found - right).norm() < bound * right.norm()
