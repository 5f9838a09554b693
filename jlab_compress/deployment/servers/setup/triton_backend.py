"""Triton's onnxruntime backend over the onnxruntime package, for a Triton that has only its Python backend.

Triton loads this file by itself, under another name; nothing in the package imports it. A repository that
runs on it runs unchanged on Triton's own onnxruntime backend.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class TritonPythonModel:
    """One model version, as Triton's Python backend calls it."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Take the configuration as it is written."""
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Open the version's ONNX file; an exception here is Triton's load error."""
        config = json.loads(args["model_config"])
        self.triton = importlib.import_module("triton_python_backend_utils")
        self.batched = config["max_batch_size"] > 0
        self.inputs = [entry["name"] for entry in config["input"]]
        self.outputs = [entry["name"] for entry in config["output"]]
        path = Path(args["model_repository"], args["model_version"], config["default_model_filename"])
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run the requests of one dynamic batch together and give each its own rows back."""
        feeds = [self._feeds(request) for request in requests]
        if not self.batched:
            return [self._response(self.session.run(self.outputs, feed)) for feed in feeds]
        joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in self.inputs}
        cuts = np.cumsum([len(feed[self.inputs[0]]) for feed in feeds])[:-1]
        results = [np.split(array, cuts) for array in self.session.run(self.outputs, joined)]
        return [self._response(rows) for rows in zip(*results, strict=True)]

    def _feeds(self, request: Any) -> dict[str, Any]:
        return {name: self.triton.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}

    def _response(self, arrays: Any) -> Any:
        pairs = zip(self.outputs, arrays, strict=True)
        tensors = [self.triton.Tensor(name, np.ascontiguousarray(array)) for name, array in pairs]
        return self.triton.InferenceResponse(output_tensors=tensors)
