"""The code keeps its plan: floors, rooms, circles, depth, parcels. Each check has a case that fails."""

import subprocess
import sys
from collections import Counter

import pytest

from tests.house.structure import (
    PACKAGE,
    circles,
    functions,
    graph,
    imported,
    longest_chain,
    parameters,
    parcels,
    sources,
)

# From the ground. A file imports from lower floors and from its own.
FLOORS = (
    "errors",
    "drafts",
    "extras",
    "public",
    "report",
    "surroundings",
    "core",
    "fitting",
    "execution",
    "graph",
    "slim",
    "training",
    "inspection",
    "compression",
    "data",
    "validation",
    "deployment",
    "notebook",
)
# From the ground: rooms and files of a floor, which import from earlier entries. Files of one entry may
# import one another, rooms of one entry may not.
ROOMS = {
    "core": (
        "cloud cells polynomials features caratheodory reweighting thinning sizing evaluation recombination",
        "quadrature",
        "compress_cloud",
    ),
    "fitting": (
        "layer effort criteria fit fit_rows held_out post_norm duplicates displacement",
        "solvers kernels",
        "moving",
        "aims",
        "forecast",
    ),
    "compression": (
        "prepared prepare notes plain signals",
        "joint",
        "fits",
        "widths slim_report",
        "pipeline",
        "interrupted",
        "compress budget",
    ),
    "validation": ("roles verdict", "measures", "training report", "validate"),
    "deployment": ("program", "onnx", "servers", "targets"),
    "notebook": ("fields", "actions kernel", "magic", "widget extension"),
}
NUMERICS = {"torch", "numpy", "scipy"}
# The packages that a floor may import beside the numerics; files that stand alone import none at all.
OTHERS = {
    "execution": {"tqdm"},
    "slim": {"safetensors"},
    "compression": {"tqdm"},
    "validation": {"ot", "matplotlib", "tqdm"},
    "deployment": {
        "onnx",
        "onnxruntime",
        "onnxscript",
        "tritonclient",
        "google",
        "mlflow",
        "mlserver",
        "tqdm",
        "uvicorn",
    },
    "notebook": {"IPython", "ipywidgets", "anywidget", "traitlets", "comm", "tqdm"},
}
BARE = {"errors", "drafts", "extras", "public", "report"}
DEEPEST, MOST_FILES, MOST_PARAMETERS, LONGEST_FILE = 12, 12, 8, 350
# Public functions take what their users may set; everything behind them takes less.
DOORS = {"compress", "allocate_widths", "validate", "export_onnx"}

FILES = sources()
IMPORTS = graph(FILES)


def floor(name: str) -> str:
    return name.partition(".")[0]


def upward(name: str, source: str) -> list[str]:
    """Imports of a file that do not lead to a lower floor."""
    here = FLOORS.index(floor(name))
    found = []
    for module, item in imported(source):
        if module == PACKAGE or module.startswith(f"{PACKAGE}."):
            target = floor(module.removeprefix(PACKAGE).strip(".") or item)
            if target in FLOORS and FLOORS.index(target) > here:
                found.append(f"{name} imports {module}, which is on a higher floor")
            if target not in FLOORS:
                found.append(f"{name} imports {module} {item}, which is on no floor")
    return found


def foreign(name: str, source: str) -> list[str]:
    """Packages that a file's floor may not know."""
    allowed = OTHERS.get(floor(name), set()) | (set() if floor(name) in BARE else NUMERICS) | {PACKAGE}
    tops = {module.partition(".")[0] for module, _ in imported(source)}
    return sorted(tops - allowed - sys.stdlib_module_names)


def place(name: str) -> int:
    """Where a file stands in the order of its floor."""
    within = name.split(".")[1]
    places = [i for i, entry in enumerate(ROOMS[floor(name)]) if within in entry.split()]
    assert len(places) == 1, f"{name} has no place in the order of its floor; write it down in ROOMS"
    return places[0]


def allowed(name: str, other: str) -> bool:
    """Whether a file may import another one of its floor."""
    rooms = [path.split(".")[1] for path in (name, other) if path.count(".") > 1]
    apart = len(rooms) == 2 and rooms[0] != rooms[1]
    return place(other) < place(name) or (place(other) == place(name) and not apart)


