"""`%compress` hands names and options to the public functions and shows what comes back."""

import pytest
import torch
from torch import nn

from jlab_compress import prepare
from jlab_compress.notebook import actions
from jlab_compress.notebook.actions import ACTIONS


@pytest.fixture
def session(shell, noted):
    """A shell with a model and data, in which the public functions only note what they were given."""
    shell.user_ns |= {
        "net": nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)),
        "x": torch.ones(4, 3),
        "plan": {"0": 2},
        "batches": [],
        "loss": nn.functional.mse_loss,
        "torch": torch,
    }
    shell.user_ns["slim"] = run(shell, "run net 4 x")
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


@pytest.mark.parametrize("line", ["inspect net x", "inspect net --inputs x"])
def test_inspect(session, line):
    net, x = session.user_ns["net"], session.user_ns["x"]
    result = run(session, line)
    assert (result.called, result.arguments) == ("find_blocks", {"model": net, "example_inputs": x})
    assert run(session, "inspect net").arguments == {"model": net}


@pytest.mark.parametrize("calibration", ["x", "--calibration x"])
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
def test_run_reads_widths_and_then_the_data(session, words, widths, calibration):
    result = run(session, f"run net {words} {calibration}")
    assert result.called == "compress"
    assert result.arguments == {
        "model": session.user_ns["net"],
        "widths": widths,
        "calibration": session.user_ns["x"],
        "preserve": "dynamics",
    }


def test_options_stand_anywhere(session):
    assert run(session, "run net --calibration x 4").arguments["widths"] == 4
    assert run(session, "run --seed 3 net 4 x").arguments["seed"] == 3


def test_run_passes_its_options(session):
    line = "run net 4 x[:2] --preserve function --effort quick --seed 3 --plain --round-to 8"
    given = run(session, line).arguments
    assert given.pop("calibration").shape == (2, 3)
    assert given == {
        "model": session.user_ns["net"],
        "widths": 4,
        "preserve": "function",
        "effort": "quick",
        "seed": 3,
        "plain": True,
        "round_to": 8,
    }


def test_a_budget_takes_the_place_of_widths(session):
    shared = run(session, "run net --parameters 0.25 x --seed 3").arguments["widths"]
    assert shared.called == "allocate_widths"
    assert shared.arguments == {
        "model": session.user_ns["net"],
        "calibration": session.user_ns["x"],
        "parameters": 0.25,
        "macs": None,
        "latency": None,
        "seed": 3,
    }


def test_allocate_gives_the_widths_alone(session):
    given = run(session, "allocate net x --macs 0.5 --blocks 0,encoder.2").arguments
    assert (given["macs"], given["blocks"]) == (0.5, ["0", "encoder.2"])
    session.user_ns["chosen"] = ["0"]
    assert run(session, "allocate net x --macs 0.5 --blocks chosen").arguments["blocks"] == ["0"]


def test_a_prepared_model_brings_its_calibration(session):
    looked = session.user_ns["looked"] = prepare(session.user_ns["net"], session.user_ns["x"])
    given = run(session, "run looked 4 --seed 3").arguments
    assert given == {"model": looked, "widths": 4, "seed": 3, "preserve": "dynamics"}
    assert run(session, "sweep looked 4 8").arguments["widths"] == [4, 8]


def test_tolerance_takes_the_place_of_widths(session):
    given = run(session, "run net --tolerance 0.01 x").arguments
    assert given["tolerance"] == 0.01
    assert "widths" not in given
    session.run_line_magic("config", "Compress.tolerance = 0.02")
    assert run(session, "run net x").arguments["tolerance"] == 0.02
    given = run(session, "run net 64 x").arguments
    assert given["widths"] == 64
    assert "tolerance" not in given


def test_options_give_the_defaults(session):
    session.run_line_magic("config", "Compress.width = 32")
    session.run_line_magic("config", "Compress.preserve = 'moments'")
    session.run_line_magic("config", "Compress.steps = 5")
    session.run_line_magic("config", "Compress.opset = 21")
    session.run_line_magic("config", "Compress.target = 'pt2'")
    compressed = run(session, "run net x").arguments
    assert compressed["widths"] == 32
    assert compressed["preserve"] == "moments"
    assert run(session, "sweep net x").arguments["preserve"] == "moments"
    assert run(session, VALIDATE).arguments["steps"] == 5
    assert run(session, VALIDATE + " --steps 9").arguments["steps"] == 9
    assert run(session, "export net a.onnx x").arguments["opset"] == 21
    assert run(session, "export net a.onnx x --opset 18").arguments["opset"] == 18
    assert run(session, "serve net models x").arguments["options"] == {"opset": 21}
    assert run(session, "export net x").arguments["path"] == "net.pt2"


VALIDATE = "validate net slim --batches batches --loss loss --optimizer torch.optim.SGD"


def test_validate_passes_the_effort_of_its_references(session):
    given = run(session, f"{VALIDATE} --effort quick").arguments
    assert given["effort"] == "quick"


def test_validate_takes_a_result_as_the_slim_model(session):
    result = run(session, VALIDATE + " --rate 0.5 --held-out x --metric loss")
    names = session.user_ns
    assert result.called == "validate"
    given = result.arguments
    made = given.pop("optimizer")([torch.zeros(1, requires_grad=True)])
    assert (type(made), made.param_groups[0]["lr"]) == (torch.optim.SGD, 0.5)
    assert given == {
        "original": names["net"],
        "slim": names["slim"].model,
        "batches": names["batches"],
        "loss_fn": names["loss"],
        "steps": 200,
        "held_out": names["x"],
        "metric": names["loss"],
    }
    plain = run(session, "validate net slim batches loss --optimizer torch.optim.SGD").arguments
    assert plain["optimizer"] is torch.optim.SGD
    assert plain["loss_fn"] is names["loss"]
    timed = run(session, VALIDATE + " --seconds 20 --no-progress").arguments
    assert "steps" not in timed
    assert (timed["seconds"], timed["progress"]) == (20.0, False)


