"""MLflow's scoring server on one ONNX model; started by its path, nothing in the package imports it."""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path

import uvicorn
from mlflow.models import Model
from mlflow.pyfunc import load_model, scoring_server

LocalOnly = runpy.run_path(str(Path(__file__).with_name("local_only.py")))["LocalOnly"]


def check(folder: str) -> None:
    """Refuse a model that would be loaded by code of its own."""
    loading = Model.load(folder).flavors.get("python_function", {})
    if loading.get("loader_module") != "mlflow.onnx" or loading.get("code"):
        raise SystemExit(f"error: {folder} is no plain ONNX model; it brings code that a server would run")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve an MLflow model.")
    parser.add_argument("model")
    parser.add_argument("--host", required=True)
    parser.add_argument("--http-port", type=int, required=True)
    given = parser.parse_args()
    check(given.model)
    app = LocalOnly(scoring_server.init(load_model(given.model)))
    uvicorn.run(app, host=given.host, port=given.http_port, access_log=False)
