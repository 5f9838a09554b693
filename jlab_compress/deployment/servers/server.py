"""Start an inference server on a repository, on this machine only; wait, query it, and end it for certain.

``jlab-compress serve FOLDER`` does it from a shell, until Enter is pressed.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jlab_compress.deployment.program.signature import Arrays
from jlab_compress.deployment.servers.clients import (
    ServerError,
    ask_grpc,
    ask_http,
    ask_mlflow,
    call,
    open_grpc,
)
from jlab_compress.deployment.servers.commands import HOST, Command, command_for

PATIENCE = 15.0


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
        self._log = tempfile.NamedTemporaryFile(prefix="jlab-compress-", suffix=".log")  # noqa: SIM115
        supervised = [sys.executable, "-m", "jlab_compress.deployment.servers.supervisor", *command.arguments]
        self._process = subprocess.Popen(
            supervised, stdin=subprocess.PIPE, stdout=self._log, stderr=self._log, env=command.environment
        )
        self._finish = weakref.finalize(self, _end, self._process)
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
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

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
            If the server refuses the request, with its reason.
        ValueError
            If the server does not speak the protocol.
        """
        if protocol not in ("http", "grpc"):
            raise ValueError(f'protocol: expected "http" or "grpc", got {protocol!r}')
        arrays = {key: np.asarray(value) for key, value in inputs.items()}
        kind = self.command.kind
        if protocol == "grpc":
            if self.grpc is None:
                raise ValueError(f'protocol: {kind} does not speak gRPC; use "http"')
            self._client = self._client or open_grpc(self.grpc)
            return ask_grpc(self._client, name, arrays, version, kind=kind)
        if kind == "mlflow":
            return ask_mlflow(self.http, arrays)
        return ask_http(self.http, name, arrays, version, kind=kind)

    def reload(self, name: str) -> None:
        """Make the server look at a model's folder again, for a new version.

        Raises
        ------
        ServerError
            If the new version does not load; the server goes on with the old one.
        """
        call(self.http, f"/v2/repository/models/{name}/load", {}, kind=self.command.kind)

    def stop(self) -> None:
        """End the server and everything that it started; safe to call twice."""
        if self._client is not None:
            self._client.close()
        self._finish()
        self._log.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _wait(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if not self.alive:
                raise ServerError(f"{self.command.kind} ended while starting: {_tail(self.log)}")
            if all(self._answers(place) for place in self.command.ready):
                return
            time.sleep(0.1)
        raise ServerError(f"{self.command.kind} was not ready after {timeout:g} s: {_tail(self.log)}")

    def _answers(self, place: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.http}{place}", timeout=5):
                return True
        except OSError:
            return False


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
    return Server(command_for(folder, name, server, ports=(free_port(), free_port())), timeout=timeout)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the standard input that the supervisor waits on, which ends the server's whole process group."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: str) -> str:
    """Return what a log says about a failure: its lines of error, else its last lines."""
    lines = log.strip().splitlines()
    faults = [line for line in lines if re.match(r"E\d{4} |error\b|.*Error\b", line)]
    return " | ".join((faults or lines)[-10:])[-3000:] or "it printed nothing"
