"""Nothing goes out and nothing identifying stays, from native code neither: import, compress, export."""

import os
import subprocess
import sys

from tests.deployment.outside import Outside

SENDING = """
import ctypes, socket
for address in ("127.0.0.1", "192.0.2.1"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.connect((address, 9))
library = ctypes.CDLL(None)
library.gethostbyname(b"192.0.2.2")
library.getaddrinfo(b"collector.invalid", None, None, ctypes.byref(ctypes.c_void_p()))
"""
WORKING = """
import sys, torch
from torch import nn
import jlab_compress as jc
import onnxruntime

torch.manual_seed(0)
net, x = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 3)), torch.randn(96, 6)
slim = jc.compress(net, 8, calibration=x, effort="quick", preserve="function", progress=False).model
jc.export_repository(slim, sys.argv[1], "net", x[:8])
jc.export_repository(slim, sys.argv[1] + "/flows", "net", x[:8], layout="mlflow")
import mlflow
mlflow.onnx.load_model(sys.argv[1] + "/flows/net/1")
"""


def ran(outside, home, code, *arguments):
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    environment = {**kept, "HOME": str(home), **outside.environment}
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=environment, cwd=home)


def test_what_goes_out_is_noted(tmp_path):
    outside = Outside(tmp_path)
    ran(outside, tmp_path, SENDING)
    assert outside.sent == ["connect 192.0.2.1", "lookup collector.invalid"]


def test_nothing_goes_out_and_no_trace_is_left(tmp_path):
    outside, home = Outside(tmp_path), tmp_path / "home"
    home.mkdir()
    ran(outside, home, WORKING, str(tmp_path / "models"))
    assert os.path.basename(os.path.realpath(sys.executable)) in outside.watched
    assert outside.sent == []
    assert [str(path) for path in home.rglob("*") if path.is_file()] == []
