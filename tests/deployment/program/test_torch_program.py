"""A .pt2 file is the model: same numbers at other sizes, and nothing is left where it is not."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from jlab_compress.deployment.program.torch_program import export_program
from jlab_compress.errors import ExportMismatchError
from tests.deployment.networks import MODELS, Encoder, normal, slim_mlp


def test_program_runs_without_the_model(tmp_path):
    slim, wide = slim_mlp()
    path = export_program(slim, tmp_path / "m.pt2", normal(3, 8))
    x = normal(11, 8, seed=1)
    torch.testing.assert_close(torch.export.load(path).module()(x), wide.eval()(x))
    assert [p.name for p in tmp_path.iterdir()] == ["m.pt2"]
    with pytest.raises(FileExistsError, match="is there already"):
        export_program(slim, path, normal(3, 8))
    with pytest.raises(ValueError, match=r"ends in \.pt2"):
        export_program(slim, tmp_path / "m.onnx", normal(3, 8))


def test_program_takes_other_lengths(tmp_path):
    path = export_program(Encoder(), tmp_path / "m.pt2", MODELS["encoder"][1])
    ids = torch.arange(28).reshape(4, 7)
    found = torch.export.load(path).module()(ids=ids, mask=torch.ones_like(ids))
    torch.testing.assert_close(found["logits"], Encoder().eval()(ids, torch.ones_like(ids))["logits"])


def test_a_wrong_program_is_not_left(tmp_path, monkeypatch):
    other = nn.Linear(8, 4)
    monkeypatch.setattr("jlab_compress.deployment.program.folding.fold", lambda slim: other.eval())
    with pytest.raises(ExportMismatchError, match=r"of the outputs' norm and .* off, expected at most 1e-05"):
        export_program(slim_mlp()[0], tmp_path / "m.pt2", normal(3, 8))
    assert list(tmp_path.iterdir()) == []


def test_a_program_needs_no_onnx(tmp_path):
    code = (
        "import sys; sys.modules['onnx'] = sys.modules['onnxruntime'] = sys.modules['onnxscript'] = None\n"
        "import torch; from torch import nn; import jlab_compress\n"
        f"path = {str(tmp_path / 'm.pt2')!r}\n"
        "made = jlab_compress.export_program(nn.Linear(3, 2), path, torch.ones(2, 3))\n"
        "print(made.parity[0].gap < 1e-5)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
