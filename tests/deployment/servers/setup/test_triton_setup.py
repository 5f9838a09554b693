"""Triton is found only where it is whole; where it cannot be set up the reason is said."""

import os
import shutil
from pathlib import Path

import pytest

from jlab_compress.deployment.servers.setup import triton_setup
from jlab_compress.deployment.servers.setup.environments import NOTE, packages_of, python_version
from jlab_compress.deployment.servers.setup.triton_setup import find_triton, set_up_triton, triton_objection


def lay(home):
    """Lay out what the wheel brings, empty."""
    root = packages_of(home) / "pytriton" / "tritonserver"
    for file in (
        root / "bin" / "tritonserver",
        root / "backends" / "python" / "libtriton_python.so",
        root / "python_backend_stubs" / python_version() / "triton_python_backend_stub",
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    shutil.copy(Path(triton_setup.__file__).with_name("triton.txt"), home / NOTE)


def test_half_an_installation_is_not_found(tmp_path):
    assert find_triton(tmp_path) is None
    lay(tmp_path)
    assert find_triton(tmp_path) is None  # the backend that runs ONNX files is missing


def test_a_set_up_lays_the_backend_that_runs_onnx_files(tmp_path, monkeypatch):
    monkeypatch.setattr(triton_setup, "triton_objection", lambda: None)
    monkeypatch.setattr(triton_setup, "install", lambda home, server: lay(home))
    found = set_up_triton(tmp_path)
    assert found == find_triton(tmp_path)
    assert "class TritonPythonModel" in (found.backends / "onnxruntime" / "model.py").read_text()
    assert (found.backends / "python" / "triton_python_backend_stub").is_file()
    assert found.environment["PATH"].split(os.pathsep)[0] == str(tmp_path / "bin")


def test_an_installation_that_brings_too_little_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(triton_setup, "triton_objection", lambda: None)
    monkeypatch.setattr(triton_setup, "install", lambda home, server: lay(home))
    monkeypatch.setattr(triton_setup, "_lay_backends", lambda home: None)
    with pytest.raises(OSError, match="lacks the server or its backend after the installation"):
        set_up_triton(tmp_path)


@pytest.mark.parametrize(
    ("machine", "library", "words"),
    [
        ("arm64", "libpython3.so", "NVIDIA publishes it for Linux on x86-64"),
        ("x86_64", "libpython3.a", "needs Python's shared library, and .*libpython3.a is not there"),
    ],
)
def test_a_machine_or_a_python_that_cannot_run_it_is_named(machine, library, words, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: machine)
    settings = {"LIBDIR": "/lib", "INSTSONAME": library}
    monkeypatch.setattr(triton_setup.sysconfig, "get_config_var", settings.get)
    with pytest.raises(OSError, match=f"Triton: .*{words}"):
        raise OSError(f"Triton: {triton_objection()}")
