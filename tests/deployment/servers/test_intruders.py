"""Others on this machine change no server, are not taken for one and read nothing; no proxy is used."""

import json
import socket

import psutil
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from jlab_compress.deployment.servers import server as room
from jlab_compress.deployment.servers.clients import ServerError
from jlab_compress.deployment.servers.running.supervisor import SHARED
from jlab_compress.deployment.servers.server import serve
from tests.deployment.networks import mlp
from tests.deployment.servers.asking import FOREIGN, LOCAL, X, expected, posted, printed, same
from tests.deployment.servers.taker import taker

pytestmark = pytest.mark.serve
FEEDS = {"input": X.numpy()}
CODE = "open({mark!r}, 'w')\nclass TritonPythonModel:\n    def execute(self, requests): return []\n"
CONFIG = json.dumps({"name": "net", "backend": "python", "max_batch_size": 0})


@pytest.fixture
def mark(tmp_path):
    """A file that code of an intruder would write."""
    return tmp_path / "mark"


def answers_as_before(running):
    return same(running.query("net", FEEDS)["output"], expected(mlp()))


@pytest.mark.parametrize("name", ["net", "intruder"])
@pytest.mark.parametrize("action", ["load", "unload"])
def test_no_request_loads_or_unloads_a_model(running, mark, name, action):
    code = CODE.format(mark=str(mark))
    body = json.dumps({"parameters": {"config": CONFIG, "file:1/model.py": code}})
    assert 400 <= posted(running.http, f"/v2/repository/models/{name}/{action}", body) < 500
    client = tritonclient.grpc.InferenceServerClient(running.grpc)
    given = {"config": CONFIG, "files": {"file:1/model.py": code.encode()}} if action == "load" else {}
    with pytest.raises(InferenceServerException, match=r"not loaded or unloaded by requests|restricted"):
        getattr(client, f"{action}_model")(name, **given)
    assert not mark.exists()
    assert answers_as_before(running)


# The header that opens what Triton locks has the end of a line in its name: every way of sending that.
HEADERS = (
    "no\nrequest: allowed",
    "no\r\nrequest: allowed",
    "no\r\n request: allowed",
    "no\\nrequest: allowed",
)


PLACES = ("systemsharedmemory/status", "cudasharedmemory/status", "trace/setting", "logging")


@pytest.mark.parametrize("place", PLACES)
def test_no_request_reads_memory_or_moves_files(running, place):
    assert b" 200 " in raw(running.command.http_port, "health/live", "a: b")
    for header in HEADERS:
        assert b" 200 " not in raw(running.command.http_port, place, header), header


def raw(port, place, header):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET /v2/{place} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n".encode())
        return connection.recv(99)


def test_triton_shares_no_memory_by_request_over_grpc(running):
    client = tritonclient.grpc.InferenceServerClient(running.grpc)
    with pytest.raises(InferenceServerException, match=r"restricted|not found|UNIMPLEMENTED"):
        client.register_system_shared_memory("mine", "/anything", 8)


def test_a_page_of_a_browser_is_refused_where_the_server_lets_us(running, kind):
    body = json.dumps({"inputs": []})
    refused = [posted(running.http, "/v2/models/net/infer", body, header) == 403 for header in FOREIGN]
    assert refused == [kind == "mlserver"] * len(FOREIGN)
    assert all(posted(running.http, "/v2/models/net/infer", body, header) == 400 for header in LOCAL)


def test_what_a_server_shares_and_writes_is_for_this_user_alone(running, kind):
    place = running.command.place
    regions = list(SHARED.glob(f"{place.name}-*"))
    assert bool(regions) == (kind == "triton")
    assert {oct(path.stat().st_mode & 0o077) for path in [place, *regions]} == {"0o0"}


def test_no_secret_of_the_environment_reaches_a_server(running):
    for process in filter(psutil.Process.is_running, running._family._children):
        found = process.environ()
        assert found["HOME"] == found["TMPDIR"] == str(running.command.place)
        assert found["ORT_DISABLE_TELEMETRY"] == "1"
        assert not {"JLAB_COMPRESS_SECRET", "PYTEST_CURRENT_TEST"} & set(found)


def test_no_proxy_is_asked_for_this_machine(running, exported, monkeypatch):
    with taker() as (port, came):
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.setattr(running, "_client", None)
        for protocol in ("http", "grpc"):
            assert same(running.query("net", FEEDS, protocol=protocol)["output"], expected(mlp()))
        client = exported / "net" / "1" / "client.py"
        for address in ([running.http], [running.grpc, "--grpc"]):
            assert "666" not in printed(client, *address)
    assert came == []


def test_a_listener_on_the_port_is_not_taken_for_the_server(exported, kind, monkeypatch):
    with taker() as (port, came):
        ports = iter([port, room.free_port()])
        monkeypatch.setattr(room, "free_port", lambda: next(ports))
        with pytest.raises(ServerError, match=f"{kind} ended while starting|{kind} was not ready"):
            serve(exported, "net", server=kind, timeout=20)
    assert came == []


def test_a_server_that_was_ended_is_missed_and_nothing_is_left(exported, kind):
    with serve(exported, "net", server=kind) as server:
        family, place = set(server._family._children), server.command.place
        psutil.Process(server._process.pid).kill()  # its guard; the kernel ends the server
        psutil.wait_procs(server._family._listeners, timeout=10)
        with taker(server.command.http_port) as (_, came):
            for protocol in ("http", "grpc"):
                with pytest.raises(ServerError, match=f"{kind} has ended"):
                    server.query("net", FEEDS, protocol=protocol)
            with pytest.raises(ServerError, match=f"{kind} has ended"):
                server.reload("net")
        assert came == []
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert (place.exists(), list(SHARED.glob(f"{place.name}-*"))) == (False, [])
