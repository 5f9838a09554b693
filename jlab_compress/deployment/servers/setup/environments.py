"""Environments of their own for servers, whose packages must not mix with a notebook's."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path


def home_of(server: str) -> Path:
    """Return where a server is set up: $JLAB_COMPRESS_<SERVER>, or share/ of this Python environment."""
    told = os.environ.get(f"JLAB_COMPRESS_{server.upper()}")
    return Path(told or Path(sys.prefix, "share", "jlab-compress", server))


def python_of(home: Path) -> Path:
    """Return an environment's Python."""
    return home / "bin" / "python"


def packages_of(home: Path) -> Path:
    """Return an environment's folder of installed packages."""
    return home / "lib" / f"python{python_version()}" / "site-packages"


def python_version() -> str:
    """Return this Python's version as folders are called, for example "3.11"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def install(home: Path, requirements: tuple[str, ...]) -> None:
    """Make an environment anew and install packages into it by pip.

    Raises
    ------
    subprocess.CalledProcessError
        If pip fails; its own words are on standard error.
    """
    venv.EnvBuilder(with_pip=True, clear=True).create(home)
    pip = [str(python_of(home)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *requirements], check=True)
