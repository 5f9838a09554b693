"""README keeps its word: its code and magics run, its menu, commands, extras and links are there."""

import ast
import inspect
import re
import tomllib
from pathlib import Path

import pytest
import torch
from torch import nn

import jlab_compress
from jlab_compress.notebook import fields
from jlab_compress.public import HOMES, public
from tests.notebook.conftest import noting, plain_shell

__all__ = ["plain_shell"]

ROOT = Path(__file__).parents[2]
README = ROOT.joinpath("README.md").read_text("utf-8")
EXTRAS = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
TARGETS = re.findall(r"^([\w-]+):", ROOT.joinpath("Makefile").read_text("utf-8"), re.MULTILINE)
FRONT_END = "\n".join(path.read_text("utf-8") for path in (ROOT / "labextension" / "src").rglob("*.ts"))


def fences(text, language):
    """The contents of code fences in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def spans(text):
    """Code inside a line, also where it goes on in the next one."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def magics(text):
    """The magic lines, in the order in which a reader comes to them."""
    fenced = [line for fence in fences(text, r"\w*") for line in fence.splitlines()]
    return [line for line in [*spans(text), *fenced] if re.match(r"(\w+ = )?%\w", line)]


def calls(text):
    """Calls of public functions in the middle of a sentence, as name and syntax tree."""
    for span in spans(text):
        try:
            node = ast.parse(span, mode="eval").body
        except SyntaxError:
            continue
        name = ast.unparse(node.func).removeprefix("jlab_compress.") if isinstance(node, ast.Call) else ""
        if name in HOMES:
            yield name, node


def unfitting(text):
    """What is wrong with calls in sentences: arguments that the function does not take."""
    found = []
    for name, node in calls(text):
        try:
            inspect.signature(public(name)).bind_partial(
                *(arg for arg in node.args if ast.unparse(arg) != "..."),
                **{word.arg: word.value for word in node.keywords},
            )
        except TypeError as fault:
            found.append(f"{name}: {fault}")
    return found


def missing(text):
    """What a text names that is not there: make targets, extras, files and entries of a menu."""
    lines = [line for fence in fences(text, r"\w*") for line in fence.splitlines()] + spans(text)
    commands = [match[1] for line in lines if (match := re.match(r"make ([\w-]+)", line))]
    extras = [
        extra
        for line in lines
        if line.startswith("pip ") or re.fullmatch(r"\[[\w,]+\]", line)
        for group in re.findall(r"\[([\w,]+)\]", line)
        for extra in group.split(",")
    ]
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if not link.startswith("http")]
    menus = re.findall(r"\*(\w+) > ([^*]+)\*", text)
    return (
        [f"make {name}" for name in commands if name not in TARGETS]
        + [f"[{extra}]" for extra in extras if extra not in EXTRAS]
        + [link for link in links if not (ROOT / link).exists()]
        + [f"{menu} > {' '.join(label.split())}" for menu, label in menus if not in_menu(menu, label)]
    )


def in_menu(menu, label):
    label = re.escape(" ".join(label.split()))
    return f"{menu.lower()}Menu.addGroup" in FRONT_END and re.search(
        rf"label: trans\.__\('{label}'\)", FRONT_END
    )


@pytest.fixture(scope="module")
def session():
    """What a reader has: a network, its data, and what the code fences made of them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x, y = torch.randn(400, 20), torch.randint(0, 3, (400,))
        net = nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 3))
    return {
        "net": net,
        "x": x[:300],
        "batches": [(x[i : i + 50], y[i : i + 50]) for i in range(0, 300, 50)],
        "loss_fn": nn.functional.cross_entropy,
        "make_optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        "x_test": x[300:],
        "y_test": y[300:],
        "slim": nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3)),
    }


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Run the same code with less effort, and write files into a room of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(inspect.unwrap(public("validate")).__kwdefaults__, "steps", 6)
    for name in ("compress", "sweep", "allocate_widths"):
        monkeypatch.setitem(inspect.unwrap(public(name)).__kwdefaults__, "effort", "quick")


@pytest.mark.parametrize("code", fences(README, "python"))
def test_the_code_runs(code, session):
    exec(compile(code, "README.md", "exec"), session)


@pytest.mark.parametrize("line", magics(README))
def test_a_magic_line_runs(line, session, plain_shell, monkeypatch):
    def unserved(name):
        return noting(name) if name == "serve_and_compare" else public(name)

    monkeypatch.setattr(fields, "public", unserved)  # no server is started here
    jlab_compress.load_ipython_extension(plain_shell)
    plain_shell.user_ns |= {name: value for name, value in session.items() if not name.startswith("__")}
    result = plain_shell.run_cell(line)
    jlab_compress.unload_ipython_extension(plain_shell)
    assert result.error_before_exec is None
    assert result.error_in_exec is None
    assert result.result is not None or not line.startswith("%compress ")


def test_there_is_code_and_there_are_magics():
    assert fences(README, "python")
    assert len(magics(README)) >= 4


def test_calls_in_sentences_have_arguments_that_exist():
    assert unfitting(README) == []


def test_what_it_names_is_there():
    assert missing(README) == []


WRONG = """
```
make nothing
pip install ".[nonsense]"
```
`compress(net, wdths=3)` and `make none`, then *View > Model Compression* or the [guide](docs/nowhere.md); or
`pip install "jlab-compress[all,nowhere]"`.
"""


def test_the_checks_notice_what_is_wrong():
    assert unfitting(WRONG) == ["compress: got an unexpected keyword argument 'wdths'"]
    assert missing(WRONG) == [
        "make nothing",
        "make none",
        "[nonsense]",
        "[nowhere]",
        "docs/nowhere.md",
        "View > Model Compression",
    ]


def test_a_magic_that_goes_on_in_the_next_line_is_one():
    assert magics(
        "so `%compress run net\n  --parameters 0.25 x`, then\n```\nslim = %compress run net x\n```\n"
    ) == [
        "%compress run net --parameters 0.25 x",
        "slim = %compress run net x",
    ]
