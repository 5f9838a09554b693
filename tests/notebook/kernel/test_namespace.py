"""What is alive in a namespace, read without running a word of what it holds."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress.notebook.kernel.messages import Digest
from jlab_compress.notebook.kernel.namespace import survey
from jlab_compress.report import Report, Reported

KINDS = {
    "Blocks": "blocks",
    "Compression": "compression",
    "ExportReport": "export",
    "Program": "export",
    "Repository": "export",
    "ServedComparison": "served",
    "Sweep": "sweep",
    "Validation": "validation",
}


def test_every_result_of_the_package_says_its_kind():
    for name in jlab_compress.__all__:
        getattr(jlab_compress, name)
    ours = [cls for cls in Reported.__subclasses__() if cls.__module__.startswith("jlab_compress.")]
    assert {cls.__name__: cls.kind for cls in ours} == KINDS


def test_a_result_is_found_by_what_it_is_wherever_its_class_stands():
    @dataclass(frozen=True, repr=False)
    class Measured(Reported):
        report: Report
        kind = "measure"

    made = Measured(Report("Measured"))
    assert survey({"made": made, "report": made.report}).results == (("made", "measure", made),)


def test_looking_loads_neither_torch_nor_anything_that_needs_it():
    code = (
        "import sys; from jlab_compress.notebook.kernel.namespace import survey; "
        "print(survey({'a': object()}).torch, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]


def test_the_door_of_the_side_panel_reaches_the_same_channel(plain_shell, monkeypatch):
    from IPython.core import getipython

    from jlab_compress.notebook.kernel.channel import register, unregister

    monkeypatch.setattr(getipython, "get_ipython", lambda: plain_shell)
    fixture = Path(__file__).parents[3] / "labextension" / "fixtures" / "messages.json"
    channel = eval(json.loads(fixture.read_text("utf-8"))["door"])  # what the side panel sends
    assert channel is register(plain_shell)
    unregister(plain_shell)


def refuse(*_, **__):
    raise AssertionError("code of the user ran")


def proud(*bases):
    """Return a class whose own class answers comparisons by itself, so that it has no hash."""
    return type("Proud", (type,), {"__eq__": refuse})("Value", bases, {})


class Tagged(torch.Tensor):
    __torch_function__ = classmethod(refuse)
    shape = dtype = device = property(refuse)


def tagged():
    net = nn.Linear(3, 2)
    net._parameters["weight"] = torch.ones(2, 3).as_subclass(Tagged)
    return net


def overriding(**members):
    """Return a layer whose class gets members of its own afterwards."""
    made = type("Own", (nn.Linear,), {})(3, 2)
    for name, value in members.items():
        setattr(type(made), name, value)
    return made


OWN_WAYS = {
    "class without a hash": lambda: proud(nn.Linear)(3, 2),
    "modules": lambda: overriding(modules=refuse, named_modules=refuse, children=refuse),
    "parameters": lambda: overriding(parameters=refuse, named_parameters=refuse, buffers=refuse),
    "attributes": lambda: overriding(__getattribute__=refuse, __getattr__=refuse),
    "comparison": lambda: overriding(__eq__=refuse, __hash__=refuse, __bool__=refuse, __len__=refuse),
    "text": lambda: overriding(__repr__=refuse, __str__=refuse),
    "tensors": tagged,
}


@pytest.mark.parametrize("way", OWN_WAYS)
def test_a_model_is_read_without_asking_its_class(way):
    names = {"before": nn.Linear(2, 2), "own": OWN_WAYS[way](), "after": torch.ones(2)}
    found = survey(names)
    assert [(name, structure.parameters) for name, _, structure in found.models] == [
        ("before", 6),
        ("own", 8),
    ]
    assert ([name for name, _ in found.values], found.complete) == (["after"], True)
    assert isinstance(found.key, int)
    assert [row["name"] for row in Digest("1").state(found)["models"]] == ["before", "own"]


@pytest.mark.parametrize("thing", [lambda: proud()(), lambda: [proud()()], lambda: (proud()(),)])
def test_other_values_are_not_asked_either(thing):
    found = survey({"own": thing(), "after": torch.ones(2)})
    assert ([name for name, _ in found.values], found.complete) == (["after"], True)


def test_what_cannot_be_read_hides_no_other_name():
    broken = nn.Linear(3, 2)
    broken._modules["part"] = "no module"
    found = survey({"broken": broken, "net": nn.Linear(2, 2)})
    assert ([name for name, *_ in found.models], found.complete) == (["net"], False)
