"""Every row of the table of targets is what its function does."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import jlab_compress
from jlab_compress.deployment.targets import TARGETS
from tests.deployment.networks import mlp

CHOICES = {"opset", "precision", "calibration", "original", "overwrite"}


@pytest.mark.parametrize("name", TARGETS)
def test_a_row_writes_what_it_says(name, tmp_path, monkeypatch):
    target = TARGETS[name]
    monkeypatch.chdir(tmp_path)
    path = target.usual.format(model="net")
    write = getattr(jlab_compress, target.function)
    write(mlp(), example_inputs=torch.ones(2, 8), **target.place(path, "net"))
    assert Path(path).is_dir() == target.is_folder
    if target.is_folder:
        assert Path(path, "net", "1").is_dir()
    else:
        with pytest.raises(FileExistsError, match="is there already"):
            write(mlp(), example_inputs=torch.ones(2, 8), **target.place(path, "net"))


@pytest.mark.parametrize("name", TARGETS)
def test_a_row_lists_the_choices_that_its_function_takes(name):
    target = TARGETS[name]
    taken = set(inspect.signature(getattr(jlab_compress, target.function)).parameters)
    if "options" in taken:  # handed on
        taken |= set(inspect.signature(jlab_compress.export_onnx).parameters) - {"overwrite"}
    assert target.options == CHOICES & taken


def test_names_and_labels_are_told_apart():
    assert [name for name, target in TARGETS.items() if name != target.name] == []
    assert len({target.label for target in TARGETS.values()}) == len(TARGETS)


def test_the_table_needs_no_onnx():
    code = "import sys; sys.modules['onnx'] = sys.modules['onnxruntime'] = None\n"
    code += "from jlab_compress.deployment.targets import TARGETS; print(*TARGETS)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["onnx", "pt2", "triton", "kserve", "openvino", "mlflow"]
