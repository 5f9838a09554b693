"""What lies beside a model: a card with every number, sums that hold, a client that Python can read."""

import ast
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jlab_compress.deployment.servers.layouts import LAYOUTS, SERVERS
from jlab_compress.deployment.servers.modelcard import model_card, write_companions
from tests.deployment.onnx.test_export_report import MADE

EXPORT = replace(MADE, path=Path("models/net/3/model.onnx"))
EXAMPLE = {"x": np.ones((2, 8), np.float32)}


def test_a_card_says_how_it_was_made_checked_and_started():
    card = model_card("net", EXPORT, LAYOUTS["mlflow"])
    assert card.startswith("# net\n")
    assert "- `0`: 10 neurons became 6 (kept)." in card
    assert "- Precision float32, opset 18, 100 parameters." in card
    assert "over 3 sets of input sizes is 3.0e-07 of the outputs' norm" in card
    assert "    mlflow models serve -m FOLDER/net/3 -p 8000 --env-manager local\n" in card
    assert "    jlab-compress serve FOLDER\n" in card
    assert str(EXPORT.report) in card
    assert "{" not in card.split("```")[0]


def test_a_model_that_was_not_made_slim_says_so():
    card = model_card("net", replace(EXPORT, plan=None), LAYOUTS["kserve"])
    assert "- The layers have the widths of the torch module." in card
    assert "python client.py HOST:PORT" in card


@pytest.mark.parametrize("name", LAYOUTS)
def test_companions_are_whole(name, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"weights")
    write_companions(tmp_path, "net", EXPORT, EXAMPLE, LAYOUTS[name])
    sums = dict(line.split("  ")[::-1] for line in (tmp_path / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {"README.md", "client.py", "input_example.json", "model.onnx", "report.json"}
    assert all(hashlib.sha256((tmp_path / file).read_bytes()).hexdigest() == sums[file] for file in sums)
    assert ast.get_docstring(ast.parse((tmp_path / "client.py").read_text())).startswith("Send input_example")
    assert "inputs" in json.loads((tmp_path / "input_example.json").read_text())
    assert json.loads((tmp_path / "report.json").read_text())["facts"]["sha256"] == "abc"


def test_every_layout_has_a_server_that_can_be_started_here():
    assert SERVERS == ("triton", "mlserver", "mlflow")
    assert all(set(layout.servers) <= set(SERVERS) and layout.servers for layout in LAYOUTS.values())
