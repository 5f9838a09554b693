"""How each server is started on a repository, on 127.0.0.1 only."""

from __future__ import annotations

import os
import site
import sys
from dataclasses import dataclass
from pathlib import Path

from jlab_compress.deployment.servers.layouts import SERVERS
from jlab_compress.deployment.servers.running.tree import lay_tree, names_in
from jlab_compress.deployment.servers.setup.mlserver_setup import find_mlserver
from jlab_compress.deployment.servers.setup.triton_setup import find_triton, triton_objection
from jlab_compress.extras import QUIET, lacking

HOST = "127.0.0.1"
RUNNING = Path(__file__).parent / "running"
# What a server is handed of this process's environment; everything else stays here.
HANDED_ON = (
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)
# The key of Triton's restricted requests is a header that no request can carry.
_LOCK = "shared-memory,model-repository,trace,logging:no\nrequest=allowed"


@dataclass(frozen=True)
class Command:
    """A server's command line and where it will listen.

    Parameters
    ----------
    kind : str
        "triton", "mlserver" or "mlflow".
    place : Path
        A private folder of this run: its home, its temporary files, and in ``models`` the links to what it
        serves.
    arguments : tuple of str
        The command line.
    environment : dict of str to str
        All its environment variables.
    ready : tuple of str
        The address paths that all answer once the models are loaded.
    http_port : int
        Port for HTTP.
    grpc_port : int or None
        Port for gRPC, where the server speaks it.
    """

    kind: str
    place: Path
    arguments: tuple[str, ...]
    environment: dict[str, str]
    ready: tuple[str, ...]
    http_port: int
    grpc_port: int | None

    @property
    def tree(self) -> Path:
        """The folder of links to models."""
        return self.place / "models"


def command_for(
    folder: Path, name: str | None, server: str | None, *, place: Path, ports: tuple[int, int]
) -> Command:
    """Return the command for a repository folder, and lay the links that it needs into its private folder.

    Raises
    ------
    ValueError
        If the server is unknown or not installed, or the model is not named or not there.
    """
    kind = choose_server(server, "mlflow" if any(folder.glob("*/*/MLmodel")) else "triton")
    if kind == "mlflow":
        return _mlflow(_model_folder(folder, name), place, ports[0])
    names = names_in(folder) if name is None else (name,)
    lay_tree(place / "models", folder, names)
    return (_triton if kind == "triton" else _mlserver)(place, names, *ports)


def choose_server(server: str | None, layout: str) -> str:
    """Return the server that was asked for, or the usual one for a layout, if it is set up here.

    Raises
    ------
    ValueError
        If the server is unknown or not set up; the message says how to set one up.
    ImportError
        If psutil is not installed, or MLflow where it is asked for.
    """
    kind = server or ("mlflow" if layout == "mlflow" else _usual_server())
    if kind not in SERVERS:
        raise ValueError(f"server: expected one of {', '.join(SERVERS)}, got {kind!r}")
    if (kind == "mlflow") != (layout == "mlflow"):
        raise ValueError(
            f"server: {kind} cannot serve layout {layout!r}; mlflow serves layout 'mlflow' and no other"
        )
    missing = {"triton": find_triton() is None, "mlserver": find_mlserver() is None}.get(kind, False)
    if missing:
        raise ValueError(f"server: {kind} is not set up; run `jlab-compress set-up {kind}`")
    for package in ("psutil", "mlflow") if kind == "mlflow" else ("psutil",):
        if missing_package := lacking(package):
            raise missing_package
    return kind


def _usual_server() -> str:
    """Return Triton where it is set up or could be, else MLServer."""
    if find_triton() is not None:
        return "triton"
    return "mlserver" if find_mlserver() is not None or triton_objection() else "triton"


def _triton(place: Path, names: tuple[str, ...], http_port: int, grpc_port: int) -> Command:
    triton = find_triton()
    assert triton is not None
    arguments = (
        str(triton.server),
        f"--model-repository={place / 'models'}",
        f"--backend-directory={triton.backends}",
        "--model-control-mode=poll",
        "--repository-poll-secs=1",
        f"--http-address={HOST}",
        f"--http-port={http_port}",
        f"--http-restricted-api={_LOCK}",
        f"--grpc-address={HOST}",
        f"--grpc-port={grpc_port}",
        f"--grpc-restricted-protocol={_LOCK}",
        "--allow-metrics=false",
        "--exit-timeout-secs=5",
        f"--backend-config=python,shm-region-prefix-name={place.name}-",
    )
    environment = {**_environment(place), **triton.environment}
    return Command("triton", place, arguments, environment, ("/v2/health/ready",), http_port, grpc_port)


def _mlserver(place: Path, names: tuple[str, ...], http_port: int, grpc_port: int) -> Command:
    python = find_mlserver()
    assert python is not None
    where = ("--host", HOST, "--http-port", str(http_port), "--grpc-port", str(grpc_port))
    arguments = (str(python), "-I", str(RUNNING / "mlserver_runtime.py"), str(place / "models"), *where)
    ready = tuple(f"/v2/models/{one}/ready" for one in names)
    return Command("mlserver", place, arguments, _environment(place), ready, http_port, grpc_port)


def _mlflow(model: Path, place: Path, http_port: int) -> Command:
    where = ("--host", HOST, "--http-port", str(http_port))
    arguments = (sys.executable, "-P", str(RUNNING / "mlflow_runtime.py"), str(model), *where)
    python = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    user = {"PYTHONUSERBASE": str(site.getuserbase())}  # HOME is another one
    environment = {**_environment(place), **python, **user}
    return Command("mlflow", place, arguments, environment, ("/ping",), http_port, None)


def _environment(place: Path) -> dict[str, str]:
    """Return a server's environment: few variables of this one, a home that goes with it, no telemetry."""
    kept = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    return {**kept, **QUIET, "PATH": os.defpath, "HOME": str(place), "TMPDIR": str(place)}


def _model_folder(folder: Path, name: str | None) -> Path:
    """Return the newest version's folder of the one model that is meant."""
    names = sorted(path.parent.parent.name for path in folder.glob("*/*/MLmodel"))
    if name is None and len(set(names)) != 1:
        raise ValueError(f"name: expected one of {', '.join(sorted(set(names)))}; say which to serve")
    versions = [path.parent for path in (folder / (name or names[0])).glob("*/MLmodel")]
    if not versions:
        raise ValueError(f"name: {folder} holds no MLflow model {name!r}")
    return max(versions, key=lambda path: int(path.name))
