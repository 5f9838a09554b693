"""A repository is what a server expects, whole or not at all, and never overwritten."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from jlab_compress.deployment.servers.repository import export_repository
from jlab_compress.errors import ExportMismatchError
from tests.deployment.networks import IDS, MODELS, Encoder, Score, mlp, normal, slim_mlp

X = normal(3, 8)


def config_of(folder, name):
    return text_format.Parse((folder / name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def test_triton_reads_the_configuration(tmp_path):
    export_repository(Encoder(), tmp_path, "enc", MODELS["encoder"][1])
    config = config_of(tmp_path, "enc")
    assert (config.name, config.backend, config.max_batch_size) == ("enc", "onnxruntime", 64)
    assert [(p.name, p.data_type, list(p.dims)) for p in config.input] == [
        ("ids", model_config_pb2.TYPE_INT64, [-1]),
        ("mask", model_config_pb2.TYPE_INT64, [-1]),
    ]
    assert [(p.name, p.data_type, list(p.dims)) for p in config.output] == [
        ("hidden", model_config_pb2.TYPE_FP32, [-1, 16]),
        ("logits", model_config_pb2.TYPE_FP32, [3]),
    ]
    assert config.HasField("dynamic_batching")
    assert config.version_policy.latest.num_versions == 2
    assert [w.batch_size for w in config.model_warmup] == [1, 64]
    assert list(config.model_warmup[0].inputs["ids"].dims) == [5]


def test_one_number_per_row_is_reshaped(tmp_path):
    export_repository(Score(), tmp_path, "score", X)
    output = config_of(tmp_path, "score").output[0]
    assert (list(output.dims), output.HasField("reshape"), list(output.reshape.shape)) == ([1], True, [])


def test_every_version_is_whole(tmp_path):
    slim, _ = slim_mlp()
    made = export_repository(slim, tmp_path, "net", X)
    assert made.path == tmp_path / "net" / "1"
    files = "README.md SHA256SUMS client.py input_example.json model.onnx report.json"
    assert " ".join(sorted(p.name for p in made.path.iterdir())) == files
    for line in (made.path / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((made.path / name).read_bytes()).hexdigest() == digest
    card = (made.path / "README.md").read_text()
    assert "10 neurons became 6" in card
    assert json.loads((made.path / "report.json").read_text())["facts"]["sha256"] == made.export.sha256
    assert made.export.path.is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net"]
    subprocess.run([sys.executable, "-m", "py_compile", str(made.path / "client.py")], check=True)


def test_versions_are_added_and_never_written_again(tmp_path):
    export_repository(mlp(), tmp_path, "net", X)
    before = (tmp_path / "net" / "1" / "model.onnx").read_bytes()
    with pytest.raises(FileExistsError, match="has version 1 already"):
        export_repository(mlp(seed=1), tmp_path, "net", X)
    assert export_repository(mlp(seed=1), tmp_path, "net", X, version="next").version == 2
    assert export_repository(mlp(seed=1), tmp_path, "net", X, version=7).version == 7
    assert export_repository(mlp(seed=1), tmp_path, "net", X, version="next").version == 8
    assert (tmp_path / "net" / "1" / "model.onnx").read_bytes() == before
    assert sorted(p.name for p in (tmp_path / "net").iterdir()) == ["1", "2", "7", "8", "config.pbtxt"]


def test_a_version_with_other_inputs_is_refused(tmp_path):
    export_repository(mlp(), tmp_path, "net", X)
    with pytest.raises(ValueError, match="not those that net is served with"):
        export_repository(torch.nn.Linear(5, 2), tmp_path, "net", torch.ones(2, 5), version="next")
    assert sorted(p.name for p in (tmp_path / "net").iterdir()) == ["1", "config.pbtxt"]


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ExportMismatchError("broken")

    monkeypatch.setattr("jlab_compress.deployment.servers.repository.export_onnx", fail)
    with pytest.raises(ExportMismatchError, match="broken"):
        export_repository(mlp(), tmp_path / "room", "net", X)
    assert list((tmp_path / "room").iterdir()) == []
    assert [p.name for p in tmp_path.iterdir()] == ["room"]


@pytest.mark.parametrize("name", ["../net", "a/b", "a\\b", "..", "a..b", "", ".hidden", "a b"])
def test_names_that_leave_the_folder_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="name: expected letters"):
        export_repository(mlp(), tmp_path / "repo", name, X)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "tensorrt"}, "layout: expected one of triton"),
        ({"version": 0}, "version: expected a whole number from 1"),
        ({"version": "latest"}, "version: expected a whole number from 1"),
        ({"opset": 5}, "opset: expected 17 to 23"),
    ],
)
def test_bad_choices(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_repository(mlp(), tmp_path, "net", X, **options)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_cannot_be_written_are_named(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="directory: '/proc/models' cannot be made"):
        export_repository(mlp(), "/proc/models", "net", X)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match=r"directory: .*file' cannot be made \(File exists\)"):
        export_repository(mlp(), tmp_path / "file", "net", X)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(PermissionError, match=r"directory: .*repo' cannot be written to"):
        export_repository(mlp(), tmp_path / "repo", "net", X)
    assert list((tmp_path / "repo").iterdir()) == []


def test_a_folder_whose_parent_is_closed_is_enough(tmp_path, monkeypatch):
    repository = tmp_path / "repo"
    repository.mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and allowed(path, mode))
    tmp_path.chmod(0o555)
    made = export_repository(mlp(), repository, "net", X)
    tmp_path.chmod(0o755)
    assert made.path == repository / "net" / "1"
    assert [path.name for path in repository.iterdir()] == ["net"]


def test_kserve_and_openvino_add_one_file_to_the_same_tree(tmp_path):
    import yaml

    export_repository(mlp(), tmp_path / "k", "My_net", X, layout="kserve")
    service = yaml.safe_load((tmp_path / "k" / "My_net" / "inferenceservice.yaml").read_text())
    assert service["kind"] == "InferenceService"
    assert service["metadata"]["name"] == "my-net"
    model = service["spec"]["predictor"]["model"]
    assert (model["modelFormat"]["name"], model["protocolVersion"]) == ("onnx", "v2")
    export_repository(mlp(), tmp_path / "o", "net", X, layout="openvino")
    entry = json.loads((tmp_path / "o" / "net" / "config.json").read_text())["model_config_list"][0]["config"]
    assert entry == {"name": "net", "base_path": "/models/net"}
    assert (tmp_path / "o" / "net" / "1" / "model.onnx").is_file()


@pytest.mark.parametrize("name", ["mlp", "conv", "encoder"])
def test_openvino_agrees(name, tmp_path):
    build, example, axes = MODELS[name]
    made = export_repository(build(), tmp_path, "net", example, layout="openvino", axes=axes)
    feeds = json.loads((made.path / "input_example.json").read_text())["inputs"]
    kinds = {"FP32": np.float32, "INT64": np.int64}
    arrays = {e["name"]: np.array(e["data"], kinds[e["datatype"]]).reshape(e["shape"]) for e in feeds}
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(made.path / "model.onnx", "CPU", exact)
    found = compiled(arrays)
    session = onnxruntime.InferenceSession(made.path / "model.onnx")
    for port, expected in zip(session.get_outputs(), session.run(None, arrays), strict=True):
        np.testing.assert_allclose(found[port.name], expected, rtol=1e-4, atol=1e-5)


def test_mlflow_loads_and_agrees(tmp_path, monkeypatch):
    import mlflow.pyfunc

    made = export_repository(Encoder(), tmp_path, "net", MODELS["encoder"][1], layout="mlflow")
    assert hashlib.sha256((made.path / "model.onnx").read_bytes()).hexdigest() == made.export.sha256
    model = mlflow.pyfunc.load_model(str(made.path))
    found = model.predict({"ids": IDS.numpy(), "mask": torch.ones_like(IDS).numpy()})
    expected = Encoder().eval()(IDS, torch.ones_like(IDS))
    np.testing.assert_allclose(found["logits"], expected["logits"].detach(), rtol=1e-5, atol=1e-5)
    assert {"MLmodel", "README.md", "SHA256SUMS"} <= {p.name for p in made.path.iterdir()}
