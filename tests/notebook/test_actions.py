"""One table: the front end's copy is current, and a cell and a request of the same form do the same."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress import AIMS
from jlab_compress.deployment.targets import TARGETS
from jlab_compress.notebook.actions import ACTIONS, exported, write
from jlab_compress.notebook.kernel.prepared_cache import looked_at
from jlab_compress.notebook.widget.operations import BUTTONS, results_of
from jlab_compress.public import HOMES, public

FRONT_END = Path(__file__).parents[2] / "labextension"
TABLE = FRONT_END / "src" / "python" / "actions.json"
COMMANDS = json.loads(FRONT_END.joinpath("fixtures", "commands.json").read_text("utf-8"))
ACCEPTED = COMMANDS["accepted"]


def named(one):
    return "-".join([one["command"]["op"], one["command"]["fields"].get("target", "")]).strip("-")


def test_the_front_end_has_this_table():
    command = "python -m jlab_compress.notebook.actions > labextension/src/python/actions.json"
    assert json.loads(TABLE.read_text("utf-8")) == json.loads(json.dumps(exported())), f"run: {command}"


def test_the_command_prints_the_table():
    ran = subprocess.run(
        [sys.executable, "-m", "jlab_compress.notebook.actions"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == TABLE.read_text("utf-8")


@pytest.mark.parametrize("name", ACTIONS)
def test_a_row_is_about_a_public_function_and_its_parameters(name):
    action = ACTIONS[name]
    assert action.function in HOMES
    assert set(action.words) | set(action.says) <= set(action.fields)
    assert [name for name, field in action.fields.items() if not field.help] == []


@pytest.mark.parametrize("name", ACTIONS)
def test_choices_are_those_that_the_docstring_lists(name):
    action = ACTIONS[name]
    for function in {action.function, *(said.of for said in action.says.values() if said.of)}:
        doc = public(function).__doc__
        for field, listed in re.findall(r"^    (\w+) : \{(.*?)\}", doc, re.MULTILINE):
            if field in action.fields:
                assert list(action.fields[field].choices) == ast.literal_eval(f"[{listed}]"), field


def test_every_aim_has_words_for_the_screen():
    assert ACTIONS["run"].fields["preserve"].choices == {name: aim.label for name, aim in AIMS.items()}
    assert ACTIONS["run"].fields["preserve"].choices == ACTIONS["sweep"].fields["preserve"].choices


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_one_row_for_python_and_every_form(name, noted):
    target = TARGETS[name]
    assert ACTIONS["export"].fields["target"].choices[name] == target.label
    made = write(slim="slim", path="here", example_inputs="x", target=name, name="net")
    assert made.called == target.function
    assert ("layout" in made.arguments) == target.is_folder


def test_what_a_target_does_not_take_is_refused():
    with pytest.raises(ValueError, match=r"^overwrite, precision: a torch program \(\.pt2\)|^precision"):
        write(slim="slim", path="a.pt2", example_inputs="x", target="pt2", precision="int8")


@pytest.fixture
def values():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 3))
    slim = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    return {"net": net, "net_slim": slim, "x": torch.randn(120, 6), "y": torch.randint(0, 3, (120,))}


def plain(value):
    """A value in a form that compares: an optimizer by what it makes, tensors by their numbers."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if callable(value) and not isinstance(value, nn.Module) and value is not nn.functional.cross_entropy:
        made = value([torch.zeros(1, requires_grad=True)])
        return type(made).__name__, made.param_groups[0]["lr"]
    return value


def compared(arguments):
    further = arguments.pop("options", {})
    return {name: plain(value) for name, value in {**arguments, **further}.items() if name != "progress"}


@pytest.mark.parametrize("one", ACCEPTED, ids=named)
def test_a_button_does_what_its_cell_does(one, values, noted, monkeypatch):
    for name in {action.function for action in ACTIONS.values()} | {row.function for row in TARGETS.values()}:
        monkeypatch.setitem(vars(jlab_compress), name, noted(name))
    command, scope = one["command"], dict(values)
    exec("\n".join(one["cell"]), scope)
    action = ACTIONS[command["op"]]
    results = results_of(action, command["model"], command["fields"], values, lambda *_: None)
    name = f"net_{action.makes}"
    assert set(results) <= set(scope)
    assert results[name].called == scope[name].called
    assert compared(results[name].arguments) == compared(scope[name].arguments)
    assert ("net_slim" in results) == ("net_slim = " in "".join(one["cell"]))


def test_every_button_has_an_example():
    assert {one["command"]["op"] for one in ACCEPTED} == set(BUTTONS)


def test_predicted_errors_are_those_of_the_chosen_aim(values, noted):
    (command,) = (one["command"] for one in ACCEPTED if one["command"]["op"] == "sweep")
    for aim in AIMS:
        fields = {**command["fields"], "preserve": aim}
        made = results_of(ACTIONS["sweep"], "net", fields, values, lambda *_: None)["net_sweep"]
        assert made.arguments["preserve"] == aim


def test_actions_on_calibration_look_at_the_model_once(values):
    given = {"model": values["net"], "calibration": values["x"], "preserve": "function"}
    run, sweep = (looked_at(ACTIONS[name], given) for name in ("run", "sweep"))
    assert run["model"] is sweep["model"]
    assert run["model"].source() is values["net"]
    assert set(run) == {"model", "preserve"}
    assert looked_at(ACTIONS["export"], given) is given
