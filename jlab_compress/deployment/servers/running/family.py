"""The processes of a running server: which ports are theirs, and that all of them end."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

from jlab_compress.extras import require

PATIENCE = 15.0


class Family:
    """A supervisor, the server that it guards, and what that one starts.

    Parameters
    ----------
    supervisor : Popen
        Ends the others once its standard input closes.
    """

    def __init__(self, supervisor: subprocess.Popen[bytes]) -> None:
        self._psutil = require("psutil", "serve")
        self._supervisor = supervisor
        self._children: set[Any] = set()
        self._listeners: set[Any] = set()

    def listens(self, ports: Sequence[int]) -> bool:
        """Whether every port is held by a process of the family, by the word of the operating system."""
        self._look()
        held = {child: self._ports_of(child) for child in self._children}
        self._listeners = {child for child, found in held.items() if not found.isdisjoint(ports)}
        return set(ports) <= set().union(*held.values())

    def holds(self) -> bool:
        """Whether those that hold the ports still run; as long as they do nobody else can take these."""
        return all(map(self._runs, self._listeners))

    def end(self) -> list[int]:
        """End them all, by force where asking does not help; return the numbers of those that are left."""
        self._look()
        assert self._supervisor.stdin is not None
        self._supervisor.stdin.close()
        try:
            self._supervisor.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        for child in filter(self._runs, self._children):
            child.kill()
        self._psutil.wait_procs(self._children, PATIENCE)
        return [child.pid for child in self._children if self._runs(child)]

    def _look(self) -> None:
        """Remember every process: once the supervisor has been killed, nobody else knows them."""
        try:
            children = self._psutil.Process(self._supervisor.pid).children(recursive=True)
        except self._psutil.NoSuchProcess:
            return
        self._children.update(children)

    def _ports_of(self, process: Any) -> set[int]:
        try:
            found = process.net_connections("tcp")
        except self._psutil.Error:
            return set()
        return {one.laddr.port for one in found if one.status == self._psutil.CONN_LISTEN}

    def _runs(self, process: Any) -> bool:
        try:
            return bool(process.is_running() and process.status() != self._psutil.STATUS_ZOMBIE)
        except self._psutil.NoSuchProcess:
            return False
