"""Ports belong to processes: another one's listener is never taken for ours; nobody is left at the end."""

import os
import signal
import subprocess
import sys

import pytest

from jlab_compress.deployment.servers.running.family import Family
from tests.deployment.servers.taker import taker

LISTENER = """
import os, socket, subprocess, sys, time
opened = socket.create_server(("127.0.0.1", 0))
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(opened.getsockname()[1], child.pid, flush=True)
sys.stdin.read()
STUBBORN and time.sleep(60)
"""


@pytest.fixture
def started():
    """A family, the port that it holds, and the number of its grandchild."""
    made = []

    def start(stubborn=False):
        code = LISTENER.replace("STUBBORN", str(stubborn))
        wrapped = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
        process = subprocess.Popen(
            [sys.executable, "-c", wrapped], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        made.append(process)
        port, grandchild = map(int, process.stdout.readline().split())
        return Family(process), port, grandchild

    yield start
    for process in made:
        process.kill()
        process.wait()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_port_is_the_familys_or_it_is_not(started):
    family, port, _ = started()
    assert family.listens([port])
    with taker() as (other, _):
        assert not family.listens([port, other])
        assert not family.listens([other])
    assert family.end() == []


@pytest.mark.parametrize("stubborn", [False, True])
def test_everyone_is_ended_also_those_whose_guard_was_killed(started, stubborn, monkeypatch):
    monkeypatch.setattr("jlab_compress.deployment.servers.running.family.PATIENCE", 2.0)
    family, port, grandchild = started(stubborn)
    assert family.listens([port])
    assert family.holds()
    os.kill(family._supervisor.pid, signal.SIGKILL)
    assert alive(grandchild)
    assert family.end() == []
    assert not alive(grandchild)
    assert not family.holds()
