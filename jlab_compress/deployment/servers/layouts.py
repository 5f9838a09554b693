"""The forms of a repository: one row for each, from the files in it to the server that starts on it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from jlab_compress.deployment.onnx.form import Form
from jlab_compress.deployment.program.signature import Arrays
from jlab_compress.deployment.servers import client_scripts
from jlab_compress.deployment.servers.clients import mlflow_request, open_inference_request
from jlab_compress.deployment.servers.triton_config import as_served, triton_config
from jlab_compress.extras import require


@dataclass(frozen=True)
class Layout:
    """A form of repository.

    Parameters
    ----------
    name : str
        As callers spell it.
    label : str
        On screen.
    folder : str
        The usual name of such a folder.
    write : callable
        ``write(version, form, example)`` adds what the server needs to ``NAME/VERSION``, which holds the
        checked model.onnx alone.
    request : callable
        ``request(example, form)`` is the JSON body that asks for one batch.
    client : str
        A script that sends it, with ``{name!r}`` for the model's name.
    start : str
        The command that starts a server.
    address : str
        Where the client finds it.
    servers : tuple of str
        Those which this package can start on it.
    """

    name: str
    label: str
    folder: str
    write: Callable[[Path, Form, Arrays], None]
    request: Callable[[Arrays, Form], dict[str, Any]]
    client: str
    start: str
    address: str = "127.0.0.1:8000"
    servers: tuple[str, ...] = ("triton", "mlserver")


def _write_triton(version: Path, form: Form, example: Arrays) -> None:
    model = version.parent
    model.joinpath("config.pbtxt").write_text(triton_config(model.name, form, example), encoding="utf-8")


def _write_kserve(version: Path, form: Form, example: Arrays) -> None:
    _write_triton(version, form, example)
    model = version.parent
    model.joinpath("inferenceservice.yaml").write_text(_inference_service(model.name), encoding="utf-8")


def _inference_service(name: str) -> str:
    """Return the InferenceService for KServe's Triton runtime over the same folder."""
    return f"""# The folder that holds {name}/ goes to storage that the cluster reads; put its address below.
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: "{name.lower().replace("_", "-").replace(".", "-")}"
spec:
  predictor:
    model:
      modelFormat:
        name: onnx
      protocolVersion: v2
      runtime: kserve-tritonserver
      storageUri: pvc://models
"""


def _write_openvino(version: Path, form: Form, example: Arrays) -> None:
    """Add the configuration of OpenVINO Model Server for the folder mounted at /models."""
    _write_triton(version, form, example)
    model = version.parent
    listed = {"model_config_list": [{"config": {"name": model.name, "base_path": f"/models/{model.name}"}}]}
    model.joinpath("config.json").write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def _write_mlflow(version: Path, form: Form, example: Arrays) -> None:
    """Wrap the checked file as an MLflow model; the file itself stays as it was checked."""
    import onnx

    from jlab_compress.deployment.onnx.session import open_session, run_session

    models, saver = require("mlflow.models", "mlflow"), require("mlflow.onnx", "mlflow")
    checked = version.with_name("checked")
    version.rename(checked)
    outputs = run_session(open_session(checked / "model.onnx"), example)
    saver.save_model(
        onnx.load(str(checked / "model.onnx")),
        str(version),
        signature=models.infer_signature(example, outputs),
        pip_requirements=[f"{package}=={version_of(package)}" for package in ("onnx", "onnxruntime")],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    for file in checked.iterdir():
        os.replace(file, version / file.name)
    checked.rmdir()


def _served(example: Arrays, form: Form) -> dict[str, Any]:
    return open_inference_request(as_served(example, form))


def _as_they_are(example: Arrays, form: Form) -> dict[str, Any]:
    return open_inference_request(example)


def _mlflow_request(example: Arrays, form: Form) -> dict[str, Any]:
    return mlflow_request(example)


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "triton",
            "repository for Triton",
            "model_repository",
            _write_triton,
            _served,
            client_scripts.OPEN_INFERENCE,
            "tritonserver --model-repository=FOLDER",
        ),
        Layout(
            "kserve",
            "repository for KServe",
            "model_repository",
            _write_kserve,
            _served,
            client_scripts.OPEN_INFERENCE,
            "kubectl apply -f {name}/inferenceservice.yaml",
            address="HOST:PORT  # as the cluster gives it",
        ),
        Layout(
            "openvino",
            "repository for OpenVINO",
            "model_repository",
            _write_openvino,
            _as_they_are,
            client_scripts.OPEN_INFERENCE,
            "docker run -p 8000:8000 -p 8001:8001 -v FOLDER:/models openvino/model_server "
            "--config_path /models/{name}/config.json --rest_port 8000 --port 8001",
        ),
        Layout(
            "mlflow",
            "MLflow model",
            "mlflow_models",
            _write_mlflow,
            _mlflow_request,
            client_scripts.MLFLOW,
            "mlflow models serve -m FOLDER/{name}/{version} -p 8000 --env-manager local",
            servers=("mlflow",),
        ),
    )
}
SERVERS = tuple(dict.fromkeys(server for layout in LAYOUTS.values() for server in layout.servers))
