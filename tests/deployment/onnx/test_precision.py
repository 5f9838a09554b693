"""Smaller precisions: every model loads and runs, and the error that each adds is measured and said."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from jlab_compress.deployment.onnx import checks
from jlab_compress.deployment.onnx import export as exporting
from jlab_compress.deployment.onnx import precision as precisions
from jlab_compress.deployment.onnx.export import export_onnx
from jlab_compress.errors import ExportMismatchError
from tests.deployment.networks import MODELS, mlp, normal


@pytest.mark.parametrize("name", ["conv", "encoder", "bert"])
@pytest.mark.parametrize(
    ("precision", "static", "bound"), [("float16", False, 2e-3), ("int8", False, 0.02), ("int8", True, 0.05)]
)
def test_every_model_in_every_precision(name, precision, static, bound, tmp_path):
    build, example, axes = MODELS[name]
    model = build().eval()
    options = {"axes": axes, "precision": precision, "calibration": example if static else None}
    export = export_onnx(model, tmp_path / "m.onnx", example, **options)
    assert 1e-6 < export.gap < bound
    assert all(p.gap <= 1e-5 for p in export.float32_parity if p.gap is not None)
    assert (export.form.opset, export.precision) == (18, precision)
    metadata = export.form.metadata
    assert metadata["jlab_compress.facts"] == f'{{"precision": "{precision}"}}'
    inputs = {"image": example} if name == "conv" else example
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    found = session.run(None, {key: value.numpy() for key, value in inputs.items()})[-1]
    with torch.no_grad():
        right = model(example) if name == "conv" else list(model(**example).values())[-1]
    assert np.linalg.norm(found - right.numpy()) < 2 * bound * np.linalg.norm(right.numpy())


class Twins(nn.Module):
    """Two layers and two norms with the same numbers, which an exporter stores once."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.first, self.second = nn.Linear(32, 32), nn.Linear(32, 32)
        self.second.load_state_dict(self.first.state_dict())
        self.norms = nn.ModuleList([nn.LayerNorm(32), nn.LayerNorm(32)])

    def forward(self, x):
        return self.norms[1](self.second(self.norms[0](self.first(x)).relu()))


@pytest.mark.parametrize(("precision", "bound"), [("float16", 1e-3), ("int8", 0.02)])
def test_weights_that_two_layers_share_are_converted_once_each(precision, bound, tmp_path):
    export = export_onnx(Twins(), tmp_path / "m.onnx", normal(16, 32), precision=precision)
    assert 1e-6 < export.gap < bound


def test_without_own_copies_the_numbers_would_be_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(precisions, "_unshare", lambda graph: None)
    export = export_onnx(Twins(), tmp_path / "m.onnx", normal(16, 32), precision="int8")
    assert export.gap > 0.2
    assert "int8 moves the outputs by" in str(export)


def test_a_file_that_crashes_onnxruntime_does_not_crash_python(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "_LOAD", "import os; os.abort()")
    with pytest.raises(ExportMismatchError, match=r"cannot load it \(it crashes .*\); export it as float32"):
        export_onnx(mlp(), tmp_path / "m.onnx", normal(4, 8), precision="float16")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_does_not_load_is_reported_with_onnxruntimes_words(tmp_path, monkeypatch):
    def spoil(source, target, *_):
        graph = onnx.load(source)
        graph.graph.node[0].op_type = "Nothing"
        target.write_bytes(graph.SerializeToString())

    monkeypatch.setattr(exporting, "convert", spoil)
    with pytest.raises(ExportMismatchError, match=r"onnxruntime cannot load it .*Nothing"):
        export_onnx(mlp(), tmp_path / "m.onnx", normal(4, 8), precision="int8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "calibration", [None, torch.randn(1024, 8, generator=torch.Generator().manual_seed(1))]
)
def test_int8_reports_the_error_it_adds(calibration, tmp_path):
    inputs = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    model = mlp(2048)
    export = export_onnx(model, tmp_path / "m.onnx", inputs, precision="int8", calibration=calibration)
    assert 1e-4 < export.gap < 0.1
    assert max(p.max_rel_diff for p in export.float32_parity) <= 1e-5
    found = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"input": inputs.numpy()})[0]
    expected = model.eval()(inputs).detach().numpy()
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 0.1
    assert export.n_bytes < 0.6 * export_onnx(model, tmp_path / "f.onnx", inputs).n_bytes


def test_a_last_batch_of_one_row_calibrates_too(tmp_path):
    inputs = torch.randn(17, 8, generator=torch.Generator().manual_seed(0))
    batches = [inputs[:16], inputs[16:]]
    export = export_onnx(mlp(256), tmp_path / "m.onnx", inputs, precision="int8", calibration=batches)
    assert 1e-4 < export.gap < 0.1


def test_int8_calibrated_too_narrowly_is_warned_about(tmp_path):
    inputs = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    export = export_onnx(mlp(256), tmp_path / "m.onnx", inputs, precision="int8", calibration=inputs / 10)
    assert export.gap > 0.2
    assert "int8 moves the outputs by" in str(export)


def test_float16_halves_the_weights_and_keeps_the_types(tmp_path):
    inputs = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    export = export_onnx(mlp(2048), tmp_path / "m.onnx", inputs, precision="float16")
    assert 1e-6 < export.gap < 5e-3
    assert export.n_bytes < 0.6 * export_onnx(mlp(2048), tmp_path / "f.onnx", inputs).n_bytes
    assert {port.dtype for port in (*export.form.inputs, *export.form.outputs)} == {"float32"}
