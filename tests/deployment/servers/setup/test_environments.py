"""Where servers are set up, and what an environment is made of."""

import re
import sys
from pathlib import Path

import pytest

from jlab_compress.deployment.servers.setup import environments
from jlab_compress.deployment.servers.setup.environments import (
    home_of,
    install,
    is_installed,
    packages_of,
    python_of,
)


def test_a_home_is_told_by_the_environment_or_lies_in_that_of_python(monkeypatch):
    monkeypatch.delenv("JLAB_COMPRESS_TRITON", raising=False)
    assert home_of("triton") == Path(sys.prefix, "share", "jlab-compress", "triton")
    monkeypatch.setenv("JLAB_COMPRESS_TRITON", "/elsewhere")
    assert home_of("triton") == Path("/elsewhere")


def test_an_environment_has_this_pythons_version():
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert packages_of(Path("/home")) == Path("/home/lib", version, "site-packages")


def test_an_installation_begins_anew_and_every_file_is_held_to_its_hash(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    asked, built = [], []
    monkeypatch.setattr(environments.subprocess, "run", lambda command, check: asked.append((command, check)))
    monkeypatch.setattr(environments.venv, "EnvBuilder", lambda **how: Builder(built, how))
    assert not is_installed(home, "triton")
    install(home, "triton")
    (command, check), *others = asked
    assert command[:4] == [str(python_of(home)), "-m", "pip", "install"]
    assert command[-3:-1] == ["--require-hashes", "--requirement"]
    assert Path(command[-1]).name == "triton.txt"
    assert (check, others) == (True, [])
    assert built == [({"with_pip": True, "clear": True}, home)]
    assert is_installed(home, "triton")
    assert not is_installed(home, "mlserver")


@pytest.mark.parametrize("server", ["triton", "mlserver"])
def test_every_package_of_a_server_is_pinned_with_hashes(server):
    text = Path(environments.__file__).with_name(f"{server}.txt").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 30
    assert [
        one for one in entries if not re.match(r"[\w.-]+==\S+.*\n +--hash=sha256:[0-9a-f]{64}", one)
    ] == []


class Builder:
    """Takes the place of `venv.EnvBuilder` and keeps what it was asked for."""

    def __init__(self, made, how):
        self.made, self.how = made, how

    def create(self, home):
        self.made.append((self.how, home))
