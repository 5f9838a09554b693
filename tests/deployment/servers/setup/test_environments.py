"""Where servers are set up, and what an environment is made of."""

import sys
from pathlib import Path

from jlab_compress.deployment.servers.setup import environments
from jlab_compress.deployment.servers.setup.environments import home_of, install, packages_of, python_of


def test_a_home_is_told_by_the_environment_or_lies_in_that_of_python(monkeypatch):
    monkeypatch.delenv("JLAB_COMPRESS_TRITON", raising=False)
    assert home_of("triton") == Path(sys.prefix, "share", "jlab-compress", "triton")
    monkeypatch.setenv("JLAB_COMPRESS_TRITON", "/elsewhere")
    assert home_of("triton") == Path("/elsewhere")


def test_an_environment_has_this_pythons_version():
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert packages_of(Path("/home")) == Path("/home/lib", version, "site-packages")


def test_an_installation_begins_anew_and_asks_pip_for_all_at_once(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "old").write_text("from before")
    asked, built = [], []
    monkeypatch.setattr(environments.subprocess, "run", lambda command, check: asked.append((command, check)))
    monkeypatch.setattr(environments.venv, "EnvBuilder", lambda **how: Builder(built, how))
    install(tmp_path / "home", ("one==1", "two>=2"))
    (command, check), *others = asked
    assert (command[:4], command[-2:]) == (
        [str(python_of(tmp_path / "home")), "-m", "pip", "install"], ["one==1", "two>=2"],
    )  # fmt: skip
    assert (check, others) == (True, [])
    assert built == [({"with_pip": True, "clear": True}, tmp_path / "home")]


class Builder:
    """Takes the place of `venv.EnvBuilder` and keeps what it was asked for."""

    def __init__(self, made, how):
        self.made, self.how = made, how

    def create(self, home):
        self.made.append((self.how, home))
