"""Triton's ONNX backend: requests that Triton joins are run together, and each gets its own rows back."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from jlab_compress.deployment.servers.repository import export_repository
from jlab_compress.deployment.servers.setup import triton_backend
from tests.deployment.networks import mlp, normal

X = normal(5, 8)


class Value:
    """A tensor as Triton hands it over."""

    def __init__(self, name, array):
        self.name, self.array = name, array

    def as_numpy(self):
        return self.array


@pytest.fixture
def model(tmp_path, monkeypatch):
    """The backend on an exported model, with Triton's own module replaced."""
    utilities = SimpleNamespace(
        get_input_tensor_by_name=lambda request, name: Value(name, request[name]),
        Tensor=Value,
        InferenceResponse=lambda output_tensors: {t.name: t.array for t in output_tensors},
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utilities)
    runs = []
    session = onnxruntime.InferenceSession

    class Counted(session):
        def run(self, names, feeds):
            runs.append(len(feeds["input"]))
            return super().run(names, feeds)

    monkeypatch.setattr(triton_backend.onnxruntime, "InferenceSession", Counted)
    folder = export_repository(mlp(), tmp_path, "net", X).path

    def start(largest_batch):
        config = {"max_batch_size": largest_batch, "default_model_filename": "model.onnx"}
        config |= {"input": [{"name": "input"}], "output": [{"name": "output"}]}
        arguments = {"model_config": json.dumps(config), "model_repository": str(folder.parent)}
        made = triton_backend.TritonPythonModel()
        made.initialize(arguments | {"model_version": "1"})
        runs.clear()
        return made, runs

    return start


@pytest.mark.parametrize(("largest_batch", "expected_runs"), [(64, [5]), (0, [2, 3])])
def test_each_request_gets_its_own_rows(model, largest_batch, expected_runs):
    backend, runs = model(largest_batch)
    answers = backend.execute([{"input": X[:2].numpy()}, {"input": X[2:].numpy()}])
    assert runs == expected_runs
    found = np.concatenate([answer["output"] for answer in answers])
    assert [len(answer["output"]) for answer in answers] == [2, 3]
    np.testing.assert_allclose(found, mlp().eval()(X).detach(), atol=1e-6)