def out_of_order(imports):
    """Imports inside a floor that lead to a later room."""
    return [
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in others
        if floor(name) == floor(other) in ROOMS and not allowed(name, other)
    ]


def crowded(names):
    """Rooms with more files than a newcomer takes in at one look."""
    return [
        room for room, count in Counter(n.rpartition(".")[0] for n in names).items() if count > MOST_FILES
    ]


def loaded(source: str) -> list[str]:
    """Functions with too many parameters."""
    long = [f for f in functions(source) if len(parameters(f)) > MOST_PARAMETERS]
    return [f.name for f in long if f.name not in DOORS]


@pytest.mark.parametrize("name", FILES)
def test_imports_lead_downward_and_stay_within_the_packages_of_the_floor(name):
    assert upward(name, FILES[name]) == []
    assert foreign(name, FILES[name]) == []


def test_an_upward_and_a_foreign_import_are_caught():
    assert upward("core.cloud", f"import {PACKAGE}.slim.plan")
    assert upward("slim.plan", f"def f():\n    from {PACKAGE}.data.dataset import compress_dataset")
    assert upward("slim.plan", f"from {PACKAGE} import compress")
    assert not upward("slim.plan", f"from {PACKAGE}.core.cloud import Cloud")
    assert foreign("core.cloud", "import onnx") == ["onnx"]
    assert foreign("report", "import torch") == ["torch"]
    assert not foreign("core.cloud", "import torch, math")


def test_rooms_of_a_floor_stand_in_order():
    for name in FILES:
        if floor(name) in ROOMS:
            place(name)
    assert out_of_order(IMPORTS) == []


def test_a_room_that_imports_from_a_later_one_is_caught():
    assert out_of_order({"fitting.layer": {"fitting.aims.dynamics"}})
    assert out_of_order({"fitting.solvers.nnls": {"fitting.kernels.actions"}})
    assert not out_of_order({"fitting.aims.dynamics": {"fitting.layer", "fitting.aims.baselines"}})
    with pytest.raises(AssertionError, match="has no place"):
        place("fitting.attic.trunk")


def test_no_file_imports_itself_through_others():
    assert circles(IMPORTS) == []


def test_a_circle_is_caught_also_one_for_types_and_one_inside_a_function():
    files = {
        "a": f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {PACKAGE}.b import B",
        "b": f"def f():\n    import {PACKAGE}.c",
        "c": f"from {PACKAGE} import a",
    }
    assert circles(graph(files)) == [["a", "b", "c"]]


def test_the_longest_chain_of_imports_is_short():
    chain = ["__init__", *longest_chain(IMPORTS)]  # the package's own file imports every public name
    assert len(chain) <= DEEPEST, " > ".join(chain)


def test_a_long_chain_is_measured():
    links = {str(i): frozenset([str(i + 1)]) for i in range(20)} | {"20": frozenset()}
    assert len(longest_chain(links)) == 21


def test_a_room_holds_at_most_twelve_files():
    assert crowded(FILES) == []
    assert crowded([f"attic.box{i}" for i in range(13)]) == ["attic"]


def test_a_file_has_at_most_350_lines():
    assert [name for name, source in FILES.items() if source.count("\n") > LONGEST_FILE] == []


@pytest.mark.parametrize("name", FILES)
def test_functions_take_few_things_and_no_parcel_without_types(name):
    assert loaded(FILES[name]) == []
    assert parcels(FILES[name]) == []


def test_a_long_signature_and_a_parcel_are_caught():
    assert loaded("def f(a, b, c, d, e, *, g, h, i, j): ...") == ["f"]
    assert not loaded("def f(a, b, c, d, e, *, g, h, i): ...")
    assert parcels("def f():\n    options: dict[str, Any] = {'seed': 0}\n    g(**options)") == [
        "f spreads options"
    ]
    assert not parcels("def f(a, **kwargs):\n    fields = read(a)\n    g(**fields, **a.fields, **kwargs)")


def test_import_is_light():
    code = (
        f"import sys, {PACKAGE}; print(sorted({{m.split('.')[0] for m in sys.modules}} & "
        "{'onnx', 'onnxruntime', 'IPython', 'matplotlib', 'torch'}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
