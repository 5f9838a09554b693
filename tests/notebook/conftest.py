"""A plain IPython shell, fresh for each test, and public functions that only take note."""

import inspect
from functools import wraps

import pytest
from IPython.core.interactiveshell import InteractiveShell
from torch import nn
from traitlets.config import Config

import jlab_compress
from jlab_compress.notebook import actions, fields
from jlab_compress.public import public
from jlab_compress.report import Report, Reported


@pytest.fixture
def plain_shell(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config)
    yield shell
    shell.restore_sys_module_state()


@pytest.fixture
def shell(plain_shell):
    """The shell after `%load_ext jlab_compress`."""
    assert plain_shell.extension_manager.load_extension("jlab_compress") is None
    yield plain_shell
    jlab_compress.unload_ipython_extension(plain_shell)


class Noted(Reported):
    """Stands for what a stage gives back; knows which function was called with what."""

    kind = "noted"

    def __init__(self, called, arguments):
        self.called, self.arguments = called, arguments
        self.model = nn.Linear(2, 2)
        self.report = Report("Title of the report", "<b>done</b>")


def noting(name):
    """A function with the signature of a public one that only says what it was given; a table as it is."""
    real = public(name)
    if not callable(real):
        return real

    @wraps(real)
    def noted(*args, **kwargs):
        return Noted(name, dict(inspect.signature(real).bind(*args, **kwargs).arguments))

    return noted


@pytest.fixture
def noted(monkeypatch):
    """Every public function takes note only, wherever an action looks for it; models are not looked at."""
    for room in (actions, fields):
        monkeypatch.setattr(room, "public", noting)
    monkeypatch.setattr(fields.Action, "prepares", False)
    return noting
