"""`%compress` hands names and options to the public functions and shows what comes back."""

import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress.notebook.magic.parsers import PARSERS
from jlab_compress.report import Report

WRITERS = ("allocate_widths", "export_program", "export_repository", "serve_and_compare")


class Result:
    """Stands for what a stage gives back."""

    def __init__(self, called, args, kwargs):
        self.called, self.args, self.kwargs = called, args, kwargs
        self.model = nn.Linear(2, 2)
        self.report = Report("Title of the report", "<b>done</b>")

    def __str__(self):
        return str(self.report)

    def _repr_html_(self):
        return self.report._repr_html_()


@pytest.fixture
def session(shell, monkeypatch):
    """A shell with a model and data, in which the public functions only note what they were given."""

    def fake(called):
        return lambda *args, **kwargs: Result(called, args, kwargs)

    for name in ("find_blocks", "compress", "sweep", "validate", "export_onnx", "panel", *WRITERS):
        monkeypatch.setitem(vars(jlab_compress), name, fake(name))
    shell.user_ns |= {
        "net": nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)),
        "x": torch.ones(4, 3),
        "plan": {"0": 2},
        "batches": [],
        "loss": nn.functional.mse_loss,
        "torch": torch,
    }
    shell.user_ns["slim"] = run(shell, "run net 4 --calibration x")
    return shell


def run(shell, line):
    return shell.run_line_magic("compress", line)


def failure(shell, capsys, line):
    """The one line that a person sees for a faulty line, run as a cell."""
    result = shell.run_cell(f"%compress {line}")
    assert result.error_in_exec is not None
    text = "".join(capsys.readouterr()).strip()
    assert text.startswith("UsageError: ")
    assert "\n" not in text
    return text


def test_inspect(session):
    result = run(session, "inspect net")
    assert (result.called, result.args) == ("find_blocks", (session.user_ns["net"], None))
    assert run(session, "inspect net --inputs x").args[1] is session.user_ns["x"]


@pytest.mark.parametrize(
    ("words", "widths"),
    [
        ("64", 64),
        ("0.5", 0.5),
        ("polylog", "polylog"),
        ("plan", {"0": 2}),
        ("{'0':4}", {"0": 4}),
        ("0=64 encoder.2=0.5 3=polylog", {"0": 64, "encoder.2": 0.5, "3": "polylog"}),
        ("", 0.25),
    ],
)
def test_run_reads_widths(session, words, widths):
    result = run(session, f"run net {words} --calibration x")
    assert result.called == "compress"
    assert result.args == (session.user_ns["net"], widths)
    assert result.kwargs["calibration"] is session.user_ns["x"]
    assert run(session, f"run net --calibration x {words}").args[1] == widths


def test_run_passes_its_options(session):
    given = run(session, "run net 4 --calibration x[:2] --preserve function --seed 3 --plain").kwargs
    assert given["calibration"].shape == (2, 3)
    assert (given["preserve"], given["seed"], given["plain"]) == ("function", 3, True)


def test_a_budget_takes_the_place_of_widths(session):
    shared = run(session, "run net --parameters 0.25 --calibration x --seed 3").args[1]
    assert (shared.called, shared.args[0]) == ("allocate_widths", session.user_ns["net"])
    assert shared.kwargs == {"calibration": session.user_ns["x"], "parameters": 0.25, "seed": 3}
    assert run(session, "run net 4 --calibration x").args[1] == 4


def test_tolerance_takes_the_place_of_widths(session):
    given = run(session, "run net --tolerance 0.01 --calibration x")
    assert (given.args[1], given.kwargs["tolerance"]) == (None, 0.01)
    session.run_line_magic("config", "Compress.tolerance = 0.02")
    assert run(session, "run net --calibration x").kwargs["tolerance"] == 0.02
    result = run(session, "run net 64 --calibration x")
    assert result.args[1] == 64
    assert result.kwargs["tolerance"] is None


def test_options_give_the_defaults(session):
    session.run_line_magic("config", "Compress.width = 32")
    session.run_line_magic("config", "Compress.preserve = 'moments'")
    session.run_line_magic("config", "Compress.steps = 5")
    session.run_line_magic("config", "Compress.opset = 21")
    compressed = run(session, "run net --calibration x")
    assert compressed.args[1] == 32
    assert compressed.kwargs["preserve"] == "moments"
    assert run(session, VALIDATE).kwargs["steps"] == 5
    assert run(session, VALIDATE + " --steps 9").kwargs["steps"] == 9
    assert run(session, "export net a.onnx --inputs x").kwargs["opset"] == 21
    assert run(session, "export net a.onnx --inputs x --opset 18").kwargs["opset"] == 18


