"""Environments of their own for servers, whose packages must not mix with a notebook's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

NOTE = "packages.txt"


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


def install(home: Path, server: str) -> None:
    """Make an environment anew and install what a server needs, each file with the hash that is known of it.

    Raises
    ------
    subprocess.CalledProcessError
        If pip fails, or a file has another hash; its own words are on standard error.
    """
    venv.EnvBuilder(with_pip=True, clear=True).create(home)
    pip = [str(python_of(home)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "--requirement", str(_packages(server))], check=True)
    shutil.copy(_packages(server), home / NOTE)


def is_installed(home: Path, server: str) -> bool:
    """Whether an installation came to its end, with the packages that are asked for now."""
    note = home / NOTE
    return note.is_file() and note.read_bytes() == _packages(server).read_bytes()


def _packages(server: str) -> Path:
    """Return the list of a server's packages, which `make lock` writes."""
    return Path(__file__).with_name(f"{server}.txt")
