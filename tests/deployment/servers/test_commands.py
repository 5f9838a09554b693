"""Which server is started, with which command line, and why none is."""

import pytest

from jlab_compress.deployment.servers import commands
from jlab_compress.deployment.servers.commands import HOST, choose_server, command_for
from jlab_compress.deployment.servers.setup.triton_setup import Triton


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A Triton and an MLServer that are said to be here; `installed.clear()` takes them away."""
    made = {
        "triton": Triton(
            tmp_path, tmp_path / "tritonserver", tmp_path / "backends", {"LD_LIBRARY_PATH": "/lib"}
        ),
        "mlserver": tmp_path / "python",
    }
    monkeypatch.setattr(commands, "find_triton", lambda: made.get("triton"))
    monkeypatch.setattr(commands, "find_mlserver", lambda: made.get("mlserver"))
    monkeypatch.setattr(commands, "triton_objection", lambda: made.get("objection"))
    return made


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "repo" / name).mkdir(parents=True)
        (tmp_path / "repo" / name / "config.pbtxt").write_text("")
    return tmp_path / "repo"


def test_triton_is_started_on_loopback_with_one_model(installed, folder):
    found = command_for(folder, "a", None, ports=(8, 9))
    assert (found.kind, found.http_port, found.grpc_port) == ("triton", 8, 9)
    assert f"--model-repository={folder}" in found.arguments
    assert "--load-model=a" in found.arguments
    assert {f"--http-address={HOST}", f"--grpc-address={HOST}"} <= set(found.arguments)
    assert found.environment["LD_LIBRARY_PATH"] == "/lib"
    assert "--load-model=*" in command_for(folder, None, "triton", ports=(8, 9)).arguments


def test_mlserver_waits_for_every_model_that_it_loads(installed, folder):
    found = command_for(folder, None, "mlserver", ports=(8, 9))
    assert found.ready == ("/v2/models/a/ready", "/v2/models/b/ready")
    assert found.arguments[found.arguments.index("--host") + 1] == HOST
    assert command_for(folder, "b", "mlserver", ports=(8, 9)).ready == ("/v2/models/b/ready",)


def test_mlflow_takes_the_newest_version(tmp_path):
    for version in ("2", "10"):
        (tmp_path / "net" / version).mkdir(parents=True)
        (tmp_path / "net" / version / "MLmodel").write_text("")
    found = command_for(tmp_path, None, None, ports=(8, 9))
    assert (found.kind, found.grpc_port) == ("mlflow", None)
    assert str(tmp_path / "net" / "10") in found.arguments


def test_mlserver_stands_in_where_triton_cannot_be(installed):
    assert choose_server(None, "triton") == "triton"
    del installed["triton"]
    assert choose_server(None, "triton") == "mlserver"
    del installed["mlserver"]
    with pytest.raises(ValueError, match="triton is not set up; run `jlab-compress set-up triton`"):
        choose_server(None, "kserve")
    installed["objection"] = "no wheel"
    with pytest.raises(ValueError, match="mlserver is not set up; run `jlab-compress set-up mlserver`"):
        choose_server(None, "kserve")


@pytest.mark.parametrize(
    ("server", "layout", "words"),
    [
        ("torchserve", "triton", "expected one of triton, mlserver, mlflow, got 'torchserve'"),
        ("mlflow", "triton", "mlflow cannot serve layout 'triton'"),
        ("triton", "mlflow", "triton cannot serve layout 'mlflow'"),
    ],
)
def test_a_server_that_does_not_fit_is_refused(installed, server, layout, words):
    with pytest.raises(ValueError, match=words):
        choose_server(server, layout)


def test_mlflow_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(ImportError, match=r'mlflow is needed .*: pip install "jlab-compress\[mlflow\]"'):
        choose_server(None, "mlflow")