VALIDATE = "validate net slim --batches batches --loss loss --optimizer torch.optim.SGD"


def test_validate_takes_a_result_as_the_slim_model(session):
    result = run(session, VALIDATE + " --rate 0.5 --held-out x --metric loss")
    names = session.user_ns
    assert result.called == "validate"
    assert result.args == (names["net"], names["slim"].model, names["batches"], names["loss"])
    assert result.kwargs["held_out"] is names["x"]
    assert result.kwargs["metric"] is names["loss"]
    made = result.kwargs["optimizer"]([torch.zeros(1, requires_grad=True)])
    assert (type(made), made.param_groups[0]["lr"]) == (torch.optim.SGD, 0.5)
    assert run(session, VALIDATE).kwargs["optimizer"] is torch.optim.SGD
    timed = run(session, VALIDATE + " --seconds 20").kwargs
    assert (timed["steps"], timed["seconds"]) == (None, 20.0)


def test_sweep(session):
    result = run(session, "sweep net 8 0.5 polylog --calibration x")
    assert result.called == "sweep"
    assert result.args == (session.user_ns["net"], [8, 0.5, "polylog"])
    assert run(session, "sweep net --calibration x").args[1] is None


def test_export_writes_a_file_or_a_repository(session):
    file = run(session, "export slim 'out dir/slim.onnx' --inputs x")
    assert (file.called, file.args[1]) == ("export_onnx", "out dir/slim.onnx")
    assert file.args[0] is session.user_ns["slim"].model
    tree = run(session, "export slim models --inputs x --layout triton --name digits")
    assert (tree.called, tree.args[1:3]) == ("export_repository", ("models", "digits"))
    assert tree.kwargs["layout"] == "triton"
    options = run(session, "export slim a.onnx --inputs x --precision int8 --original net --overwrite").kwargs
    assert (options["precision"], options["overwrite"]) == ("int8", True)
    assert options["original"] is session.user_ns["net"]
    assert options["calibration"] is None
    ranges = run(session, "export slim a.onnx --inputs x --precision int8 --calibration x").kwargs
    assert ranges["calibration"] is session.user_ns["x"]


def test_export_writes_a_torch_program(session, capsys):
    program = run(session, "export slim a.pt2 --inputs x --overwrite")
    assert (program.called, program.args[1], program.kwargs) == (
        "export_program",
        "a.pt2",
        {"overwrite": True},
    )
    line = "export slim a.pt2 --inputs x --precision int8"
    assert "a .pt2 file takes --inputs and --overwrite only" in failure(session, capsys, line)


def test_serve_writes_a_repository_and_asks_a_server(session):
    served = run(session, "serve slim models --inputs x --name digits --original net")
    assert (served.called, served.args[0]) == ("serve_and_compare", session.user_ns["slim"].model)
    assert (served.kwargs["directory"], served.kwargs["name"]) == ("models", "digits")
    assert (served.kwargs["layout"], served.kwargs["server"]) == ("triton", None)
    other = run(session, "serve slim models --inputs x --layout mlflow --server mlflow").kwargs
    assert (other["layout"], other["server"], other["name"]) == ("mlflow", "mlflow", "slim")


def test_panel(session):
    assert run(session, "panel").args == (None,)
    result = run(session, "panel net --calibration x")
    assert (result.called, result.kwargs["calibration"]) == ("panel", session.user_ns["x"])


def test_assignment_keeps_the_result_and_shows_nothing(session, capsys):
    session.run_cell("kept = %compress run net 4 --calibration x")
    assert session.user_ns["kept"].called == "compress"
    assert capsys.readouterr().out == ""


def test_text_and_html_show_the_report_at_once(session, capsys, monkeypatch):
    session.run_cell("kept = %compress run net 4 --calibration x --text")
    assert capsys.readouterr().out == "Title of the report\n<b>done</b>\n"
    shown = []
    monkeypatch.setattr(session.display_pub, "publish", shown.append)
    session.run_cell("kept = %compress run net 4 --calibration x --html")
    assert "&lt;b&gt;done" in shown[0]["text/html"]
    assert shown[0]["text/plain"].startswith("Title of the report")


def test_a_semicolon_at_the_end_is_no_word(session):
    assert run(session, "inspect net;").called == "find_blocks"


