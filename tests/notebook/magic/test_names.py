"""Words of a magic are looked up; nothing that they say is run."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from IPython.core.error import UsageError
from torch import nn

from jlab_compress.notebook.magic.names import did_you_mean, model_names, model_of, text_of, value_of

NET = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
ROWS = torch.arange(12.0).reshape(6, 2)
NAMES = {
    "net": NET,
    "rows": ROWS,
    "models": {"bert": NET},
    "holder": SimpleNamespace(model=NET),
    "torch": torch,
    "n": 2,
    "path": Path("a/b.onnx"),
    "_hidden": NET,
}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("64", 64),
        ("-0.5", -0.5),
        ("None", None),
        ("'a b'", "a b"),
        ("{'0':64,'2':0.5}", {"0": 64, "2": 0.5}),
        ("(1,2)", (1, 2)),
        ("net", NET),
        ("models['bert']", NET),
        ("holder.model", NET),
        ("torch.optim.SGD", torch.optim.SGD),
    ],
)
def test_literals_names_and_paths(word, value):
    assert value_of(word, NAMES) == value


def test_subscripts_take_slices_and_names():
    assert torch.equal(value_of("rows[:n]", NAMES), ROWS[:2])
    assert torch.equal(value_of("rows[1::2,0]", NAMES), ROWS[1::2, 0])
    assert value_of("net[0].weight", NAMES) is NET[0].weight


@pytest.mark.parametrize(
    "word", ["print(1)", "n+1", "[x for x in rows]", "lambda: 1", "__import__('os')", "f'{n}'", "{0:net}"]
)
def test_code_is_refused(word):
    with pytest.raises(UsageError, match=r"give it a name in a cell|without spaces"):
        value_of(word, NAMES)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nett", r"no name 'nett' here; did you mean 'net'"),
        ("quaternion", r"no name 'quaternion' here; define it first"),
        ("net.encoder", "'net.encoder' does not exist: .*no attribute 'encoder'"),
        ("models['gpt']", "does not exist: 'gpt'"),
        ("n[0]", "does not exist: 'int' object is not subscriptable"),
        ("1 2", "neither a name nor a literal"),
        ("\0", "neither a name nor a literal"),
    ],
)
def test_what_is_missing_is_said(word, message):
    with pytest.raises(UsageError, match=message):
        value_of(word, NAMES)


def test_a_word_that_looks_like_a_call_has_no_effect():
    calls = []
    with pytest.raises(UsageError, match="would have to be evaluated"):
        value_of("append(1)", {"append": calls.append})
    assert calls == []


def test_model_of_takes_modules_and_results_that_carry_one():
    assert model_of("net", NAMES) is NET
    assert model_of("holder", NAMES) is NET
    with pytest.raises(UsageError, match=r"'rows' is of type Tensor; expected a torch.nn.Module"):
        model_of("rows", NAMES)
    with pytest.raises(UsageError, match=r"no model 'nte' here; did you mean 'net'"):
        model_of("nte", NAMES)


def test_model_names_leave_out_what_is_hidden_or_foreign():
    assert model_names(NAMES) == ["net"]


def test_text_is_taken_as_written_unless_it_names_a_path():
    assert text_of("slim.onnx", NAMES) == "slim.onnx"
    assert text_of("'slim file.onnx'", NAMES) == "slim file.onnx"
    assert text_of("path", NAMES) == str(Path("a/b.onnx"))
    assert text_of("net", NAMES) == "net"


def test_did_you_mean_is_silent_about_strangers():
    assert did_you_mean("zebra", ["run", "export"]) == ""
    assert did_you_mean("sweeep", ["run", "sweep"]) == "; did you mean 'sweep'?"
