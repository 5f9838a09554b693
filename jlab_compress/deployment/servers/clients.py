"""Ask a server that speaks the Open Inference Protocol, version 2, over HTTP or gRPC.

Every request goes straight to the address that is given: no proxy of the environment is used, and no answer
leads to another address.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

import numpy as np

from jlab_compress.deployment.onnx.form import DATATYPES
from jlab_compress.deployment.program.signature import Arrays, Feeds
from jlab_compress.extras import require

PATIENCE = 60.0


class ServerError(RuntimeError):
    """A server did not start, or refused a request; the message holds its own words."""


def open_inference_request(inputs: Feeds) -> dict[str, Any]:
    """Return arrays as the JSON body of the Open Inference Protocol, version 2."""
    return {
        "inputs": [
            {
                "name": name,
                "datatype": DATATYPES[array.dtype.name],
                "shape": list(array.shape),
                "data": array.ravel().tolist(),
            }
            for name, array in inputs.items()
        ]
    }


def mlflow_request(inputs: Feeds) -> dict[str, Any]:
    """Return arrays as the JSON body that `mlflow models serve` takes."""
    return {"inputs": {name: array.tolist() for name, array in inputs.items()}}


def ask_http(address: str, name: str, inputs: Feeds, version: int | None, *, kind: str) -> Arrays:
    """Send one batch as JSON and return the outputs by name.

    Raises
    ------
    ServerError
        If the server refuses the request, with its status and reason.
    """
    place = f"/v2/models/{quote(name, safe='')}" + (f"/versions/{version}" if version else "")
    answer = call(address, f"{place}/infer", open_inference_request(inputs), kind=kind)
    return {
        entry["name"]: np.asarray(entry["data"], _dtype(entry["datatype"])).reshape(entry["shape"])
        for entry in answer["outputs"]
    }


def ask_mlflow(address: str, inputs: Feeds) -> Arrays:
    """Send one batch to `mlflow models serve` and return the outputs by name.

    Raises
    ------
    ServerError
        If the server refuses the request, with its status and reason.
    """
    answer = call(address, "/invocations", mlflow_request(inputs), kind="mlflow")
    return {key: np.asarray(values) for key, values in answer["predictions"].items()}


def open_grpc(address: str) -> Any:
    """Return a client of a gRPC address; close it after the last request.

    Raises
    ------
    ImportError
        If the package tritonclient is missing.
    """
    sizes = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    channel = [("grpc.enable_http_proxy", 0), *sizes]
    return require("tritonclient.grpc", "serve").InferenceServerClient(address, channel_args=channel)


def ask_grpc(client: Any, name: str, inputs: Feeds, version: int | None, *, kind: str) -> Arrays:
    """Send one batch in binary form by a client from `open_grpc` and return the outputs by name.

    Raises
    ------
    ServerError
        If the server refuses the request, with its status and reason.
    """
    from tritonclient.grpc import InferInput
    from tritonclient.utils import InferenceServerException

    tensors = []
    for key, array in inputs.items():
        tensors.append(InferInput(key, list(array.shape), DATATYPES[array.dtype.name]))
        tensors[-1].set_data_from_numpy(np.ascontiguousarray(array))
    try:
        answer = client.infer(name, tensors, model_version=str(version or ""), client_timeout=PATIENCE)
    except InferenceServerException as error:
        raise ServerError(f"{kind} answered {error.status()}: {error.message()}") from error
    return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}


def call(address: str, place: str, body: Mapping[str, Any], *, kind: str) -> Any:
    """Post JSON to a server and return its JSON answer.

    Raises
    ------
    ServerError
        If the server refuses, or does not answer within a minute.
    """
    try:
        status, found = _exchange(address, place, body, seconds=PATIENCE)
        if status == 200:
            return json.loads(found or b"null")
    except (OSError, HTTPException, ValueError) as error:
        raise ServerError(f"{kind} did not answer at {address}: {error}") from error
    raise ServerError(f"{kind} answered {status}: {_reason(found)}")


def answers(address: str, place: str) -> bool:
    """Whether a server answers at a path, with success."""
    try:
        return _exchange(address, place, None, seconds=5)[0] == 200
    except (OSError, HTTPException):
        return False


def _exchange(
    address: str, place: str, body: Mapping[str, Any] | None, *, seconds: float
) -> tuple[int, bytes]:
    """Send one request on a connection of its own; return the status and what was answered."""
    with closing(HTTPConnection(address, timeout=seconds)) as connection:
        if body is None:
            connection.request("GET", place)
        else:
            connection.request("POST", place, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()


def _dtype(datatype: str) -> str:
    return next(name for name, code in DATATYPES.items() if code == datatype)


def _reason(body: bytes) -> str:
    """Return a server's error in one line, without its traceback."""
    text = body.decode(errors="replace")
    try:
        found = json.loads(text)
        text = str(found.get("error") or found.get("message") or text)
    except (json.JSONDecodeError, AttributeError):
        pass
    return " ".join(text.split("\n\nAt:")[0].split())[:500]
