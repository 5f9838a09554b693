"""A served model is compared with torch in one call; a server that answers something else is found out."""

import json

import psutil
import pytest

from jlab_compress import serve_and_compare
from jlab_compress.deployment.servers import comparison as trial
from jlab_compress.deployment.servers.repository import export_repository
from jlab_compress.deployment.servers.setup.mlserver_setup import set_up_mlserver
from jlab_compress.deployment.servers.setup.triton_setup import set_up_triton
from tests.deployment.networks import MODELS, Score, mlp, normal, slim_mlp

pytestmark = pytest.mark.serve
X = normal(5, 8)


@pytest.fixture(scope="module", autouse=True)
def triton():
    """Triton, set up once if it is not there yet."""
    return set_up_triton()


def children():
    return psutil.Process().children(recursive=True)


def test_a_slim_network_is_served_over_both_protocols(tmp_path, fingerprint):
    slim, wide = slim_mlp()
    slim.train()
    before = fingerprint(slim, wide, X)
    found = serve_and_compare(slim, X, directory=tmp_path, name="net", original=wide)
    assert fingerprint(slim, wide, X) == before
    assert children() == []
    assert found.agrees
    assert found.max_rel_diff <= 1e-5
    assert set(found.parity) == {"http", "grpc"}
    for entries in found.parity.values():
        assert {"batch 1", "batch 2", "batch 7", "batch 64"} <= {entry.case for entry in entries}
    assert {(t.protocol, t.batch) for t in found.times} == {
        ("http", 1),
        ("http", 32),
        ("grpc", 1),
        ("grpc", 32),
    }
    assert all(t.served > 0 and t.here > 0 and t.original > 0 for t in found.times)
    assert "NVIDIA Triton answered with the model's outputs" in str(found)
    sent = json.loads(found.report.to_json())
    assert sent["facts"]["agrees"] is True
    assert {"version", "served_max_rel_diff", "served_ms_grpc_batch_32"} < set(sent["details"])
    assert (tmp_path / "net" / "1" / "model.onnx").is_file()
    assert serve_and_compare(slim, X, directory=tmp_path, name="net").repository.version == 2


def test_masks_lengths_and_single_numbers(tmp_path):
    name, (build, example, _) = "bert", MODELS["bert"]
    found = serve_and_compare(build(), example, directory=tmp_path, name=name)
    assert found.agrees
    cases = {entry.case for entry in found.parity["grpc"]}
    assert {"batch 2, sequence 1", "batch 2, sequence 11", "padding mask"} <= cases
    assert serve_and_compare(Score(), X, directory=tmp_path, name="score").agrees


def test_another_model_behind_the_name_is_found_out(tmp_path, monkeypatch):
    def other(slim, *arguments, **options):
        return export_repository(mlp(seed=1), *arguments, **options)

    monkeypatch.setattr(trial, "export_repository", other)
    found = serve_and_compare(mlp(), X, directory=tmp_path)
    assert not found.agrees
    assert found.max_rel_diff > 0.1
    assert "do not ship this version" in str(found)


def test_a_smaller_precision_may_add_what_its_export_said(tmp_path):
    found = serve_and_compare(mlp(256), normal(64, 8), directory=tmp_path, precision="int8")
    assert found.agrees
    assert found.max_rel_diff > 1e-4


def test_mlserver_gives_the_same(tmp_path):
    set_up_mlserver()
    found = serve_and_compare(Score(), X, directory=tmp_path, server="mlserver")
    assert (found.server, set(found.parity), found.agrees) == ("mlserver", {"http", "grpc"}, True)


def test_mlflow_is_asked_over_http(tmp_path):
    found = serve_and_compare(Score(), X, directory=tmp_path, layout="mlflow")
    assert (found.server, set(found.parity), found.agrees) == ("mlflow", {"http"}, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"server": "torchserve"}, "server: expected one of triton"),
        ({"server": "mlflow"}, "server: mlflow cannot serve layout .triton."),
        ({"layout": "mlflow", "server": "triton"}, "server: triton cannot serve layout .mlflow."),
        ({"name": "../net"}, "name: expected 1 to 63 letters"),
        ({"layout": "tensorrt"}, "layout: expected one of triton"),
    ],
)
def test_bad_choices_write_nothing(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        serve_and_compare(mlp(), X, directory=tmp_path / "new", **options)
    assert list(tmp_path.iterdir()) == []
