"""A command ends with whoever started it, with all that it started itself, also when it does not want to."""

import signal
import subprocess
import sys

import psutil
import pytest

MODULE = [sys.executable, "-m", "jlab_compress.deployment.servers.supervisor"]
CHILD = """
import subprocess
children = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
print("ready", flush=True)
children[0].wait()
"""


@pytest.fixture
def supervised():
    """A command with a child of its own, under supervision."""
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*MODULE, sys.executable, "-c", CHILD], **options)
    assert process.stdout.readline() == "ready\n"
    yield process, psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()


def ended(processes):
    _, left = psutil.wait_procs(processes, timeout=20)
    return [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def test_the_whole_family_ends_when_standard_input_closes(supervised):
    process, family = supervised
    assert len(family) == 3
    process.stdin.close()
    assert process.wait(20) != 0
    assert ended(family)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_too(supervised, number):
    process, family = supervised
    process.send_signal(number)
    process.wait(20)
    assert ended(family)


def test_the_status_and_the_words_of_the_command_are_passed_on():
    command = [*MODULE, sys.executable, "-c", "print('hello'); raise SystemExit(7)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.wait(60) == 7
        assert process.stdout.read() == "hello\n"