def test_names_of_a_function_are_seen(session):
    session.run_cell(
        "def look(inner):\n    found = %compress inspect inner\n    return found\nkept = look(net)"
    )
    assert session.user_ns["kept"].args[0] is session.user_ns["net"]


def test_braces_and_dollars_are_not_expanded(session, capsys):
    session.user_ns["calls"] = []
    assert "would have to be evaluated" in failure(
        session, capsys, "run net {calls.append(1)} --calibration x"
    )
    assert session.user_ns["calls"] == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rnu net", "unknown action 'rnu'; did you mean 'run'?"),
        (
            "shrink net",
            "unknown action 'shrink'; expected one of inspect, run, sweep, validate, export, serve, panel",
        ),
        ("inspect", "required: model"),
        ("inspect nett", "there is no model 'nett' here; did you mean 'net'?"),
        ("inspect x", "'x' is of type Tensor; expected a torch.nn.Module"),
        ("inspect net slim", "unrecognized arguments: slim"),
        ("run net 4", "required: --calibration"),
        ("run net 4 --calibraton x", "unknown option '--calibraton'; did you mean '--calibration'?"),
        ("run net 4 --calibration xx", "there is no name 'xx' here"),
        ("run net 4 --calibration x.foo", "'x.foo' does not exist"),
        ("run net 4 --calibration f(x)", "'f(x)' would have to be evaluated"),
        ("run net 4 5 --calibration x", "write one width, or BLOCK=WIDTH"),
        ("run net 4 0=5 --calibration x", "write one width, or BLOCK=WIDTH"),
        ("run net 4 --calibration x --preserve shape", "invalid choice: 'shape'"),
        ("run net 4 --calibration x --seed one", "invalid int value: 'one'"),
        ("run 'net 4", "a quote is not closed"),
        ("export net a.onnx --inputs x --layout torch", "invalid choice: 'torch'"),
    ],
)
def test_a_faulty_line_is_one_sentence(session, capsys, line, message):
    assert message in failure(session, capsys, line)


def test_a_refusal_of_the_package_is_one_sentence(shell, capsys):
    shell.user_ns |= {
        "net": nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)),
        "x": torch.ones(9, 3),
    }
    text = failure(shell, capsys, "run net 9 --calibration x")
    assert text == "UsageError: %compress run: widths: block 0 has 8 neurons, so expected 1 to 8, got 9"


def test_a_fault_of_other_code_keeps_its_traceback(session, monkeypatch):
    def fail(*args, **kwargs):
        raise ValueError("from the user's model")

    monkeypatch.setitem(vars(jlab_compress), "compress", fail)
    with pytest.raises(ValueError, match="from the user's model"):
        run(session, "run net 4 --calibration x")


def test_a_mistake_inside_the_package_keeps_its_traceback(session, monkeypatch):
    monkeypatch.setitem(vars(jlab_compress), "compress", lambda model: None)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        run(session, "run net 4 --calibration x")


@pytest.mark.parametrize(
    "option", ["steps = 0", "opset = 3", "preserve = 'shape'", "width = -1", "width = []"]
)
def test_a_wrong_option_value_is_refused_and_the_old_one_kept(session, option):
    magics = next(c for c in session.configurables if type(c).__name__ == "Compress")
    before = dict(magics.trait_values(config=True))
    session.run_line_magic("config", f"Compress.{option}")
    assert magics.trait_values(config=True) == before


def test_help_is_generated_for_every_action_and_option(session, capsys):
    run(session, "")
    text = capsys.readouterr().out
    for name, parser in PARSERS.items():
        assert f"usage: %compress {name}" in text
        assert all(option in text for option in parser.options)
    assert session.object_inspect("%compress")["docstring"].strip() in text
    run(session, "run --help")
    assert capsys.readouterr().out.startswith("usage: %compress run")


def test_every_example_of_the_help_is_understood(session):
    session.user_ns |= {"x_train": torch.ones(16, 3), "models": {"bert": session.user_ns["net"]}}
    doc = session.object_inspect("%compress")["docstring"]
    lines = [line.strip() for line in doc.split("::", 1)[1].split("inspect\n---")[0].splitlines()]
    examples = [line for line in lines if "%compress" in line]
    assert len(examples) >= 8
    for line in examples:
        assert session.run_cell(line).error_in_exec is None, line


def test_config_lists_every_option(session, capsys):
    session.run_line_magic("config", "Compress")
    text = capsys.readouterr().out
    assert all(f"Compress.{name}" in text for name in ("width", "preserve", "tolerance", "steps", "target"))
