"""A plain IPython shell without files or history, fresh for each test."""

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import jlab_compress


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
