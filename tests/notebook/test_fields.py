"""Fields are read off signature and docstring: what changes there changes in every form."""

import inspect

import pytest

from jlab_compress.notebook.fields import Action, Says, described, fields_of
from jlab_compress.public import public


def cut(model: "nn.Module", share: "float | None" = None, *, kind="soft", plain: bool = False, more=None):  # noqa: F821
    """Cut a model.

    More words.

    Parameters
    ----------
    model : nn.Module
        The original; it stays.
    share, plain : float
        As in `allocate_widths`.
    kind : {"soft", "hard"}
        How it is cut. There are two ways.

    Returns
    -------
    kind : str
        Not a parameter.
    """


def test_kinds_come_from_annotations_and_from_what_a_row_says():
    found = fields_of(cut, {"kind": Says("choice", option="how", choices=lambda: {"soft": "Softly"})})
    assert {name: (f.kind, f.required, f.default, f.positional) for name, f in found.items()} == {
        "model": ("model", True, None, True),
        "share": ("number", False, None, True),
        "kind": ("choice", False, "soft", False),
        "plain": ("flag", False, False, False),
    }
    assert (found["kind"].option, found["kind"].choices) == ("how", {"soft": "Softly"})
    assert found["model"].option == "model"


def test_a_parameter_of_unknown_type_needs_a_row():
    assert "more" not in fields_of(cut, {})
    assert fields_of(cut, {"more": Says("data")})["more"].kind == "data"


def test_help_is_the_first_sentence_of_the_docstring():
    told = described(cut)
    assert (told["model"], told["kind"]) == ("The original.", "How it is cut.")
    assert "Not a parameter." not in told.values()


def test_help_that_points_elsewhere_is_taken_from_there():
    assert described(public("sweep"))["calibration"] == described(public("compress"))["calibration"]
    assert described(cut)["share"] == "As in `allocate_widths`."  # it has no parameter of this name


def test_calibration_is_required_though_a_prepared_model_brings_it():
    assert not fields_of(cut, {"more": Says("data")})["more"].required
    assert fields_of(cut, {"more": Says("calibration")})["more"].required


def test_another_default_in_the_signature_is_another_default_of_the_action(monkeypatch):
    row = ("run", "compress", "compression", ("model",))
    before = Action(*row).fields["seed"].default
    monkeypatch.setitem(inspect.unwrap(public("compress")).__kwdefaults__, "seed", 7)
    assert (before, Action(*row).fields["seed"].default) == (0, 7)


@pytest.mark.parametrize("name", ["compress", "sweep", "allocate_widths", "validate", "export_onnx"])
def test_every_parameter_is_described(name):
    function = public(name)
    parameters = set(inspect.signature(function).parameters)
    assert parameters - set(described(function)) == set()
