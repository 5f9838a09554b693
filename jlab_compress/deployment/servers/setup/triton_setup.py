"""Set up NVIDIA Triton from PyPI in an environment of its own.

The wheel carries the server with its Python
backend; the backend called "onnxruntime" is laid over it, so that a production repository loads unchanged.
Triton's own C++ onnxruntime backend is not exercised this way.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from jlab_compress.deployment.servers.setup.environments import (
    home_of,
    install,
    is_installed,
    packages_of,
    python_version,
)


@dataclass(frozen=True)
class Triton:
    """Where an installed Triton has its parts.

    Parameters
    ----------
    home : Path
        The environment.
    server : Path
        The executable.
    backends : Path
        The folder of backends, with one called "onnxruntime".
    environment : mapping of str to str
        Variables that the server and its backends need.
    """

    home: Path
    server: Path
    backends: Path
    environment: dict[str, str]


def find_triton(home: Path | None = None) -> Triton | None:
    """Return the Triton that `set_up_triton` made, or None."""
    home = home_of("triton") if home is None else home
    packages = packages_of(home)
    server = packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    backends = home / "backends"
    whole = server.is_file() and (backends / "onnxruntime" / "model.py").is_file()
    if not (whole and is_installed(home, "triton")):
        return None
    libraries = [packages / "nvidia_pytriton.libs", Path(sysconfig.get_config_var("LIBDIR"))]
    paths = [str(home / "bin"), os.defpath]
    environment = {
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "PATH": os.pathsep.join(paths),  # the stub takes its packages from the first python3 there
    }
    return Triton(home, server, backends, environment)


def set_up_triton(home: Path | None = None) -> Triton:
    """Install Triton and its ONNX backend; a finished set-up is left as it is.

    Raises
    ------
    OSError
        Where NVIDIA publishes no wheel (other than Linux on x86-64), or Python has no shared library.
    """
    home = home_of("triton") if home is None else home
    found = find_triton(home)
    if found is not None:
        return found
    objection = triton_objection()
    if objection:
        raise OSError(f"Triton: {objection}")
    install(home, "triton")
    _lay_backends(home)
    found = find_triton(home)
    if found is None:
        raise OSError(
            f"Triton: {home} lacks the server or its backend after the installation; remove it, try again"
        )
    return found


def triton_objection() -> str | None:
    """Return why Triton does not run on this machine, or None."""
    if not (sys.platform == "linux" and platform.machine() == "x86_64"):
        return (
            f"NVIDIA publishes it for Linux on x86-64, this is {sys.platform} on {platform.machine()}; "
            "set up MLServer instead"
        )
    library = Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME") or "none")
    if library.suffix == ".a" or not library.exists():
        return (
            f"its Python backend needs Python's shared library, and {library} is not there; use a Python "
            "built with --enable-shared, install libpython3-dev, or set up MLServer instead"
        )
    return None


def _lay_backends(home: Path) -> None:
    """Copy the Python backend with this Python's stub, and the ONNX backend that runs on it."""
    source = packages_of(home) / "pytriton" / "tritonserver"
    python, onnx = home / "backends" / "python", home / "backends" / "onnxruntime"
    shutil.copytree(source / "backends" / "python", python, dirs_exist_ok=True)
    stub = source / "python_backend_stubs" / python_version() / "triton_python_backend_stub"
    shutil.copy(stub, python / stub.name)
    onnx.mkdir(exist_ok=True)
    shutil.copy(Path(__file__).with_name("triton_backend.py"), onnx / "model.py")
