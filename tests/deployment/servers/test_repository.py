"""A repository is what a server expects, whole or not at all, and never overwritten."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from jlab_compress.deployment.onnx.export import export_onnx
from jlab_compress.deployment.servers.repository import export_repository
from jlab_compress.errors import ExportMismatchError
from tests.deployment.networks import IDS, MODELS, Encoder, Score, mlp, normal, slim_mlp

X = normal(3, 8)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return export_onnx(mlp(), tmp_path_factory.mktemp("one") / "model.onnx", X)


@pytest.fixture
def quick(one, monkeypatch):
    """Exports are copies of one, made once."""

    def copied(slim, path, example_inputs, **options):
        shutil.copy(one.path, path)
        return replace(one, path=path)

    monkeypatch.setattr("jlab_compress.deployment.servers.repository.export_onnx", copied)
    return copied


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


NAMES = [
    "../net", "a/b", "a\\b", "..", "a..b", "", ".hidden", "a b", "a\n", "a\0", "\ud800", "²", "a²", "é",
    "x\u202ey", "net.", "net-", "-net", "1", "2024-01-01", "CON", "nul", "Lpt1", "aux.net",
    "n" * 64, "n" * 5000, 7, None,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_not_the_same_everywhere_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="name: expected 1 to 63 letters") as caught:
        export_repository(mlp(), tmp_path / "repo", name, X)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["true", "null", "on", "No", "n" * 63, "a.b_c-D9", "console"])
def test_a_name_that_yaml_takes_for_something_else_stays_a_text(name, tmp_path, quick):
    import yaml

    export_repository(mlp(), tmp_path, name, X, layout="kserve")
    service = yaml.safe_load((tmp_path / name / "inferenceservice.yaml").read_text())
    assert service["metadata"]["name"] == name.lower().replace(".", "-").replace("_", "-")
    assert config_of(tmp_path, name).name == name


def test_a_name_that_differs_by_case_only_is_refused(tmp_path, quick):
    export_repository(mlp(), tmp_path, "net", X)
    with pytest.raises(ValueError, match="net is there and differs from Net by case only"):
        export_repository(mlp(), tmp_path, "Net", X)
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


@pytest.mark.parametrize("directory", ["a\0b", "a/\ud800"])
def test_a_folder_that_no_system_can_have_is_refused(directory, tmp_path):
    with pytest.raises(ValueError, match="is no name of a folder; choose another one"):
        export_repository(mlp(), tmp_path / directory, "net", X)


@pytest.mark.parametrize("inside", ["", "1", "config.pbtxt", "7"])
@pytest.mark.parametrize("dangling", [True, False])
def test_links_in_a_repository_are_not_followed(inside, dangling, tmp_path):
    repository, elsewhere = tmp_path / "repo", tmp_path / "elsewhere"
    if not dangling:
        elsewhere.mkdir()
        (elsewhere / "mine").write_text("mine")
    link = repository / "net" / inside
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(ValueError, match=r"directory: .*net.* is a symbolic link, which is not followed"):
        export_repository(mlp(), repository, "net", X, version="next")
    assert link.is_symlink()
    assert [path.name for path in elsewhere.glob("*")] == ([] if dangling else ["mine"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["repo"] if dangling else ["elsewhere", "repo"]


def test_a_repository_may_be_reached_by_a_link_itself(tmp_path, quick):
    (tmp_path / "real").mkdir()
    (tmp_path / "repo").symlink_to(tmp_path / "real")
    export_repository(mlp(), tmp_path / "repo", "net", X)
    assert (tmp_path / "real" / "net" / "1" / "model.onnx").is_file()


def test_a_file_in_the_place_of_a_model_stays(tmp_path):
    (tmp_path / "net").write_text("mine")
    with pytest.raises(FileExistsError, match="net' is a file; choose another name"):
        export_repository(mlp(), tmp_path, "net", X)
    assert (tmp_path / "net").read_text() == "mine"


@pytest.mark.parametrize("name", ["²", "١", "1.5", "-3", "1e3"])
def test_folders_that_are_no_version_are_passed_over(name, tmp_path, quick):
    (tmp_path / "net" / name).mkdir(parents=True)
    assert export_repository(mlp(), tmp_path, "net", X, version="next").version == 1


@pytest.mark.parametrize("others", [1, 3])
def test_the_next_version_is_taken_also_where_others_are_faster(others, tmp_path, quick, monkeypatch):
    """Others publish between the choice of a number and the writing under it."""
    waiting = [mlp(seed=seed) for seed in range(others)]

    def overtaken(*arguments, **options):
        if waiting:
            export_repository(waiting.pop(), tmp_path, "net", X, version="next")
        return quick(*arguments, **options)

    monkeypatch.setattr("jlab_compress.deployment.servers.repository.export_onnx", overtaken)
    made = export_repository(mlp(), tmp_path, "net", X, version="next")
    assert made.version == others + 1
    assert made.export.path == made.path / "model.onnx"
    assert sorted(p.name for p in (tmp_path / "net").iterdir()) == [
        *map(str, range(1, others + 2)),
        "config.pbtxt",
    ]
    sums = dict(reversed(line.split("  ")) for line in (made.path / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {path.name for path in made.path.iterdir()} - {"SHA256SUMS"}
    assert all(hashlib.sha256((made.path / n).read_bytes()).hexdigest() == each for n, each in sums.items())
    assert json.loads((made.path / "report.json").read_text())["facts"]["path"] == str(made.export.path)
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_a_version_that_was_asked_for_and_is_taken_meanwhile_is_refused(tmp_path, quick, monkeypatch):
    def overtaken(*arguments, **options):
        monkeypatch.setattr("jlab_compress.deployment.servers.repository.export_onnx", quick)
        export_repository(mlp(), tmp_path, "net", X)
        return quick(*arguments, **options)

    monkeypatch.setattr("jlab_compress.deployment.servers.repository.export_onnx", overtaken)
    with pytest.raises(FileExistsError, match="net has version 1 already"):
        export_repository(mlp(seed=1), tmp_path, "net", X)
    assert sorted(p.name for p in (tmp_path / "net").iterdir()) == ["1", "config.pbtxt"]
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_outputs_of_any_printable_name_make_a_configuration_that_parses(tmp_path):
    class Named(torch.nn.Linear):
        def forward(self, input):
            found = super().forward(input)
            return {"🙂": found, 'say "hi"': found + 1, "a\\b": found + 2, "ünï": found + 3}

    export_repository(Named(8, 2), tmp_path, "net", X)
    assert [port.name for port in config_of(tmp_path, "net").output] == ["🙂", 'say "hi"', "a\\b", "ünï"]


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
