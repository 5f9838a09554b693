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

from jlab_compress.deployment.repository import export_repository
from jlab_compress.deployment.serving import ServerError, serve
from jlab_compress.deployment.tritonsetup import find_triton, set_up_triton
from tests.deployment.networks import IDS, MODELS, Encoder, Score, mlp, normal

pytestmark = pytest.mark.serve
X = normal(5, 8)
MASK = torch.ones_like(IDS)
CLIENTS, SECONDS = 64, 20.0


@pytest.fixture(scope="module", autouse=True)
def triton():
    """Triton, set up once if it is not there yet."""
    return set_up_triton()


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


def test_official_clients_agree_with_torch_and_wrong_requests_are_refused(repository):
    export_repository(Encoder(), repository, "encoder", MODELS["encoder"][1])
    export_repository(Score(), repository, "score", X)
    with serve(repository) as server:
        http = tritonclient.http.InferenceServerClient(server.http)
        grpc = tritonclient.grpc.InferenceServerClient(server.grpc)
        array = X.numpy()
        for binary in (True, False):
            tensor = tritonclient.http.InferInput("input", list(array.shape), "FP32")
            tensor.set_data_from_numpy(array, binary_data=binary)
            output = tritonclient.http.InferRequestedOutput("output", binary_data=binary)
            answer = http.infer("net", [tensor], outputs=[output]).as_numpy("output")
            np.testing.assert_allclose(answer, expected(mlp()), atol=1e-5)
        answer = grpc.infer("net", [asked(tritonclient.grpc, array)]).as_numpy("output")
        np.testing.assert_allclose(answer, expected(mlp()), atol=1e-5)
        np.testing.assert_allclose(
            server.query("net", {"input": array})["output"], expected(mlp()), atol=1e-5
        )
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
            ("nothing", {"input": array}, "404: .*unknown model"),
        ]:
            with pytest.raises(ServerError, match=words):
                server.query(name, feeds)
        with pytest.raises(ServerError, match=r"404: .*'net' version 9"):
            server.query("net", {"input": array}, version=9)
        client = repository / "net" / "1" / "client.py"
        for address in ([server.http], [server.grpc, "--grpc"]):
            assert "output" in printed(client, *address)
        started = family(psutil.Process(server._process.pid))
        assert len(started) >= 3
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

    def __init__(self, server, models):
        self.server, self.models = server, models
        self.end = time.monotonic() + SECONDS
        self.answers, self.faults, self.versions = [0] * CLIENTS, [], [set() for _ in range(CLIENTS)]
        self.threads = [threading.Thread(target=self.send, args=(i,)) for i in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def send(self, number):
        rows = normal(1 + number % 4, 8, seed=100 + number)
        right = {version: expected(model, rows) for version, model in self.models.items()}
        client = tritonclient.grpc.InferenceServerClient(self.server.grpc)
        while time.monotonic() < self.end:
            try:
                answer = client.infer("net", [asked(tritonclient.grpc, rows.numpy())]).as_numpy("output")
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
        for thread in self.threads:
            thread.join()
        return self


def test_load_a_new_version_and_a_corrupt_file(repository):
    models = {1: mlp(), 2: mlp(seed=1)}
    with serve(repository) as server:
        load = Load(server, models)
        time.sleep(SECONDS / 4)
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
        assert set.union(*load.versions) == {1, 2}
        statistics = tritonclient.http.InferenceServerClient(server.http).get_inference_statistics("net")
        counted = sum(m["inference_stats"]["success"]["count"] for m in statistics["model_stats"])
        assert counted >= sum(load.answers) + 2
        assert all(m["inference_stats"]["fail"]["count"] == 0 for m in statistics["model_stats"])
        batched = sum(m["execution_count"] for m in statistics["model_stats"])
        assert batched < counted
        print(
            f"{sum(load.answers)} answers to {CLIENTS} clients in {SECONDS:g} s, {batched} runs of the model"
        )


SERVE = """
import sys
from jlab_compress.deployment.serving import serve
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


def test_a_repository_that_does_not_load_is_reported(repository):
    (repository / "net" / "1" / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ServerError, match=r"triton ended while starting: .*failed to load 'net'"):
        serve(repository)


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
    with pytest.raises(ValueError, match="server: expected one of triton"):
        serve(tmp_path, server="torchserve")
    with pytest.raises(ValueError, match="name: expected one of no model"):
        serve(tmp_path, server="mlflow")
    monkeypatch.setenv("JLAB_COMPRESS_TRITON", str(tmp_path))
    assert find_triton() is None
    with pytest.raises(ValueError, match="Triton is not set up; run `make serve`"):
        serve(tmp_path, server="triton")


def test_set_up_is_not_repeated(triton):
    before = {path: path.stat().st_mtime_ns for path in Path(triton.backends).rglob("*")}
    assert set_up_triton() == triton
    assert {path: path.stat().st_mtime_ns for path in Path(triton.backends).rglob("*")} == before
