"""Real servers on loopback: official clients, wrong requests, load, new versions, a corrupt file."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from jlab_compress.deployment.servers.repository import export_repository
from jlab_compress.deployment.servers.server import ServerError, serve
from jlab_compress.deployment.servers.setup import install as serversetup
from jlab_compress.deployment.servers.setup.mlserver_setup import find_mlserver, set_up_mlserver
from jlab_compress.deployment.servers.setup.triton_setup import find_triton, set_up_triton
from tests.deployment.networks import IDS, MODELS, Encoder, Score, mlp, normal

pytestmark = pytest.mark.serve
X = normal(5, 8)
MASK = torch.ones_like(IDS)
CLIENTS = 64
SECONDS = {"triton": 20.0, "mlserver": 6.0}
UNKNOWN = {
    "triton": ("unknown model: 'nothing'", "'net' version 9"),
    "mlserver": ("nothing not found", "net with version 9 not found"),
}


@pytest.fixture(scope="module", autouse=True)
def set_up():
    """Both servers, set up once if they are not there yet."""
    return set_up_triton(), set_up_mlserver()


@pytest.fixture(params=["triton", "mlserver"])
def kind(request):
    return request.param


@pytest.fixture
def repository(tmp_path):
    export_repository(mlp(), tmp_path / "repo", "net", X)
    return tmp_path / "repo"


def expected(model, x=X):
    with torch.no_grad():
        return model.eval()(x).numpy()


def family(process):
    return [process, *process.children(recursive=True)]


def still_there(processes):
    """Return what runs after 30 seconds; one that has ended and waits to be collected does not."""
    _, left = psutil.wait_procs(processes, timeout=30)
    return [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def printed(script, *arguments):
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def same(found, right):
    return found.shape == right.shape and np.allclose(found, right, atol=1e-5)


def asked(module, array, dtype="FP32", name="input"):
    tensor = module.InferInput(name, list(array.shape), dtype)
    tensor.set_data_from_numpy(array)
    return tensor


def test_official_clients_agree_with_torch_and_wrong_requests_are_refused(repository, kind):
    export_repository(Encoder(), repository, "encoder", MODELS["encoder"][1])
    export_repository(Score(), repository, "score", X)
    with serve(repository, server=kind) as server:
        http = tritonclient.http.InferenceServerClient(server.http)
        grpc = tritonclient.grpc.InferenceServerClient(server.grpc)
        array = X.numpy()
        for binary in (True, False) if kind == "triton" else (False,):
            tensor = tritonclient.http.InferInput("input", list(array.shape), "FP32")
            tensor.set_data_from_numpy(array, binary_data=binary)
            output = tritonclient.http.InferRequestedOutput("output", binary_data=binary)
            answer = http.infer("net", [tensor], outputs=[output]).as_numpy("output")
            np.testing.assert_allclose(answer, expected(mlp()), atol=1e-5)
        answer = grpc.infer("net", [asked(tritonclient.grpc, array)]).as_numpy("output")
        np.testing.assert_allclose(answer, expected(mlp()), atol=1e-5)
        for protocol in ("http", "grpc"):
            answer = server.query("net", {"input": array}, version=1, protocol=protocol)["output"]
            np.testing.assert_allclose(answer, expected(mlp()), atol=1e-5)
        for ids in (IDS, torch.arange(44).reshape(4, 11)):
            feeds = {"ids": ids.numpy(), "mask": torch.ones_like(ids).numpy()}
            logits = Encoder().eval()(ids, torch.ones_like(ids))["logits"].detach()
            np.testing.assert_allclose(server.query("encoder", feeds)["logits"], logits, atol=1e-5)
        scores = server.query("score", {"x": array})["output"]
        np.testing.assert_allclose(scores, expected(Score())[:, None], atol=1e-5)

        for wrong in (
            [asked(tritonclient.grpc, array[:, :3])],
            [asked(tritonclient.grpc, array, name="inputs")],
            [asked(tritonclient.grpc, array.astype(np.float64), "FP64")],
            [],
        ):
            with pytest.raises(InferenceServerException) as caught:
                grpc.infer("net", wrong)
            assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
        for name, feeds, words in [
            ("net", {"input": array[:, :3]}, "400: .*unexpected shape for input 'input'"),
            ("net", {"inputs": array}, "400: .*unexpected inference input 'inputs'"),
            ("net", {"input": array.astype(np.float64)}, "400: .*data-type is 'FP64'"),
            ("nothing", {"input": array}, f"404: .*{UNKNOWN[kind][0]}"),
        ]:
            with pytest.raises(ServerError, match=words):
                server.query(name, feeds)
        with pytest.raises(ServerError, match=f"404: .*{UNKNOWN[kind][1]}"):
            server.query("net", {"input": array}, version=9)
        with pytest.raises(ServerError, match=r"INVALID_ARGUMENT: .*unexpected shape for input 'input'"):
            server.query("net", {"input": array[:, :3]}, protocol="grpc")
        with pytest.raises(ValueError, match='protocol: expected "http" or "grpc"'):
            server.query("net", {"input": array}, protocol="ftp")
        client = repository / "net" / "1" / "client.py"
        for address in ([server.http], [server.grpc, "--grpc"]):
            assert "output" in printed(client, *address)
        started = family(psutil.Process(server._process.pid))
        assert len(started) >= 2
        listening = [
            c.laddr.ip.removeprefix("::ffff:")
            for p in started
            for c in p.net_connections()
            if c.status == "LISTEN"
        ]
        assert set(listening) == {"127.0.0.1"}
    assert still_there(started) == []


class Load:
    """Clients that each send their own rows again and again, and keep what was wrong."""

    def __init__(self, server, models, seconds):
        self.server, self.models = server, models
        self.end, self.over = time.monotonic() + seconds, threading.Event()
        self.answers, self.faults, self.versions = [0] * CLIENTS, [], [set() for _ in range(CLIENTS)]
        self.threads = [threading.Thread(target=self.send, args=(i,)) for i in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def send(self, number):
        rows = normal(1 + number % 4, 8, seed=100 + number)
        right = {version: expected(model, rows) for version, model in self.models.items()}
        client = tritonclient.grpc.InferenceServerClient(self.server.grpc)
        while not self.over.is_set():
            try:
                tensor = asked(tritonclient.grpc, rows.numpy())
                answer = client.infer("net", [tensor], client_timeout=120).as_numpy("output")
            except InferenceServerException as error:
                self.faults.append(str(error))
                continue
            fits = [
                v for v, y in right.items() if y.shape == answer.shape and np.allclose(y, answer, atol=1e-5)
            ]
            self.answers[number] += 1
            self.versions[number].update(fits)
            if len(fits) != 1:
                self.faults.append(f"client {number} got an answer to another question")
        client.close()

    def finish(self):
        """Stop after the given seconds, or up to three minutes later when an answer is still missing."""
        last = time.monotonic() + 180
        while time.monotonic() < self.end or (self.waiting() and time.monotonic() < last):
            time.sleep(0.1)
        self.over.set()
        for thread in self.threads:
            thread.join()
        return self

    def waiting(self):
        return min(self.answers) == 0 or self.seen() != set(self.models)

    def seen(self):
        return {version for answered in self.versions for version in tuple(answered)}


def test_load_a_new_version_and_a_corrupt_file(repository, kind):
    models = {1: mlp(), 2: mlp(seed=1)}
    with serve(repository, server=kind) as server:
        load = Load(server, models, SECONDS[kind])
        time.sleep(SECONDS[kind] / 4)
        export_repository(models[2], repository, "net", X, version="next")
        server.reload("net")
        feeds = {"input": X.numpy()}
        assert same(server.query("net", feeds)["output"], expected(models[2]))
        assert same(server.query("net", feeds, version=1)["output"], expected(models[1]))
        shutil.copytree(repository / "net" / "2", repository / "net" / "3")
        (repository / "net" / "3" / "model.onnx").write_bytes(b"no model")
        with pytest.raises(ServerError, match="load failed for model 'net': version 3"):
            server.reload("net")
        assert same(server.query("net", feeds)["output"], expected(models[2]))
        load.finish()
        assert load.faults == []
        assert min(load.answers) > 0
        assert load.seen() == {1, 2}
        print(f"{kind}: {sum(load.answers)} answers to {CLIENTS} clients in {SECONDS[kind]:g} s")
        if kind == "triton":
            check_statistics(server, sum(load.answers))


def check_statistics(server, answers):
    """Triton counted every request, refused none, and joined some of them."""
    statistics = tritonclient.http.InferenceServerClient(server.http).get_inference_statistics("net")
    counted = sum(m["inference_stats"]["success"]["count"] for m in statistics["model_stats"])
    assert counted >= answers + 2
    assert all(m["inference_stats"]["fail"]["count"] == 0 for m in statistics["model_stats"])
    assert sum(m["execution_count"] for m in statistics["model_stats"]) < counted


SERVE = """
import sys
from jlab_compress.deployment.servers.server import serve
server = serve(sys.argv[1])
print(server.http, flush=True)
input()
"""


def test_a_killed_parent_takes_its_server_with_it(repository):
    command = [sys.executable, "-c", SERVE, str(repository)]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline().startswith("127.0.0.1:")
    children = psutil.Process(parent.pid).children(recursive=True)
    assert children
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    assert still_there(children) == []


def test_a_repository_that_does_not_load_is_reported(repository, kind):
    (repository / "net" / "1" / "model.onnx").write_bytes(b"no model")
    words = {"triton": "failed to load 'net'", "mlserver": "load failed for model 'net': version 1"}
    with pytest.raises(ServerError, match=f"{kind} ended while starting: .*{words[kind]}"):
        serve(repository, server=kind)


def test_one_model_of_several_is_served(repository, kind):
    shutil.copytree(repository / "net", repository / "broken")
    (repository / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    config = repository / "broken" / "config.pbtxt"
    config.write_text(config.read_text().replace('"net"', '"broken"'))
    with serve(repository, "net", server=kind) as server:
        assert same(server.query("net", {"input": X.numpy()})["output"], expected(mlp()))


def test_mlflow_serves_and_agrees(tmp_path):
    export_repository(Encoder(), tmp_path, "net", MODELS["encoder"][1], layout="mlflow")
    with serve(tmp_path) as server:
        assert server.command.kind == "mlflow"
        answer = server.query("net", {"ids": IDS.numpy(), "mask": MASK.numpy()})
        np.testing.assert_allclose(
            answer["logits"], Encoder().eval()(IDS, MASK)["logits"].detach(), atol=1e-5
        )
        assert "logits" in printed(tmp_path / "net" / "1" / "client.py", server.http)
        with pytest.raises(ServerError, match="mlflow answered 4"):
            server.query("net", {"ids": IDS.numpy()})


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
        with pytest.raises(ValueError, match=f"{server} is not set up; run `make serve` or .* {server}"):
            serve(repository, server=server)
    assert (find_triton(), find_mlserver()) == (None, None)
    with pytest.raises(ValueError, match="triton is not set up"):
        serve(repository)


def test_mlserver_is_taken_where_triton_is_not_set_up(repository, monkeypatch):
    monkeypatch.setenv("JLAB_COMPRESS_TRITON", str(repository))
    with serve(repository) as server:
        assert server.command.kind == "mlserver"


def test_set_up_is_not_repeated(set_up):
    triton, mlserver = set_up
    places = [*Path(triton.backends).rglob("*"), mlserver, *mlserver.parents[1].glob("*")]
    before = {path: path.stat().st_mtime_ns for path in places}
    assert (set_up_triton(), set_up_mlserver()) == set_up
    assert {path: path.stat().st_mtime_ns for path in places} == before


def test_a_machine_without_triton_is_told_why(monkeypatch, tmp_path):
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    with pytest.raises(OSError, match="NVIDIA publishes it for Linux on x86-64, this is linux on arm64"):
        set_up_triton(tmp_path / "triton")
    assert serversetup.set_up() == set_up_mlserver()
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(OSError, match=r"MLServer: it needs Linux or macOS and Python before 3\.13"):
        set_up_mlserver(tmp_path / "mlserver")
    assert list(tmp_path.iterdir()) == []
