"""An ONNX file in onnxruntime."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from jlab_compress.deployment.program.signature import Arrays, Feeds


def open_session(path: Path, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a file in onnxruntime on the CPU; 0 threads means all cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_session(session: onnxruntime.InferenceSession, feeds: Feeds) -> Arrays:
    """Return a session's outputs by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))
