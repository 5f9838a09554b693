"""Many clients at once, a new version meanwhile, and a corrupt file that must not be taken."""

import shutil
import threading
import time

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from jlab_compress.deployment.servers.clients import ServerError
from jlab_compress.deployment.servers.repository import export_repository
from jlab_compress.deployment.servers.server import serve
from tests.deployment.networks import mlp, normal
from tests.deployment.servers.asking import X, asked, expected, same

pytestmark = pytest.mark.serve
CLIENTS = 64
SECONDS = {"triton": 10.0, "mlserver": 5.0}


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


def test_load_a_new_version_and_a_corrupt_file(tmp_path, exported, kind):
    repository = tmp_path / "repo"
    shutil.copytree(exported / "net", repository / "net")
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
        with pytest.raises(ServerError, match="failed to load 'net' version 3"):
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
