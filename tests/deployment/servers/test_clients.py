"""Requests and answers of the Open Inference Protocol, against a server that is written here."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from jlab_compress.deployment.servers.clients import (
    ServerError,
    ask_http,
    ask_mlflow,
    call,
    mlflow_request,
    open_grpc,
    open_inference_request,
)

X = np.arange(6, dtype=np.float32).reshape(2, 3)
ANSWER = {"outputs": [{"name": "y", "datatype": "INT64", "shape": [2, 1], "data": [4, 5]}]}


@pytest.fixture
def server():
    """A server that keeps what it was sent and answers with `answers`, by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            found.asked[self.path] = json.loads(sent)
            status, body = found.answers.get(self.path, (404, b"{}"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    found = HTTPServer(("127.0.0.1", 0), Handler)
    found.asked, found.answers = {}, {}
    found.address = f"127.0.0.1:{found.server_port}"
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def test_a_request_holds_names_types_shapes_and_values_in_order():
    assert open_inference_request({"x": X, "m": np.array([[True]])}) == {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [0, 1, 2, 3, 4, 5]},
            {"name": "m", "datatype": "BOOL", "shape": [1, 1], "data": [True]},
        ]
    }
    assert mlflow_request({"x": X}) == {"inputs": {"x": [[0, 1, 2], [3, 4, 5]]}}


def test_an_answer_comes_back_with_its_type_and_shape(server):
    place = "/v2/models/net/infer"
    server.answers[place] = 200, json.dumps(ANSWER).encode()
    found = ask_http(server.address, "net", {"x": X}, None, kind="triton")
    assert server.asked[place] == open_inference_request({"x": X})
    assert (found["y"].dtype, found["y"].tolist()) == (np.int64, [[4], [5]])


def test_a_version_is_asked_by_its_own_address(server):
    server.answers["/v2/models/net/versions/3/infer"] = 200, json.dumps(ANSWER).encode()
    assert "y" in ask_http(server.address, "net", {"x": X}, 3, kind="triton")


def test_mlflow_answers_with_predictions(server):
    server.answers["/invocations"] = 200, json.dumps({"predictions": {"y": [[1.5]]}}).encode()
    assert ask_mlflow(server.address, {"x": X})["y"].tolist() == [[1.5]]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": "wrong shape\\n\\nAt:\\n  file.py"}', "triton answered 400: wrong shape"),
        (b'{"message": "no  such\\nmodel"}', "triton answered 400: no such model"),
        (b"plain words", "triton answered 400: plain words"),
    ],
)
def test_a_refusal_is_one_line_without_its_traceback(server, body, words):
    server.answers["/v2/models/net/infer"] = 400, body
    with pytest.raises(ServerError) as caught:
        ask_http(server.address, "net", {"x": X}, None, kind="triton")
    assert str(caught.value) == words


def test_a_server_that_is_not_there_is_named(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(ServerError, match=f"mlflow did not answer at {server.address}: "):
        call(server.address, "/", {}, kind="mlflow")


def test_grpc_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tritonclient", None)
    monkeypatch.setitem(__import__("sys").modules, "tritonclient.grpc", None)
    with pytest.raises(ImportError, match=r'tritonclient is needed .*: pip install "jlab-compress\[serve\]"'):
        open_grpc("127.0.0.1:1")
