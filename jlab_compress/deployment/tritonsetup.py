"""Set up NVIDIA Triton from PyPI in an environment of its own.

``python -m jlab_compress.deployment.tritonsetup`` does it once. The wheel carries the server with its Python
backend; the backend called "onnxruntime" is laid over it, so that a production repository loads unchanged.
Triton's own C++ onnxruntime backend is not exercised this way.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = ("nvidia-pytriton==0.7.0", "onnxruntime>=1.19")
PLACE = "JLAB_COMPRESS_TRITON"


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


def triton_home() -> Path:
    """Return where Triton is set up: $JLAB_COMPRESS_TRITON, or share/ of this Python environment."""
    return Path(os.environ.get(PLACE) or Path(sys.prefix, "share", "jlab-compress", "triton"))


def find_triton(home: Path | None = None) -> Triton | None:
    """Return the Triton that `set_up_triton` made, or None."""
    home = triton_home() if home is None else home
    packages = _packages(home)
    server = packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    backends = home / "backends"
    if not (server.is_file() and (backends / "onnxruntime" / "model.py").is_file()):
        return None
    libraries = [packages / "nvidia_pytriton.libs", Path(sysconfig.get_config_var("LIBDIR"))]
    paths = [str(home / "bin"), os.environ.get("PATH", os.defpath)]
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
    home = triton_home() if home is None else home
    found = find_triton(home)
    if found is not None:
        return found
    _check_platform()
    venv.EnvBuilder(with_pip=True, clear=True).create(home)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *REQUIREMENTS], check=True)
    _lay_backends(home)
    found = find_triton(home)
    if found is None:
        raise OSError(
            f"Triton: {home} lacks the server or its backend after the installation; remove it, try again"
        )
    return found


def _check_platform() -> None:
    if not (sys.platform == "linux" and platform.machine() == "x86_64"):
        raise OSError(
            f"Triton: NVIDIA publishes it for Linux on x86-64, this is {sys.platform} on "
            f"{platform.machine()}; write layout='mlflow' and serve that instead"
        )
    library = Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME") or "none")
    if library.suffix == ".a" or not library.exists():
        raise OSError(
            f"Triton: its Python backend needs Python's shared library, and {library} is not there; use a "
            "Python built with --enable-shared, or install libpython3-dev"
        )


def _lay_backends(home: Path) -> None:
    """Copy the Python backend with this Python's stub, and the ONNX backend that runs on it."""
    source = _packages(home) / "pytriton" / "tritonserver"
    python, onnx = home / "backends" / "python", home / "backends" / "onnxruntime"
    shutil.copytree(source / "backends" / "python", python, dirs_exist_ok=True)
    stub = source / "python_backend_stubs" / _python() / "triton_python_backend_stub"
    shutil.copy(stub, python / stub.name)
    onnx.mkdir(exist_ok=True)
    shutil.copy(Path(__file__).with_name("tritonbackend.py"), onnx / "model.py")


def _packages(home: Path) -> Path:
    return home / "lib" / f"python{_python()}" / "site-packages"


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def main() -> None:
    """Set Triton up and say where it is."""
    parser = argparse.ArgumentParser(description="Set up NVIDIA Triton (about 300 MB) for trying out models.")
    parser.add_argument("home", nargs="?", type=Path, help=f"the folder; by default {triton_home()}")
    try:
        print(set_up_triton(parser.parse_args().home).server)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