@pytest.mark.parametrize("calibration", ["x", "--calibration x"])
def test_sweep(session, calibration):
    result = run(session, f"sweep net 8 0.5 polylog {calibration} --preserve function")
    assert result.called == "sweep"
    assert result.arguments["widths"] == [8, 0.5, "polylog"]
    assert result.arguments["calibration"] is session.user_ns["x"]
    assert result.arguments["preserve"] == "function"
    assert "widths" not in run(session, f"sweep net {calibration}").arguments


def test_export_writes_a_file_or_a_repository(session):
    file = run(session, "export slim 'out dir/slim.onnx' x")
    assert (file.called, file.arguments["path"]) == ("export_onnx", "out dir/slim.onnx")
    assert file.arguments["slim"] is session.user_ns["slim"].model
    assert file.arguments["example_inputs"] is session.user_ns["x"]
    tree = run(session, "export slim models --inputs x --layout triton --name digits")
    assert tree.called == "export_repository"
    given = {name: tree.arguments[name] for name in ("directory", "name", "layout", "version")}
    assert given == {"directory": "models", "name": "digits", "layout": "triton", "version": "next"}
    options = run(session, "export slim a.onnx x --precision int8 --original net --overwrite").arguments
    assert (options["precision"], options["overwrite"]) == ("int8", True)
    assert options["original"] is session.user_ns["net"]
    assert "calibration" not in options
    ranges = run(session, "export slim a.onnx x --precision int8 --calibration x").arguments
    assert ranges["calibration"] is session.user_ns["x"]


def test_where_no_path_is_written_the_usual_one_is_taken(session):
    assert run(session, "export slim x").arguments["path"] == "slim.onnx"
    assert run(session, "export slim x --layout mlflow").arguments["directory"] == "mlflow_models"
    assert run(session, "serve slim x").arguments["directory"] == "model_repository"


def test_export_writes_a_torch_program(session, capsys):
    program = run(session, "export slim a.pt2 x --overwrite")
    names = session.user_ns
    assert program.called == "export_program"
    assert program.arguments == {
        "slim": names["slim"].model,
        "path": "a.pt2",
        "example_inputs": names["x"],
        "overwrite": True,
    }
    line = "export slim a.pt2 x --precision int8"
    told = "%compress export: precision: a torch program (.pt2) does not take this; leave it out"
    assert told in failure(session, capsys, line)


def test_serve_writes_a_repository_and_asks_a_server(session):
    served = run(session, "serve slim models x --name digits --original net")
    assert served.called == "serve_and_compare"
    assert served.arguments == {
        "slim": session.user_ns["slim"].model,
        "example_inputs": session.user_ns["x"],
        "directory": "models",
        "name": "digits",
        "original": session.user_ns["net"],
    }
    other = run(session, "serve slim models --inputs x --layout mlflow --server mlflow").arguments
    assert (other["layout"], other["server"], other["name"]) == ("mlflow", "mlflow", "slim")


def test_panel(session):
    assert run(session, "panel").arguments == {}
    for line in ("panel net --calibration x", "panel net x"):
        result = run(session, line)
        assert result.called == "panel"
        assert result.arguments == {"model": session.user_ns["net"], "calibration": session.user_ns["x"]}


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
    assert session.user_ns["kept"].arguments["model"] is session.user_ns["net"]


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
            "unknown action 'shrink'; expected one of inspect, run, sweep, allocate, validate, export,",
        ),
        ("inspect", "the following are required: model; `%compress?` shows examples"),
        ("inspect nett", "there is no model 'nett' here; did you mean 'net'?"),
        ("inspect x", "'x' is of type Tensor; expected a torch.nn.Module"),
        ("inspect net x x", "unrecognized arguments: x"),
        ("run net", "the following are required: --calibration"),
        ("run net 4", "--calibration cannot be '4'; write the name of a value last, or after --calibration"),
        ("validate net slim batches loss", "the following arguments are required: --optimizer"),
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

    monkeypatch.setattr(actions, "public", lambda name: fail)
    with pytest.raises(ValueError, match="from the user's model"):
        run(session, "run net 4 --calibration x")


def test_a_mistake_inside_the_package_keeps_its_traceback(session, monkeypatch):
    monkeypatch.setattr(actions, "public", lambda name: lambda model: None)
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


def test_every_example_of_the_help_is_understood(session):
    session.user_ns |= {"x_train": torch.ones(16, 3), "models": {"bert": session.user_ns["net"]}}
    doc = session.object_inspect("%compress")["docstring"]
    lines = [line.strip() for line in doc.split("::", 1)[1].splitlines() if line.startswith("    ")]
    examples = [line for line in lines if "%compress" in line]
    assert {line.partition("%compress ")[2].split()[0] for line in examples} == set(ACTIONS)
    for line in examples:
        assert session.run_cell(line).error_in_exec is None, line


def test_config_lists_every_option(session, capsys):
    session.run_line_magic("config", "Compress")
    text = capsys.readouterr().out
    assert all(f"Compress.{name}" in text for name in ("width", "preserve", "tolerance", "steps", "target"))
