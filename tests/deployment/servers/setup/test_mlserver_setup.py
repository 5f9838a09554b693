"""MLServer counts as set up once all of it was installed, in these versions."""

import shutil
from pathlib import Path

import pytest

from jlab_compress.deployment.servers.setup import mlserver_setup
from jlab_compress.deployment.servers.setup.environments import NOTE, python_of
from jlab_compress.deployment.servers.setup.mlserver_setup import find_mlserver, set_up_mlserver


def test_it_is_installed_once(tmp_path, monkeypatch):
    asked = []

    def installed(home, server):
        asked.append((home, server))
        shutil.copy(Path(mlserver_setup.__file__).with_name("mlserver.txt"), home / NOTE)

    monkeypatch.setattr(mlserver_setup, "TOO_NEW", (99, 0))
    monkeypatch.setattr(mlserver_setup, "install", installed)
    for _ in range(2):
        assert set_up_mlserver(tmp_path) == find_mlserver(tmp_path) == python_of(tmp_path)
    assert asked == [(tmp_path, "mlserver")]


def test_an_installation_that_stopped_or_is_of_other_versions_does_not_count(tmp_path):
    assert find_mlserver(tmp_path) is None
    (tmp_path / NOTE).write_text("mlserver==0.1")
    assert find_mlserver(tmp_path) is None


def test_a_python_that_is_too_new_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(mlserver_setup, "TOO_NEW", (3, 0))
    with pytest.raises(OSError, match=r"Linux or macOS and Python before 3\.0, .* write layout='mlflow'"):
        set_up_mlserver(tmp_path)
