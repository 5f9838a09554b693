"""Every demo notebook runs from top to bottom, keeps its promises and is stored without outputs."""

import json
import sys
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "demo_notebooks"
sys.path.insert(0, str(FOLDER))
import run  # noqa: E402

NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))


together = pytest.mark.xdist_group("first notebook")  # one process runs it once for all its tests


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo")
    document = run.execute(FOLDER / "01-compress-a-network.ipynb", directory)
    return directory, document


@together
def test_first_notebook_writes_the_promised_report(first):
    directory, _ = first
    report = json.loads((directory / "report.json").read_text())
    assert report["blocks"] == [{"name": "0", "width_before": 1024, "width_after": 64}]
    assert report["parameters_after"] < report["parameters_before"] / 15
    assert report["accuracy_after"] > report["accuracy_before"] - 0.03
    assert 0 < report["function_gap"] < 0.2
    assert 0 < report["training_gap"] < report["training_gap_random"] / 2
    assert report["onnx_max_abs_diff"] < 1e-4
    assert report["onnx_bytes_after"] < report["onnx_bytes_before"] / 10
    assert 0 < report["latency_ms_after"] < report["latency_ms_before"]
    assert report["versions"]["torch"]
    assert report["seed"] == 0
    assert (directory / "slim.onnx").stat().st_size == report["onnx_bytes_after"]


@together
def test_what_the_notebook_shows_holds_no_script(first):
    _, document = first
    pages = [
        out.data["text/html"]
        for cell in document.cells
        for out in cell.get("outputs", [])
        if "text/html" in out.get("data", {})
    ]
    assert len(pages) >= 4
    assert not any("<script" in page for page in pages)


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if not p.name.startswith("01")], ids=lambda p: p.stem)
def test_notebook_runs(path, tmp_path):
    run.execute(path, tmp_path)
    assert (tmp_path / path.name).exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_stored_without_outputs(path):
    document = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in document.cells if cell.cell_type == "code")


def test_a_failing_cell_is_an_error(tmp_path):
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(broken, tmp_path / "broken.ipynb")
    with pytest.raises(run.CellExecutionError, match="ZeroDivisionError"):
        run.execute(tmp_path / "broken.ipynb", tmp_path / "out")
