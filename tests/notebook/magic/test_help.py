"""Help is made from the table of actions, and says so where an action cannot be had."""

from dataclasses import replace

from jlab_compress.notebook import fields
from jlab_compress.notebook.actions import ACTIONS
from jlab_compress.notebook.magic import help as texts
from jlab_compress.notebook.magic.help import help_of, parser_of, whole_help


def test_every_action_and_option_is_in_the_whole_help():
    text = whole_help()
    for name in ACTIONS:
        assert f"usage: %compress {name}" in text
        assert all(option in text for option in parser_of(name).options)


def test_the_shell_shows_the_overview_and_on_a_line_the_options(shell, capsys):
    shell.run_line_magic("compress", "")
    assert capsys.readouterr().out.strip() == whole_help()
    assert whole_help().startswith(shell.object_inspect("%compress")["docstring"].strip())
    shell.run_line_magic("compress", "run --help")
    assert capsys.readouterr().out.startswith("usage: %compress run MODEL [WIDTHS ...] CALIBRATION [options]")


def test_an_option_says_its_default_and_its_choices():
    text = help_of("run")
    assert "--effort {quick,normal,thorough}" in text
    assert "(default: normal)" in text


def test_help_of_an_action_whose_package_is_missing_is_its_sentence(monkeypatch):
    def missing(name):
        raise ImportError('onnx is needed for exports to ONNX: pip install "jlab-compress[onnx]"')

    monkeypatch.setattr(fields, "public", missing)
    monkeypatch.setattr(texts, "parser_of", parser_of.__wrapped__)
    monkeypatch.setitem(ACTIONS, "export", replace(ACTIONS["export"]))
    assert help_of("export").endswith('pip install "jlab-compress[onnx]"')
    assert "usage: %compress run" in whole_help()
