"""How each server is started on a repository, on 127.0.0.1 only."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from jlab_compress.deployment.servers.layouts import SERVERS
from jlab_compress.deployment.servers.setup.mlserver_setup import find_mlserver
from jlab_compress.deployment.servers.setup.triton_setup import find_triton, triton_objection
from jlab_compress.extras import lacking

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Command:
    """A server's command line and where it will listen.

    Parameters
    ----------
    kind : str
        "triton", "mlserver" or "mlflow".
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
    arguments: tuple[str, ...]
    environment: dict[str, str]
    ready: tuple[str, ...]
    http_port: int
    grpc_port: int | None


def command_for(folder: Path, name: str | None, server: str | None, *, ports: tuple[int, int]) -> Command:
    """Return the command for a repository folder.

    Raises
    ------
    ValueError
        If the server is unknown or not installed, or the model is not named.
    """
    kind = choose_server(server, "mlflow" if any(folder.glob("*/*/MLmodel")) else "triton")
    if kind == "mlflow":
        return _mlflow(_model_folder(folder, name), ports[0])
    start = _triton if kind == "triton" else _mlserver
    return start(folder, name, *ports)


def choose_server(server: str | None, layout: str) -> str:
    """Return the server that was asked for, or the usual one for a layout, if it is set up here.

    Raises
    ------
    ValueError
        If the server is unknown or not set up; the message says how to set one up.
    ImportError
        If MLflow is asked for and not installed.
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
    if kind == "mlflow" and (missing_package := lacking("mlflow")):
        raise missing_package
    return kind


def _usual_server() -> str:
    """Return Triton where it is set up or could be, else MLServer."""
    if find_triton() is not None:
        return "triton"
    return "mlserver" if find_mlserver() is not None or triton_objection() else "triton"


def _triton(folder: Path, name: str | None, http_port: int, grpc_port: int) -> Command:
    triton = find_triton()
    assert triton is not None
    arguments = (
        str(triton.server),
        f"--model-repository={folder}",
        f"--backend-directory={triton.backends}",
        "--model-control-mode=explicit",
        f"--load-model={name or '*'}",
        f"--http-address={HOST}",
        f"--http-port={http_port}",
        f"--grpc-address={HOST}",
        f"--grpc-port={grpc_port}",
        "--allow-metrics=false",
        "--exit-timeout-secs=5",
        f"--backend-config=python,shm-region-prefix-name=jlab-compress-{http_port}-",
    )
    environment = {**os.environ, **triton.environment}
    return Command("triton", arguments, environment, ("/v2/health/ready",), http_port, grpc_port)


def _mlserver(folder: Path, name: str | None, http_port: int, grpc_port: int) -> Command:
    python = find_mlserver()
    assert python is not None
    runtime = Path(__file__).parent.joinpath("setup", "mlserver_runtime.py")
    where = ("--host", HOST, "--http-port", str(http_port), "--grpc-port", str(grpc_port))
    arguments = (str(python), "-P", str(runtime), str(folder), "--only", name or "", *where)
    names = [name] if name else sorted(path.parent.name for path in folder.glob("*/config.pbtxt"))
    ready = tuple(f"/v2/models/{one}/ready" for one in names)
    return Command("mlserver", arguments, dict(os.environ), ready, http_port, grpc_port)


def _mlflow(model: Path, http_port: int) -> Command:
    where = ("-m", str(model), "-h", HOST, "-p", str(http_port))
    arguments = (sys.executable, "-m", "mlflow", "models", "serve", *where, "--env-manager", "local")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", **os.environ, "PATH": path}
    return Command("mlflow", arguments, environment, ("/ping",), http_port, None)


def _model_folder(folder: Path, name: str | None) -> Path:
    """Return the newest version's folder of the one model that is meant."""
    names = sorted(path.parent.parent.name for path in folder.glob("*/*/MLmodel"))
    if name is None and len(set(names)) != 1:
        raise ValueError(f"name: expected one of {', '.join(sorted(set(names)))}; say which to serve")
    versions = [path.parent for path in (folder / (name or names[0])).glob("*/MLmodel")]
    if not versions:
        raise ValueError(f"name: {folder} holds no MLflow model {name!r}")
    return max(versions, key=lambda path: int(path.name))
