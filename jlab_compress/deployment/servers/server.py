"""Start an inference server on a repository, on this machine only; wait, query it, and end it for certain.

``jlab-compress serve FOLDER`` does it from a shell, until Enter is pressed.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jlab_compress.deployment.program.signature import Arrays
from jlab_compress.deployment.servers.clients import (
    ServerError,
    answers,
    ask_grpc,
    ask_http,
    ask_mlflow,
    open_grpc,
)
from jlab_compress.deployment.servers.commands import HOST, Command, command_for
from jlab_compress.deployment.servers.running.family import Family
from jlab_compress.deployment.servers.running.supervisor import clean
from jlab_compress.deployment.servers.running.tree import link_versions

SUPERVISOR = Path(__file__).parent / "running" / "supervisor.py"


class Server:
    """A running server; end it with `stop` or by leaving the ``with`` block.

    It ends too when this Python process ends, however that happens.

    Parameters
    ----------
    command : Command
        What to run.
    timeout : float
        Seconds until it must be ready.

    Raises
    ------
    ServerError
        If it ends or is not ready in time; the message holds the end of its log.
    """

    def __init__(self, command: Command, *, timeout: float = 120.0) -> None:
        self.command = command
        self._client: Any = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        supervised = [sys.executable, "-I", str(SUPERVISOR), str(command.place), *command.arguments]
        self._process = subprocess.Popen(
            supervised,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env=command.environment,
            cwd=command.place,
        )
        self._family = Family(self._process)
        self._finish = weakref.finalize(self, _end, self._family, command.place)
        try:
            self._wait(timeout)
        except BaseException:
            self.stop()
            raise

    @property
    def http(self) -> str:
        """The HTTP address as host:port."""
        return f"{HOST}:{self.command.http_port}"

    @property
    def grpc(self) -> str | None:
        """The gRPC address as host:port, where the server speaks gRPC."""
        return f"{HOST}:{self.command.grpc_port}" if self.command.grpc_port else None

    @property
    def log(self) -> str:
        """What the server has printed."""
        return os.pread(self._log.fileno(), os.fstat(self._log.fileno()).st_size, 0).decode(errors="replace")

    @property
    def alive(self) -> bool:
        """Whether the server runs."""
        return self._process.poll() is None

    def query(
        self,
        name: str,
        inputs: Mapping[str, ArrayLike],
        *,
        version: int | None = None,
        protocol: str = "http",
    ) -> Arrays:
        """Send one batch and return the outputs by name.

        Parameters
        ----------
        name : str
            The model.
        inputs : mapping of str to array
            With the dtypes that the model takes.
        version : int, optional
            By default the server's newest.
        protocol : {"http", "grpc"}
            JSON over HTTP, or binary over gRPC (needs the package tritonclient).

        Raises
        ------
        ServerError
            If the server has ended, or refuses the request, with its reason.
        ValueError
            If the server does not speak the protocol.
        """
        if protocol not in ("http", "grpc"):
            raise ValueError(f'protocol: expected "http" or "grpc", got {protocol!r}')
        arrays = {key: np.asarray(value) for key, value in inputs.items()}
        kind = self.command.kind
        if protocol == "grpc" and self.grpc is None:
            raise ValueError(f'protocol: {kind} does not speak gRPC; use "http"')
        self._check()
        if self.grpc is not None and protocol == "grpc":
            self._client = self._client or open_grpc(self.grpc)
            return ask_grpc(self._client, name, arrays, version, kind=kind)
        if kind == "mlflow":
            return ask_mlflow(self.http, arrays)
        return ask_http(self.http, name, arrays, version, kind=kind)

    def reload(self, name: str, *, timeout: float = 120.0) -> None:
        """Let the server see the new versions of a model, and wait until the newest is loaded.

        Raises
        ------
        ServerError
            If the new version does not load; the server goes on with the old ones.
        ValueError
            If the server holds one version only, as MLflow does.
        """
        if self.command.kind == "mlflow":
            raise ValueError("reload: mlflow holds one version; serve the new one anew")
        self._check()
        mark = len(self.log)
        fresh = link_versions(self.command.tree, name)
        if not fresh:
            return
        try:
            self._wait_for_version(name, fresh[-1], mark, timeout)
        except ServerError:
            (self.command.tree / name / str(fresh[-1])).unlink()
            raise

    def stop(self) -> None:
        """End the server and everything that it started; safe to call twice.

        Raises
        ------
        ServerError
            If a process of the server is still there afterwards.
        """
        if self._client is not None:
            self._client.close()
        self._log.close()
        self._finish()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _wait(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        ports = [port for port in (self.command.http_port, self.command.grpc_port) if port]
        while time.monotonic() < end:
            if not self.alive:
                raise ServerError(f"{self.command.kind} ended while starting: {_tail(self.log)}")
            if self._family.listens(ports) and all(answers(self.http, p) for p in self.command.ready):
                return
            time.sleep(0.1)
        raise ServerError(f"{self.command.kind} was not ready after {timeout:g} s: {_tail(self.log)}")

    def _wait_for_version(self, name: str, version: int, mark: int, timeout: float) -> None:
        end, kind = time.monotonic() + timeout, self.command.kind
        failed = re.compile(rf"failed to load '{re.escape(name)}' version {version}: (.*)")
        while time.monotonic() < end:
            self._check()
            if answers(self.http, f"/v2/models/{name}/versions/{version}/ready"):
                return
            if fault := failed.search(self.log[mark:]):
                reason = " ".join(fault[1].partition("\\n\\nAt:")[0].split())
                raise ServerError(f"{kind} failed to load {name!r} version {version}: {reason}")
            time.sleep(0.1)
        raise ServerError(f"{kind}: version {version} of model {name!r} was not ready after {timeout:g} s")

    def _check(self) -> None:
        """Refuse to send anything where another program may have taken the ports of a server that ended."""
        if not (self.alive and self._family.holds()):
            raise ServerError(f"{self.command.kind} has ended: {_tail(self.log)}")


def serve(
    repository: str | Path, name: str | None = None, *, server: str | None = None, timeout: float = 120.0
) -> Server:
    """Start a server on a repository, bound to 127.0.0.1, and wait until its models are ready.

    Parameters
    ----------
    repository : str or Path
        The folder given to `export_repository`.
    name : str, optional
        The one model to load; by default all of them, where the server takes several.
    server : {"triton", "mlserver", "mlflow"}, optional
        By default MLflow for its own layout, else Triton or MLServer, as `make serve` has set up.
    timeout : float
        Seconds until it must be ready.

    Returns
    -------
    Server
        Use it in a ``with`` block.

    Raises
    ------
    ServerError
        If the server does not start.
    ValueError
        If there is no such repository or no such server here.
    """
    folder = Path(repository).resolve()
    if not any(folder.glob("*/config.pbtxt")) and not any(folder.glob("*/*/MLmodel")):
        raise ValueError(f"repository: {str(repository)!r} holds no model; write one with export_repository")
    place = Path(tempfile.mkdtemp(prefix="jlab-compress-"))
    try:
        command = command_for(folder, name, server, place=place, ports=(free_port(), free_port()))
    except BaseException:
        clean(place)
        raise
    return Server(command, timeout=timeout)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _end(family: Family, place: Path) -> None:
    left = family.end()
    clean(place)
    if left:
        raise ServerError(f"processes of the server are still there: {', '.join(map(str, left))}")


def _tail(log: str) -> str:
    """Return what a log says about a failure: its lines of error, else its last lines."""
    lines = log.strip().splitlines()
    faults = [line for line in lines if re.match(r"E\d{4} |error\b|.*Error\b", line)]
    return " | ".join((faults or lines)[-10:])[-3000:] or "it printed nothing"
