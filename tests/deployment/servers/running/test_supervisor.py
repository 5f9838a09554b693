"""A command ends with whoever started it, with all that it started itself, also when it does not want to."""

import signal
import subprocess
import sys

import psutil
import pytest

from jlab_compress.deployment.servers.running import supervisor

CHILD = """
import os, subprocess
from multiprocessing.shared_memory import SharedMemory
children = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
memory = SharedMemory(os.path.basename(os.getcwd()) + "-region", create=True, size=8)
os.fchmod(memory._fd, 0o644)  # as Triton's Python backend does
print("ready", flush=True)
children[0].wait()
"""


@pytest.fixture
def place(tmp_path):
    made = tmp_path / f"jlab-compress-{tmp_path.name}"
    made.mkdir()
    return made


def start(place, *command):
    words = [sys.executable, "-I", supervisor.__file__, str(place), *command]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=place)


@pytest.fixture
def supervised(place):
    """A command with a child of its own, under supervision."""
    process = start(place, sys.executable, "-c", CHILD)
    assert process.stdout.readline() == "ready\n"
    yield process, psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    supervisor.clean(place)


def ended(processes):
    _, left = psutil.wait_procs(processes, timeout=20)
    return [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def regions(place):
    return list(supervisor.SHARED.glob(f"{place.name}-*"))


def test_the_whole_family_ends_when_standard_input_closes(supervised, place):
    process, family = supervised
    assert len(family) >= 3
    assert [oct(region.stat().st_mode & 0o777) for region in regions(place)] == ["0o600"]
    process.stdin.close()
    assert process.wait(20) != 0
    assert ended(family)
    assert (place.exists(), regions(place)) == (False, [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_too(supervised, number):
    process, family = supervised
    process.send_signal(number)
    process.wait(20)
    assert ended(family)


def test_a_killed_supervisor_takes_its_command_with_it(supervised):
    process, _ = supervised
    (command,) = psutil.Process(process.pid).children()
    process.kill()
    assert ended([command])


def test_the_status_and_the_words_of_the_command_are_passed_on(place):
    with start(place, sys.executable, "-c", "print('hello'); raise SystemExit(7)") as process:
        assert process.wait(60) == 7
        assert process.stdout.read() == "hello\n"
