"""Which server is started, with which command line, and why none is."""

import pytest

from jlab_compress.deployment.servers import commands
from jlab_compress.deployment.servers.commands import HANDED_ON, HOST, choose_server, command_for
from jlab_compress.deployment.servers.setup.triton_setup import Triton
from jlab_compress.extras import QUIET

PORTS = (8, 9)


@pytest.fixture
def place(tmp_path):
    """The private folder of a run."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


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
        (tmp_path / "repo" / name / "config.pbtxt").write_text('backend: "onnxruntime"\n')
    return tmp_path / "repo"


def test_triton_is_started_on_loopback_with_one_model(installed, folder, place):
    found = command_for(folder, "a", None, place=place, ports=PORTS)
    assert (found.kind, found.http_port, found.grpc_port) == ("triton", 8, 9)
    assert f"--model-repository={found.tree}" in found.arguments
    assert [path.name for path in found.tree.iterdir()] == ["a"]
    assert {f"--http-address={HOST}", f"--grpc-address={HOST}"} <= set(found.arguments)
    assert found.environment["LD_LIBRARY_PATH"] == "/lib"
    assert "--model-control-mode=poll" in found.arguments  # in which no request loads a model


@pytest.mark.parametrize("server", ["triton", "mlserver", "mlflow"])
def test_a_server_is_handed_no_more_of_the_environment_than_it_needs(
    installed, folder, place, tmp_path, monkeypatch, server
):
    for name in ("AWS_SECRET_ACCESS_KEY", "http_proxy", "SSH_AUTH_SOCK", "JUPYTER_TOKEN", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "3")
    (tmp_path / "flows" / "net" / "1").mkdir(parents=True)
    (tmp_path / "flows" / "net" / "1" / "MLmodel").write_text("")
    source = tmp_path / "flows" if server == "mlflow" else folder
    found = command_for(source, None, server, place=place, ports=PORTS).environment
    assert set(found) <= {*HANDED_ON, *QUIET, "PATH", "HOME", "TMPDIR", "PYTHONPATH", "PYTHONUSERBASE"}
    assert (found["HOME"], found["TMPDIR"], found["OMP_NUM_THREADS"]) == (str(place), str(place), "3")
    assert set(QUIET.items()) <= set(found.items())


def test_mlserver_waits_for_every_model_that_it_loads(installed, folder, place):
    found = command_for(folder, None, "mlserver", place=place, ports=PORTS)
    assert found.ready == ("/v2/models/a/ready", "/v2/models/b/ready")
    assert found.arguments[found.arguments.index("--host") + 1] == HOST
    (place / "other").mkdir()
    one = command_for(folder, "b", "mlserver", place=place / "other", ports=PORTS)
    assert one.ready == ("/v2/models/b/ready",)


def test_mlflow_takes_the_newest_version(tmp_path, place):
    for version in ("2", "10"):
        (tmp_path / "net" / version).mkdir(parents=True)
        (tmp_path / "net" / version / "MLmodel").write_text("")
    found = command_for(tmp_path, None, None, place=place, ports=PORTS)
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


@pytest.mark.parametrize(("package", "extra"), [("mlflow", "mlflow"), ("psutil", "serve")])
def test_a_package_that_is_not_installed_is_said(monkeypatch, package, extra):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ImportError, match=rf'{package} is needed .*: pip install "jlab-compress\[{extra}\]"'):
        choose_server(None, "mlflow")
