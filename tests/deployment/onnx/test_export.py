"""An exported file is the model: same names, same numbers, at every size, in every process."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from jlab_compress.deployment.onnx import export as exporting
from jlab_compress.deployment.onnx import files as fileformat
from jlab_compress.deployment.onnx import graph as tracing
from jlab_compress.deployment.onnx.export import export_onnx
from jlab_compress.errors import ExportMismatchError
from tests.deployment.networks import IDS, MODELS, Encoder, bert, mlp, normal, slim_mlp


@pytest.mark.parametrize("name", MODELS)
def test_file_agrees_at_every_size_and_with_padding(name, tmp_path):
    build, example, axes = MODELS[name]
    export = export_onnx(build(), tmp_path / "m.onnx", example, axes=axes)
    assert export.max_rel_diff <= 1e-5
    sizes = {entry.case for entry in export.parity}
    assert {"batch 1", "batch 2", "batch 7", "batch 64"} <= sizes
    if name in {"encoder", "bert"}:
        assert {"batch 2, sequence 1", "batch 2, sequence 11", "padding mask"} <= sizes
    assert (export.form.opset, export.form.ir_version) == (18, 8)
    assert all(port.shape[0] == "batch" for port in (*export.form.inputs, *export.form.outputs))


@pytest.mark.parametrize(("opset", "ir_version"), [(17, 8), (19, 9), (20, 9), (21, 10), (22, 10), (23, 11)])
@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_every_opset_on_offer_is_the_one_in_the_file(name, opset, ir_version, tmp_path):
    build, example, axes = MODELS[name]
    export = export_onnx(build(), tmp_path / "m.onnx", example, axes=axes, opset=opset)
    assert (export.form.opset, export.form.ir_version) == (opset, ir_version)
    assert onnx.load(tmp_path / "m.onnx").opset_import[0].version == opset


@pytest.mark.parametrize("opset", [17, 23])
def test_attention_runs_at_the_first_and_the_last_opset(opset, tmp_path):
    build, example, _ = MODELS["encoder"]
    assert export_onnx(build(), tmp_path / "m.onnx", example, opset=opset).form.opset == opset


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A slim model written and measured beside its original, which takes some seconds."""
    slim, wide = slim_mlp()
    path = tmp_path_factory.mktemp("measured") / "m.onnx"
    return export_onnx(slim, path, normal(5, 8), original=wide, facts={"function_gap": 0.0}), wide


def test_multiplicities_are_folded_into_stock_operators(measured):
    export, wide = measured
    inputs = normal(5, 8)
    assert [node.op_type for node in onnx.load(export.path).graph.node] == ["Gemm", "Relu", "Gemm"]
    found = onnxruntime.InferenceSession(export.path).run(None, {"input": inputs.numpy()})[0]
    np.testing.assert_allclose(found, wide.eval()(inputs).detach(), rtol=1e-5, atol=1e-6)
    assert export.costs.n_parameters == (8 * 10 + 10 + 10 * 4 + 4, 8 * 6 + 6 + 6 * 4 + 4)
    assert export.costs.macs == (8 * 10 + 10 * 4, 8 * 6 + 6 * 4)
    assert export.n_bytes == export.path.stat().st_size == export.costs.n_bytes[1]
    assert {(row.batch, row.threads) for row in export.costs.latency} == {
        (1, "1"),
        (1, "all"),
        (32, "1"),
        (32, "all"),
    }
    metadata = export.form.metadata
    assert json.loads(metadata["jlab_compress.blocks"]) == {"0": [10, 6, "exact duplicates"]}
    assert json.loads(metadata["jlab_compress.multiplicity_totals"]) == {"3": 10.0}
    assert json.loads(metadata["jlab_compress.facts"])["function_gap"] == 0.0


def test_slim_layers_inside_a_wrapper_are_folded_too(tmp_path):
    slim, _ = slim_mlp()
    export_onnx(nn.Sequential(slim, nn.Tanh()), tmp_path / "m.onnx", normal(5, 8))
    operators = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert operators == ["Gemm", "Relu", "Gemm", "Tanh"]


