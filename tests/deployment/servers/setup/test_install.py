"""A server is set up once, and where it does not run the reason is said."""

from pathlib import Path

import pytest

from jlab_compress.deployment.servers.setup.install import set_up
from jlab_compress.deployment.servers.setup.mlserver_setup import set_up_mlserver
from jlab_compress.deployment.servers.setup.triton_setup import set_up_triton

pytestmark = pytest.mark.serve


def test_set_up_is_not_repeated():
    triton, mlserver = set_up_triton(), set_up_mlserver()
    places = [*Path(triton.backends).rglob("*"), mlserver, *mlserver.parents[1].glob("*")]
    before = {path: path.stat().st_mtime_ns for path in places}
    assert (set_up_triton(), set_up_mlserver()) == (triton, mlserver)
    assert {path: path.stat().st_mtime_ns for path in places} == before


def test_a_machine_without_triton_is_told_why(monkeypatch, tmp_path):
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    with pytest.raises(OSError, match="NVIDIA publishes it for Linux on x86-64, this is linux on arm64"):
        set_up_triton(tmp_path / "triton")
    assert set_up() == set_up_mlserver()
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(OSError, match=r"MLServer: it needs Linux or macOS and Python before 3\.13"):
        set_up_mlserver(tmp_path / "mlserver")
    assert list(tmp_path.iterdir()) == []
