"""What each layout adds to a folder that holds a checked file, and what a client sends to it."""

import json
import sys

import numpy as np
import pytest
import yaml

from jlab_compress.deployment.onnx.form import Form, Port
from jlab_compress.deployment.servers.layouts import LAYOUTS

FORM = Form(18, 8, (Port("x", "float32", ("batch",)),), (Port("y", "float32", ("batch",)),), {})
EXAMPLE = {"x": np.array([1.0, 2.0], np.float32)}


@pytest.fixture
def version(tmp_path):
    folder = tmp_path / "My_net.v1" / "1"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("triton", {"config.pbtxt"}),
        ("kserve", {"config.pbtxt", "inferenceservice.yaml"}),
        ("openvino", {"config.pbtxt", "config.json"}),
    ],
)
def test_the_tree_of_triton_and_one_file_more(name, files, version):
    LAYOUTS[name].write(version, FORM, EXAMPLE)
    assert {path.name for path in version.parent.iterdir() if path.is_file()} == files
    assert list(version.iterdir()) == []
    assert 'name: "My_net.v1"' in (version.parent / "config.pbtxt").read_text()


def test_a_service_of_kserve_has_a_name_that_a_cluster_takes(version):
    LAYOUTS["kserve"].write(version, FORM, EXAMPLE)
    service = yaml.safe_load((version.parent / "inferenceservice.yaml").read_text())
    assert (service["kind"], service["metadata"]["name"]) == ("InferenceService", "my-net-v1")


def test_openvino_is_told_the_folder(version):
    LAYOUTS["openvino"].write(version, FORM, EXAMPLE)
    listed = json.loads((version.parent / "config.json").read_text())["model_config_list"]
    assert listed == [{"config": {"name": "My_net.v1", "base_path": "/models/My_net.v1"}}]


@pytest.mark.parametrize(
    ("name", "sent"),
    [("triton", [2, 1]), ("kserve", [2, 1]), ("openvino", [2])],
)
def test_single_numbers_are_a_column_where_triton_joins_requests(name, sent):
    assert LAYOUTS[name].request(EXAMPLE, FORM)["inputs"][0]["shape"] == sent


def test_mlflow_is_sent_plain_lists():
    assert LAYOUTS["mlflow"].request(EXAMPLE, FORM) == {"inputs": {"x": [1.0, 2.0]}}


def test_mlflow_that_is_not_installed_is_said(version, monkeypatch):
    for module in ("mlflow", "mlflow.models", "mlflow.onnx"):  # another test may have imported them
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'mlflow is needed .*: pip install "jlab-compress\[mlflow\]"'):
        LAYOUTS["mlflow"].write(version, FORM, EXAMPLE)
    assert version.is_dir()