def test_report_has_the_promised_keys(measured, tmp_path):
    export, _ = measured
    export.save(tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    facts = report["facts"]
    assert report["details"] == ["sha256", "opset", "ir_version", "onnx_max_abs_diff", "onnx_gap"]
    assert [table["title"] for table in report["tables"] if table["repeats"]] == ["Size before and after"]
    for name in ("onnx_bytes", "parameters", "macs", "latency_ms", "peak_memory_bytes"):
        assert {f"{name}_before", f"{name}_after"} <= set(facts)
    assert facts["onnx_max_abs_diff"] == export.max_abs_diff
    assert facts["sha256"] == hashlib.sha256(export.path.read_bytes()).hexdigest()
    assert "10" in export._repr_html_()


def test_model_flags_weights_and_random_state_stay(tmp_path):
    slim, _ = slim_mlp()
    slim.train()
    slim[1].eval()
    before = {name: tensor.clone() for name, tensor in slim.state_dict().items()}
    flags = [module.training for module in slim.modules()]
    random = torch.get_rng_state()
    export_onnx(slim, tmp_path / "m.onnx", torch.ones(2, 8))
    assert [module.training for module in slim.modules()] == flags
    assert all(torch.equal(tensor, before[name]) for name, tensor in slim.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.backends.mha.get_fastpath_enabled()


REBUILD = """
import sys, torch
sys.path.insert(0, sys.argv[2])
from networks import Encoder, IDS
from jlab_compress import export_onnx
print(export_onnx(Encoder(), sys.argv[1], {"ids": IDS, "mask": torch.ones_like(IDS)}).sha256)
"""


def test_two_processes_write_the_same_bytes_and_no_source_path(tmp_path):
    here = export_onnx(Encoder(), tmp_path / "here.onnx", {"ids": IDS, "mask": torch.ones_like(IDS)})
    command = [sys.executable, "-c", REBUILD, str(tmp_path / "there.onnx"), str(Path(__file__).parents[1])]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
    assert done.stdout.strip() == here.sha256
    assert b".py" not in here.path.read_bytes()


def test_a_folder_called_triton_is_not_taken_for_the_compiler(tmp_path):
    (tmp_path / "triton").mkdir()
    command = [sys.executable, "-c", REBUILD, str(tmp_path / "m.onnx"), str(Path(__file__).parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, len(done.stdout.strip())) == (0, 64), done.stderr


def test_wrong_numbers_leave_nothing_under_the_name(tmp_path, monkeypatch):
    def spoiled(model, signature, opset):
        graph = tracing.trace(model, signature, opset)
        weight = graph.graph.initializer[0]
        values = onnx.numpy_helper.to_array(weight) * np.float32(1 + 1e-3)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        return graph

    monkeypatch.setattr(exporting, "trace", spoiled)
    with pytest.raises(ExportMismatchError, match="of the largest output off, expected at most 1e-05"):
        export_onnx(mlp(), tmp_path / "m.onnx", torch.ones(2, 8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.opset_import[0].__setattr__("version", 19), "expected opset 18"),
        (lambda g: g.graph.output[0].__setattr__("name", "other"), "refuses it"),
        (
            lambda g: g.graph.input[0].type.tensor_type.shape.dim[0].__setattr__("dim_value", 2),
            "expected shape",
        ),
        (lambda g: g.graph.node[0].__setattr__("doc_string", "/a.py"), "source paths"),
        (lambda g: g.graph.node[1].__setattr__("op_type", "Dropout"), "Dropout"),
        (lambda g: g.graph.node[1].__setattr__("domain", "com.example"), "default domain"),
    ],
)
def test_each_broken_promise_is_named(change, message, tmp_path, monkeypatch):
    def spoiled(model, signature, opset):
        graph = tracing.trace(model, signature, opset)
        change(graph)
        return graph

    monkeypatch.setattr(exporting, "trace", spoiled)
    with pytest.raises(ExportMismatchError, match=message):
        export_onnx(mlp(), tmp_path / "m.onnx", torch.ones(2, 8))
    assert list(tmp_path.iterdir()) == []


def test_large_weights_go_beside_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(fileformat, "LARGEST_SINGLE_FILE", 1000)
    export = export_onnx(mlp(2048), tmp_path / "m.onnx", torch.ones(2, 8))
    names = sorted(p.name for p in tmp_path.iterdir())
    assert [name[:7] + name[-5:] for name in names] == ["m.onnx.onnx", "m.onnx..data"]
    assert export.n_bytes > 4 * 2048 * 12 > (tmp_path / "m.onnx").stat().st_size
    found = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(
        None, {"input": np.ones((3, 8), np.float32)}
    )
    np.testing.assert_allclose(found[0], mlp(2048).eval()(torch.ones(3, 8)).detach(), rtol=1e-5, atol=1e-6)


def test_a_size_that_the_model_refuses_is_said(tmp_path):
    ids = torch.zeros(2, 30, dtype=torch.long)
    export = export_onnx(bert(), tmp_path / "m.onnx", {"input_ids": ids})
    assert [p.case for p in export.parity if p.gap is None] == [
        "batch 2, sequence 61 (the model refuses this size)"
    ]
    assert "Not compared at batch 2, sequence 61" in str(export)


def test_existing_files_are_kept_unless_told(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="is there already"):
        export_onnx(mlp(), path, torch.ones(2, 8))
    assert path.read_text() == "mine"
    assert export_onnx(mlp(), path, torch.ones(2, 8), overwrite=True).n_bytes == path.stat().st_size


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("model", "inputs", "options", "error", "message"),
    [
        ("model", torch.ones(2, 8), {}, TypeError, "slim: expected a torch.nn.Module, got str"),
        (mlp(), torch.ones(2, 8), {"opset": 9}, ValueError, "opset: expected 17 to 23, got 9"),
        (mlp(), torch.ones(2, 8), {"opset": 26}, ValueError, "opset: expected 17 to 23, got 26"),
        (mlp(), torch.ones(2, 8), {"precision": "int4"}, ValueError, "precision: expected one of"),
        (mlp(), torch.ones(2, 8), {"calibration": torch.ones(2, 8)}, ValueError, "calibration: only int8"),
        (mlp(), torch.ones(1, 8), {}, ValueError, "is 1 long, expected at least 2"),
        (mlp(), "x", {}, TypeError, "example_inputs: a batch must be a tensor, a tuple .* not str"),
        (mlp(), (torch.ones(2, 8),) * 2, {}, ValueError, "example_inputs: expected at most 1 positional"),
        (mlp(), (3,), {}, TypeError, "expected at least one tensor"),
        (mlp(), torch.full((2, 8), torch.nan), {}, ValueError, "NaN or infinite"),
        (mlp(), torch.ones(2, 8), {"axes": {"y": {0: "batch"}}}, ValueError, "no input is called 'y'"),
        (mlp(), torch.ones(2, 8), {"axes": {"input": {5: "batch"}}}, ValueError, "got axis 5"),
        (mlp(), torch.ones(2, 8), {"axes": {"input": {0: "rows"}}}, ValueError, 'no axis is called "batch"'),
        (
            mlp(),
            torch.ones(2, 8),
            {"axes": {"input": {0: "batch", 1: "features"}}},
            ValueError,
            "its code fixes axis 1 of input input to 8",
        ),
        (
            nn.Sequential(nn.Linear(4, 4), nn.Sequential(Branching())),
            torch.ones(2, 4),
            {},
            ValueError,
            r"submodule '1\.0' \(Branching\) cannot be exported",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    model, inputs, options, error, message, tmp_path, capsys
):
    with pytest.raises(error, match=message) as caught:
        export_onnx(model, tmp_path / "m.onnx", inputs, **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_a_model_with_nan_is_refused(tmp_path):
    model = mlp()
    model[3].bias.data[1] = torch.nan
    with pytest.raises(ValueError, match=r"parameter '3\.bias' holds NaN"):
        export_onnx(model, tmp_path / "m.onnx", torch.ones(2, 8))


def test_paths_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        export_onnx(mlp(), tmp_path / "none" / "m.onnx", torch.ones(2, 8))
    with pytest.raises(ValueError, match=r"ends in \.onnx"):
        export_onnx(mlp(), tmp_path / "m.pt", torch.ones(2, 8))
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(PermissionError, match="cannot be written to; choose another"):
        export_onnx(mlp(), tmp_path / "m.onnx", torch.ones(2, 8))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_refuses_the_write_itself_is_named():
    with pytest.raises(FileNotFoundError, match=r"^path: cannot write '/proc/m.onnx' .*choose another place"):
        export_onnx(mlp(), "/proc/m.onnx", torch.ones(2, 8))


class Amplifying(nn.Module):
    """The order in which a float32 sum is taken shows in the first of its outputs, or in all."""

    def __init__(self, size, scale):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(1024, 64)
        self.size, self.scale = size, scale

    def forward(self, x):
        found = self.linear(x)
        return torch.cat([torch.sin(self.scale * found[:, : self.size]), found[:, self.size :].tanh()], 1)


def test_a_value_may_be_as_far_off_as_torch_itself_and_that_is_said(tmp_path):
    export = export_onnx(Amplifying(1, 50.0), tmp_path / "m.onnx", normal(16, 1024))
    assert export.max_rel_diff > 1e-5
    assert export.max_gap <= 1e-5
    assert "the model in torch is itself that far from float64, and" in str(export)


def test_an_output_that_is_all_rounding_is_refused(tmp_path):
    with pytest.raises(ExportMismatchError, match="of the outputs' norm off, expected at most 1e-05"):
        export_onnx(Amplifying(64, 1000.0), tmp_path / "m.onnx", normal(16, 1024))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ['a")\nraise SystemExit(1)\n#', 'say "hi"', "back\\slash", "it's"])
def test_layer_names_that_could_become_code_are_refused(name, tmp_path):
    net = nn.Sequential()
    net.add_module(name, nn.Linear(4, 2))
    with pytest.raises(ValueError, match="layer names without quotes"):
        export_onnx(net, tmp_path / "net.onnx", torch.ones(2, 4))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("example", [torch.ones(2, 5), {"x": torch.ones(2, 4)}, torch.ones(2, 4).int()])
def test_example_inputs_that_do_not_fit_are_named(example, tmp_path):
    with pytest.raises(ValueError, match="example_inputs"):
        export_onnx(nn.Sequential(nn.Linear(4, 2)), tmp_path / "net.onnx", example)
    assert list(tmp_path.iterdir()) == []
