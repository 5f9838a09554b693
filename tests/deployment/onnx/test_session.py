"""A file that was written by hand answers in onnxruntime."""

import numpy as np

from jlab_compress.deployment.onnx.session import open_session, run_session
from tests.deployment.onnx.test_checks import file


def test_a_session_answers_by_name(tmp_path):
    session = open_session(file(tmp_path / "m.onnx"), threads=0)
    found = run_session(session, {"input": np.full((1, 2), 3.0, np.float32)})
    assert {name: array.tolist() for name, array in found.items()} == {"output": [[6.0, 6.0]]}
