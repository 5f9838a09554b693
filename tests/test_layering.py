"""Imports point downward, and each floor keeps to the third-party packages it may know."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jlab_compress"
FLOORS = {
    "errors": 0,
    "extras": 0,
    "public": 1,
    "report": 1,
    "core": 2,
    "fitting": 3,
    "execution": 4,
    "graph": 5,
    "slim": 6,
    "training": 7,
    "inspection": 8,
    "compression": 9,
    "data": 9,
    "validation": 10,
    "deployment": 11,
    "notebook": 12,
}
NUMERICS = {"torch", "numpy", "scipy"}
ALLOWED = {
    "errors": set(),
    "extras": set(),
    "public": set(),
    "report": set(),
    "core": NUMERICS,
    "fitting": NUMERICS,
    "execution": NUMERICS | {"tqdm"},
    "graph": NUMERICS,
    "slim": NUMERICS | {"safetensors"},
    "training": NUMERICS,
    "inspection": NUMERICS,
    "compression": NUMERICS | {"tqdm"},
    "data": NUMERICS,
    "validation": NUMERICS | {"ot", "matplotlib", "tqdm"},
    "deployment": NUMERICS
    | {"onnx", "onnxruntime", "onnxscript", "tritonclient", "google", "mlflow", "mlserver", "tqdm"},
    "notebook": NUMERICS | {"IPython", "ipywidgets", "anywidget", "traitlets", "matplotlib", "comm", "tqdm"},
}
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def floor_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import; write the full name"
            names.add(node.module or "")
            if node.module == "jlab_compress":
                names |= {f"jlab_compress.{alias.name}" for alias in node.names}
    return names


def violations(floor: str, source: str) -> list[str]:
    faults = []
    for name in imported_modules(source):
        top = name.split(".")[0]
        if top == "jlab_compress" and name.count("."):
            target = name.split(".")[1]
            if target != floor and FLOORS[target] >= FLOORS[floor]:
                faults.append(f"{floor} imports {name}, which is not on a lower floor")
        elif top not in sys.stdlib_module_names and top != "jlab_compress" and top not in ALLOWED[floor]:
            faults.append(f"{floor} may not import {top}")
    return faults


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downward(path):
    assert violations(floor_of(path), path.read_text()) == []


def test_the_table_catches_an_upward_and_a_foreign_import():
    assert violations("core", "import jlab_compress.slim.conversion")
    assert violations("slim", "from jlab_compress.data import dataset")
    assert violations("core", "import onnx")
    assert not violations("slim", "from jlab_compress.core.cloud import Cloud\nimport torch, math")


def test_import_is_light():
    code = (
        "import sys, jlab_compress; print(sorted({m.split('.')[0] for m in sys.modules} & "
        "{'onnx', 'onnxruntime', 'IPython', 'dask', 'matplotlib', 'torch'}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
