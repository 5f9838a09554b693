"""Completion on `%compress` lines, as a front end asks for it, with and without Jedi."""

from types import SimpleNamespace

import pytest
import torch
from IPython.core.completer import provisionalcompleter
from torch import nn

import jlab_compress
from jlab_compress.notebook.kernel import block_cache
from jlab_compress.notebook.magic import completion
from jlab_compress.notebook.magic.completion import complete


@pytest.fixture(params=[True, False], ids=["jedi", "no jedi"])
def session(request, shell, monkeypatch):
    shell.Completer.use_jedi = request.param
    blocks = [("0", None), ("encoder.0.dense", None), ("head", "its width is read elsewhere"), ("a b", None)]
    found = [SimpleNamespace(name=name, locked=locked) for name, locked in blocks]
    monkeypatch.setattr(block_cache, "search_blocks", lambda model: found)
    shell.user_ns |= {
        "net": nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)),
        "network": nn.Linear(2, 2),
        "needle": 3,
        "x": torch.ones(4, 3),
        "torch": torch,
    }
    return shell


def offered(shell, text):
    """What a notebook is offered at the end of a cell, as the words that it inserts."""
    with provisionalcompleter():
        return [c.text for c in shell.Completer.completions(text, len(text))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("%compress ", ["inspect", "run", "sweep", "allocate", "validate", "export", "serve", "panel"]),
        ("%compress ex", ["export"]),
        ("compress ex", ["export"]),
        ("%compress inspect ne", ["net", "network"]),
        ("slim = %compress run ne", ["net", "network"]),
        ("a = 1\nslim = %compress run netw", ["network"]),
        ("%compress validate net ", ["net", "network"]),
        ("%compress run net ", ["0=", "encoder.0.dense=", "polylog"]),
        ("%compress run net 0=4 enc", ["encoder.0.dense="]),
        ("%compress run net 0=po", ["polylog"]),
        ("%compress run net --calibration x 0=4 enc", ["encoder.0.dense="]),
        ("%compress run net 4 --ca", ["--calibration"]),
        ("%compress run net 4 --preserve ", ["dynamics", "function", "moments"]),
        ("%compress run net 4 --preserve f", ["function"]),
        ("%compress run net 4 --calibration need", ["needle"]),
        ("%compress validate net net --optimizer torch.optim.Adag", ["torch.optim.Adagrad"]),
        ("%compress export net a.onnx --inputs x --layout tr", ["triton"]),
        ("%compress serve net models --inputs x --server ", ["triton", "mlserver", "mlflow"]),
        ("%compress inspect net.wei", []),
        ("%compress inspect net nee", ["needle"]),
        ("%compress serve net models nee", ["needle"]),
        ("%compress sweep net 4 nee", ["needle"]),
        ("%compress run net 4 x --effort ", ["quick", "normal", "thorough"]),
    ],
)
def test_what_is_offered(session, text, words):
    assert offered(session, text) == words


def test_an_option_is_offered_once(session):
    words = offered(session, "%compress run net 4 --calibration x --")
    assert "--calibration" not in words
    assert {"--preserve", "--seed", "--plain", "--tolerance", "--text", "--html"} <= set(words)


def test_the_stateful_interface_agrees(session):
    assert session.complete("", "%compress run netw", 18) == ("netw", ["network"])


@pytest.mark.parametrize(
    "line",
    ["%compression r", "x = compress r", "%%compress r", "# %compress r", "print('%compress r", "%compress"],
)
def test_other_lines_are_left_alone(line):
    assert complete(line, {}) == []


@pytest.mark.parametrize(
    "line",
    [
        "%compress nonsense ",
        "%compress run missing ",
        "%compress run 1+ ",
        "%compress run net 4 --calibration f().",
    ],
)
def test_what_is_unknown_offers_nothing(line):
    assert complete(line, {}) == []


def test_a_model_that_cannot_be_read_offers_nothing(session, monkeypatch):
    monkeypatch.setattr(block_cache, "search_blocks", lambda model: "it has no inputs")
    assert complete("%compress run net ", session.user_ns) == []


def test_names_of_hidden_and_foreign_values_are_not_models(session):
    session.user_ns |= {"_net": nn.Linear(1, 1), "neat": 4}
    assert offered(session, "%compress inspect ne") == ["net", "network"]


def test_an_action_whose_package_is_missing_offers_nothing(monkeypatch):
    def missing(action):
        raise ImportError("onnx is needed")

    monkeypatch.setattr(completion, "parser_of", missing)
    assert complete("%compress export net --", {}) == []


def test_blocks_of_a_prepared_model_are_known(session):
    session.user_ns["looked"] = jlab_compress.prepare(session.user_ns["net"], session.user_ns["x"])
    assert offered(session, "%compress run loo") == ["looked"]
    assert offered(session, "%compress run looked ") == ["0=", "polylog"]
