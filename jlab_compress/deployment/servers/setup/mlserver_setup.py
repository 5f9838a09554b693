"""Set up MLServer in an environment of its own, for machines where NVIDIA's Triton does not run."""

from __future__ import annotations

import sys
from pathlib import Path

from jlab_compress.deployment.servers.setup.environments import home_of, install, is_installed, python_of

TOO_NEW = (3, 13)


def find_mlserver(home: Path | None = None) -> Path | None:
    """Return the Python of the MLServer that `set_up_mlserver` made, or None."""
    home = home_of("mlserver") if home is None else home
    return python_of(home) if is_installed(home, "mlserver") else None


def set_up_mlserver(home: Path | None = None) -> Path:
    """Install MLServer and onnxruntime (about 400 MB); a finished set-up is left as it is.

    Raises
    ------
    OSError
        Where MLServer does not install: Windows, and Python 3.13 or later.
    """
    home = home_of("mlserver") if home is None else home
    found = find_mlserver(home)
    if found is not None:
        return found
    if sys.platform == "win32" or sys.version_info >= TOO_NEW:
        raise OSError(
            f"MLServer: it needs Linux or macOS and Python before {'.'.join(map(str, TOO_NEW))}, this is "
            f"{sys.platform} and {sys.version.split()[0]}; write layout='mlflow' and serve that instead"
        )
    install(home, "mlserver")
    return python_of(home)
