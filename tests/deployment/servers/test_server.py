"""Real servers on loopback: official clients, wrong requests, ends that are certain, faults that are said."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest
import torch
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from jlab_compress.deployment.servers.clients import ServerError
from jlab_compress.deployment.servers.repository import export_repository
from jlab_compress.deployment.servers.running.supervisor import SHARED
from jlab_compress.deployment.servers.server import serve
from jlab_compress.deployment.servers.setup.mlserver_setup import find_mlserver
from jlab_compress.deployment.servers.setup.triton_setup import find_triton
from tests.deployment.networks import IDS, MODELS, Encoder, Score, mlp
from tests.deployment.servers.asking import FOREIGN, X, asked, expected, posted, printed, same

pytestmark = pytest.mark.serve
MASK = torch.ones_like(IDS)
ARRAY = X.numpy()
UNKNOWN = {
    "triton": ("unknown model: 'nothing'", "'net' version 9"),
    "mlserver": ("nothing not found", "net with version 9 not found"),
}
BAD_INPUTS = {
    "shape": ({"input": ARRAY[:, :3]}, "unexpected shape for input 'input'"),
    "name": ({"inputs": ARRAY}, "unexpected inference input 'inputs'"),
    "type": ({"input": ARRAY.astype(np.float64)}, "data-type is 'FP64'"),
}
WRONG = {
    "shape": [asked(tritonclient.grpc, ARRAY[:, :3])],
    "name": [asked(tritonclient.grpc, ARRAY, name="inputs")],
    "type": [asked(tritonclient.grpc, ARRAY.astype(np.float64), "FP64")],
    "nothing": [],
}


@pytest.fixture
def repository(tmp_path, exported):
    """A copy of one model, to be changed."""
    shutil.copytree(exported / "net", tmp_path / "repo" / "net")
    return tmp_path / "repo"


def family(server):
    process = psutil.Process(server._process.pid)
    return [process, *process.children(recursive=True)]


def still_there(processes):
    """Return what runs after 30 seconds; one that has ended and waits to be collected does not."""
    _, left = psutil.wait_procs(processes, timeout=30)
    return [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def regions(place):
    return list(SHARED.glob(f"{place.name}-*"))


def test_the_official_http_client_agrees_with_torch(running, kind):
    client = tritonclient.http.InferenceServerClient(running.http)
    for binary in (True, False) if kind == "triton" else (False,):
        tensor = tritonclient.http.InferInput("input", list(ARRAY.shape), "FP32")
        tensor.set_data_from_numpy(ARRAY, binary_data=binary)
        output = tritonclient.http.InferRequestedOutput("output", binary_data=binary)
        answer = client.infer("net", [tensor], outputs=[output]).as_numpy("output")
        np.testing.assert_allclose(answer, expected(mlp()), atol=1e-5)


def test_the_official_grpc_client_agrees_with_torch(running):
    client = tritonclient.grpc.InferenceServerClient(running.grpc)
    answer = client.infer("net", [asked(tritonclient.grpc, ARRAY)]).as_numpy("output")
    np.testing.assert_allclose(answer, expected(mlp()), atol=1e-5)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_query_agrees_with_torch(running, protocol):
    answer = running.query("net", {"input": ARRAY}, version=1, protocol=protocol)["output"]
    np.testing.assert_allclose(answer, expected(mlp()), atol=1e-5)


@pytest.mark.parametrize("ids", [IDS, torch.arange(44).reshape(4, 11)], ids=["as exported", "longer"])
def test_every_length_agrees_with_torch(running, ids):
    mask = torch.ones_like(ids)
    logits = Encoder().eval()(ids, mask)["logits"].detach()
    answer = running.query("encoder", {"ids": ids.numpy(), "mask": mask.numpy()})
    np.testing.assert_allclose(answer["logits"], logits, atol=1e-5)


def test_one_number_per_row_comes_as_a_column(running):
    scores = running.query("score", {"x": ARRAY})["output"]
    np.testing.assert_allclose(scores, expected(Score())[:, None], atol=1e-5)


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_request_is_refused_over_grpc(running, fault):
    client = tritonclient.grpc.InferenceServerClient(running.grpc)
    with pytest.raises(InferenceServerException) as caught:
        client.infer("net", WRONG[fault])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.parametrize("fault", BAD_INPUTS)
def test_a_wrong_query_is_refused_with_the_reason(running, fault):
    feeds, words = BAD_INPUTS[fault]
    with pytest.raises(ServerError, match=f"400: .*{words}"):
        running.query("net", feeds)


def test_a_wrong_query_over_grpc_is_refused_with_the_reason(running):
    with pytest.raises(ServerError, match=r"INVALID_ARGUMENT: .*unexpected shape for input 'input'"):
        running.query("net", {"input": ARRAY[:, :3]}, protocol="grpc")


def test_a_model_and_a_version_that_are_not_there_are_named(running, kind):
    model, version = UNKNOWN[kind]
    with pytest.raises(ServerError, match=f"404: .*{model}"):
        running.query("nothing", {"input": ARRAY})
    with pytest.raises(ServerError, match=f"404: .*{version}"):
        running.query("net", {"input": ARRAY}, version=9)


def test_a_protocol_that_is_not_known_is_refused(running):
    with pytest.raises(ValueError, match='protocol: expected "http" or "grpc"'):
        running.query("net", {"input": ARRAY}, protocol="ftp")


def test_the_client_beside_the_model_is_answered(running, exported):
    client = exported / "net" / "1" / "client.py"
    for address in ([running.http], [running.grpc, "--grpc"]):
        assert "output" in printed(client, *address)


def test_nothing_listens_to_other_machines(running):
    found = [c for p in family(running) for c in p.net_connections() if c.status == "LISTEN"]
    assert {connection.laddr.ip.removeprefix("::ffff:") for connection in found} == {"127.0.0.1"}


def test_one_model_of_several_is_served_and_everything_ends(repository, kind):
    shutil.copytree(repository / "net", repository / "broken")
    (repository / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    config = repository / "broken" / "config.pbtxt"
    config.write_text(config.read_text().replace('"net"', '"broken"'))
    with serve(repository, "net", server=kind) as server:
        assert same(server.query("net", {"input": ARRAY})["output"], expected(mlp()))
        started = family(server)
        assert len(started) >= 2
    assert still_there(started) == []


def test_a_repository_that_does_not_load_is_reported(repository, kind):
    (repository / "net" / "1" / "model.onnx").write_bytes(b"no model")
    words = {"triton": "failed to load 'net'", "mlserver": "failed to load 'net' version 1"}
    with pytest.raises(ServerError, match=f"{kind} ended while starting: .*{words[kind]}"):
        serve(repository, server=kind)


SERVE = """
import sys
from jlab_compress.deployment.servers.server import serve
server = serve(sys.argv[1])
print(server.http, flush=True)
input()
"""


def test_a_killed_parent_takes_its_server_with_it(exported, set_up, tmp_path):
    command = [sys.executable, "-c", SERVE, str(exported)]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    parent = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}, **options)
    assert parent.stdout.readline().startswith("127.0.0.1:")
    children = psutil.Process(parent.pid).children(recursive=True)
    (place,) = tmp_path.iterdir()
    assert children
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    assert still_there(children) == []
    assert (list(tmp_path.iterdir()), regions(place)) == ([], [])


def test_mlflow_serves_and_agrees(tmp_path, start, outside):
    export_repository(Encoder(), tmp_path, "net", MODELS["encoder"][1], layout="mlflow")
    with start(tmp_path) as server:
        assert server.command.kind == "mlflow"
        answer = server.query("net", {"ids": IDS.numpy(), "mask": MASK.numpy()})
        np.testing.assert_allclose(
            answer["logits"], Encoder().eval()(IDS, MASK)["logits"].detach(), atol=1e-5
        )
        assert "logits" in printed(tmp_path / "net" / "1" / "client.py", server.http)
        with pytest.raises(ServerError, match="mlflow answered 4"):
            server.query("net", {"ids": IDS.numpy()})
        with pytest.raises(ValueError, match="reload: mlflow holds one version"):
            server.reload("net")
        for header in FOREIGN:
            assert posted(server.http, "/invocations", "{}", header) == 403
    assert outside.sent == []


def test_a_model_of_mlflow_that_brings_code_is_not_started(tmp_path):
    path = export_repository(mlp(), tmp_path, "net", X, layout="mlflow").path / "MLmodel"
    path.write_text(path.read_text().replace("loader_module: mlflow.onnx", "loader_module: os"))
    with pytest.raises(ServerError, match=r"ended while starting: error: .* is no plain ONNX model"):
        serve(tmp_path)


def test_what_cannot_be_served_is_said(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="holds no model"):
        serve(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="holds no model"):
        serve(tmp_path, server="mlflow")
    for name in ("a", "b"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1" / "MLmodel").write_text("")
    with pytest.raises(ValueError, match="name: expected one of a, b; say which to serve"):
        serve(tmp_path)
    with pytest.raises(ValueError, match="holds no MLflow model 'c'"):
        serve(tmp_path, "c")
    with pytest.raises(ValueError, match="server: triton cannot serve layout 'mlflow'"):
        serve(tmp_path, server="triton")
    with pytest.raises(ValueError, match="server: expected one of triton"):
        serve(tmp_path, server="torchserve")


def test_a_server_that_is_not_set_up_is_said(repository, monkeypatch, tmp_path):
    for server in ("triton", "mlserver"):
        monkeypatch.setenv(f"JLAB_COMPRESS_{server.upper()}", str(tmp_path))
        with pytest.raises(ValueError, match=f"{server} is not set up; run `jlab-compress set-up {server}`"):
            serve(repository, server=server)
    assert (find_triton(), find_mlserver()) == (None, None)
    with pytest.raises(ValueError, match="triton is not set up"):
        serve(repository)


def test_mlserver_is_taken_where_triton_is_not_set_up(repository, monkeypatch, set_up):
    monkeypatch.setenv("JLAB_COMPRESS_TRITON", str(repository))
    with serve(repository) as server:
        assert server.command.kind == "mlserver"
