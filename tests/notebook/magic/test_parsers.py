"""Words without a name are shared out over the places of an action; options say what they are for."""

import pytest
from IPython.core.error import UsageError

from jlab_compress.notebook.magic.help import parser_of
from jlab_compress.notebook.magic.parsers import split_line


@pytest.mark.parametrize(
    ("action", "line", "given"),
    [
        ("inspect", "net", {"model": "net"}),
        ("inspect", "net x", {"model": "net", "example_inputs": "x"}),
        ("run", "net x", {"model": "net", "calibration": "x"}),
        ("run", "net 1 2 x", {"model": "net", "widths": ["1", "2"], "calibration": "x"}),
        ("run", "net 1 --calibration x 2", {"model": "net", "widths": ["1", "2"], "calibration": "x"}),
        ("run", "net --seed=3 x", {"model": "net", "seed": 3, "calibration": "x"}),
        ("export", "net x", {"slim": "net", "example_inputs": "x"}),
        ("export", "net a x", {"slim": "net", "path": "a", "example_inputs": "x"}),
        ("export", "net a --inputs x", {"slim": "net", "path": "a", "example_inputs": "x"}),
        ("serve", "net --path a x", {"slim": "net", "directory": "a", "example_inputs": "x"}),
        ("panel", "", {}),
        ("panel", "net x --text", "unknown option '--text'"),
        ("run", "net", "required: --calibration"),
        ("export", "net", "required: --inputs"),
        ("inspect", "net x y", "unrecognized arguments: y"),
        ("validate", "net slim b", "required: --optimizer"),
        ("run", "net x --plain 3 --effort fast", "invalid choice: 'fast'"),
    ],
)
def test_words_find_their_places(action, line, given):
    parser = parser_of(action)
    if isinstance(given, dict):
        assert parser.parse_line(line.split()) == given
    else:
        with pytest.raises(UsageError, match=given):
            parser.parse_line(line.split())


def test_a_prepared_model_needs_no_word_for_calibration():
    given = parser_of("run").parse_line(["looked", "8"], known={"calibration"})
    assert given == {"model": "looked", "widths": ["8"]}


@pytest.mark.parametrize(
    ("action", "words", "field"),
    [
        ("run", [], "model"),
        ("run", ["net"], "widths"),
        ("run", ["net", "1", "2"], "widths"),
        ("run", ["--seed", "3"], "model"),
        ("run", ["--plain"], "model"),
        ("inspect", ["net"], "example_inputs"),
        ("serve", ["net", "a"], "example_inputs"),
        ("serve", ["net", "a", "x"], None),
    ],
)
def test_the_place_of_the_next_word(action, words, field):
    found = parser_of(action).field_after(words)
    assert (None if found is None else found.name) == field


def test_what_may_follow_an_option():
    parser = parser_of("run")
    assert parser.choices_after("--effort") == ["quick", "normal", "thorough"]
    assert parser.choices_after("--calibration") == []
    assert parser.choices_after("--plain") is None
    assert parser_of("validate").choices_after("--optimizer") == []  # any optimizer of the namespace


def test_a_line_is_split_at_blanks_outside_of_quotes():
    assert split_line(" run net 'a b.onnx' ; ") == ["run", "net", "'a b.onnx'"]
    with pytest.raises(UsageError, match='a quote is not closed in "run \'net"'):
        split_line("run 'net")
