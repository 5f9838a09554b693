"""Ask a server that speaks the Open Inference Protocol, version 2, over HTTP or gRPC."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

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
    place = f"/v2/models/{name}" + (f"/versions/{version}" if version else "")
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
    return require("tritonclient.grpc", "serve").InferenceServerClient(address)


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
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{address}{place}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        raise ServerError(f"{kind} answered {error.code}: {_reason(error.read())}") from error
    except OSError as error:
        raise ServerError(f"{kind} did not answer at {address}: {error}") from error


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
