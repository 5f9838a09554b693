"""A missing optional package is one sentence with the line to type; any other fault stays as it is."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jlab_compress.extras import EXTRAS, PURPOSES, explained, lacking, require

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]


def hidden(package: str, code: str) -> str:
    """What a fresh Python says last, in which a package cannot be imported."""
    script = f"import sys; sys.modules[{package!r}] = None\n{code}"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 1
    return ran.stderr.strip().splitlines()[-1]


def test_a_package_that_is_there_is_imported():
    assert require("xml.dom", "onnx").__name__ == "xml.dom"


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.part"])
def test_a_missing_package_says_what_it_is_for_and_how_to_get_it(module):
    with pytest.raises(ImportError) as caught:
        require(module, "onnx")
    line = 'no_such_package is needed for exports to ONNX: pip install "jlab-compress[onnx]"'
    assert str(caught.value) == line


def test_a_package_that_itself_lacks_another_says_so(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import not_there_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'not_there_at_all'"):
        require("half_installed", "onnx")


def test_a_fault_is_explained_by_the_package_that_is_missing():
    told = explained(ModuleNotFoundError("No module named 'ot'", name="ot.bregman"))
    assert re.fullmatch(r'ot is needed for .*: pip install "jlab-compress\[validation\]"', str(told))
    other = ModuleNotFoundError("No module named 'x'", name="x")
    assert explained(other) is other


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [
        ("onnx", "export_onnx", "onnx"),
        ("onnx", "serve_and_compare", "onnx"),
        ("anywidget", "panel", "notebook"),
    ],
)
def test_a_public_name_says_which_extra_it_needs(package, name, extra):
    told = hidden(package, f"import jlab_compress; jlab_compress.{name}")
    assert told == (
        f'ImportError: {package} is needed for {PURPOSES[extra]}: pip install "jlab-compress[{extra}]"'
    )


def test_an_export_says_that_onnxscript_is_missing(tmp_path):
    code = f"""
import torch
from jlab_compress import compress_baseline, export_onnx
net, x = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)), torch.ones(20, 2)
slim = compress_baseline(net, 4, calibration=x, method="magnitude").model
export_onnx(slim, {str(tmp_path / "net.onnx")!r}, x)
"""
    told = 'ImportError: onnxscript is needed for exports to ONNX: pip install "jlab-compress[onnx]"'
    assert hidden("onnxscript", code) == told
    assert list(tmp_path.iterdir()) == []


def test_what_is_lacking_is_said_without_an_import(monkeypatch):
    assert lacking("onnx") is None
    monkeypatch.setitem(sys.modules, "onnx", None)
    told = 'onnx is needed for exports to ONNX: pip install "jlab-compress[onnx]"'
    assert str(lacking("onnx")) == told


def test_every_package_belongs_to_an_extra_with_a_purpose():
    assert set(EXTRAS.values()) == set(PURPOSES)
