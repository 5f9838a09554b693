"""What may be written after `%compress`: one parser for each action, from which help and completion come."""

from __future__ import annotations

import argparse
import shlex
from typing import NoReturn

from IPython.core.error import UsageError

from jlab_compress.notebook.magic.names import did_you_mean

_MODEL = "the model: a torch.nn.Module"
PRESERVE = ("dynamics", "function", "moments")
PRECISIONS = ("float32", "float16", "int8")
LAYOUTS = ("triton", "kserve", "openvino", "mlflow")
TARGETS = ("onnx", "pt2", *LAYOUTS)
BUDGETS = ("parameters", "macs", "latency")
SERVERS = ("triton", "mlserver", "mlflow")
SLIM = "the slim model, or what `%%compress run` gave back"

EXAMPLES = """\
Examples
--------
Every value is a name in your namespace (`net`, `x_train[:512]`, `models["bert"]`) or a literal;
an action gives back what the Python function of the same name gives::

    %load_ext jlab_compress
    %compress inspect net
    %compress sweep net 16 32 64 --calibration x_train
    result = %compress run net 64 --calibration x_train
    %compress run net 0=64 2=0.5 --calibration x_train --preserve function
    %compress run net --parameters 0.25 --calibration x_train
    %compress validate net result --batches batches --loss loss --optimizer torch.optim.SGD --rate 0.1
    %compress export result slim.onnx --inputs x_train[:8] --original net
    %compress export result models --inputs x_train[:8] --layout triton --name digits
    %compress export result slim.pt2 --inputs x_train[:8]
    %compress serve result models --inputs x_train[:8] --name digits --original net
    %compress panel net --calibration x_train
    %config Compress
"""


class Parser(argparse.ArgumentParser):
    """The words of one action; a fault is one UsageError, never an exit."""

    def __init__(self, action: str, description: str) -> None:
        super().__init__(
            f"%compress {action}",
            description=description,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, width=88),
            add_help=False,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise the fault as IPython shows it: one line without a traceback."""
        raise UsageError(f"{self.prog}: {message}; `%compress?` shows examples")

    @property
    def options(self) -> list[str]:
        """The options, such as `--calibration`."""
        return list(self._option_string_actions)

    def choices_after(self, word: str) -> list[str] | None:
        """Return what may follow an option: its choices, [] for any value, None if it takes no value."""
        action = self._option_string_actions.get(word)
        return None if action is None or action.nargs == 0 else list(action.choices or ())

    def n_positionals(self, words: list[str]) -> int:
        """Return how many of the words are neither options nor their values."""
        after = ["", *words]
        return sum(
            not word.startswith("--") and self.choices_after(before) is None
            for before, word in zip(after, words, strict=False)
        )

    def parse_line(self, words: list[str]) -> argparse.Namespace:
        """Return the words by name.

        Raises
        ------
        UsageError
            If a word is missing, too many, or an unknown option.
        """
        for word in words:
            if word.startswith("--") and word.partition("=")[0] not in self.options:
                self.error(f"unknown option {word!r}{did_you_mean(word, self.options)}")
        return self.parse_intermixed_args(words)


def split_line(line: str) -> list[str]:
    """Return the words of a line; quotes stay, a semicolon at the end goes.

    Raises
    ------
    UsageError
        If a quote is not closed.
    """
    try:
        return shlex.split(line.strip().removesuffix(";"), posix=False)
    except ValueError:
        raise UsageError(f"%compress: a quote is not closed in {line!r}") from None


def _inspect() -> Parser:
    parser = Parser("inspect", "List the blocks: what can be made slimmer, and why the rest cannot.")
    parser.add_argument("model", help=_MODEL)
    parser.add_argument("--inputs", metavar="X", help="example inputs: blocks are confirmed by running them")
    return parser


def _run() -> Parser:
    parser = Parser("run", "Make a slim model; the original stays as it is.")
    parser.add_argument("model", help=_MODEL)
    parser.add_argument("widths", nargs="*", help="one for all blocks or BLOCK=WIDTH: 64, 0.25 or polylog")
    parser.add_argument("--tolerance", metavar="T", help="the predicted error that the widths must meet")
    for budget in BUDGETS:
        parser.add_argument(f"--{budget}", type=float, metavar="S", help=f"share of the {budget} to keep")
    parser.add_argument("--plain", action="store_true", help="stock layers with multiplicity 1 (ReLU only)")
    return _calibrated(parser)


def _sweep() -> Parser:
    parser = Parser("sweep", "Show the predicted error against width, before anything is cut.")
    parser.add_argument("model", help=_MODEL)
    parser.add_argument("widths", nargs="*", help="the widths to look at")
    return _calibrated(parser)


def _validate() -> Parser:
    parser = Parser("validate", "Train copies of both models side by side; judge if they train alike.")
    parser.add_argument("model", help=_MODEL)
    parser.add_argument("slim", help=SLIM)
    parser.add_argument("--batches", metavar="B", required=True, help="a loader or list of (inputs, targets)")
    parser.add_argument("--loss", metavar="F", required=True, help="loss(outputs, targets), one number")
    parser.add_argument("--optimizer", metavar="O", required=True, help="a class such as torch.optim.SGD")
    parser.add_argument("--rate", type=float, metavar="LR", help="passed to the optimizer as lr")
    parser.add_argument("--steps", type=int, metavar="N", help="training steps (default: Compress.steps)")
    parser.add_argument("--seconds", type=float, metavar="S", help="time to train, in place of steps")
    parser.add_argument("--held-out", metavar="X", help="(inputs, targets) that are not trained on")
    parser.add_argument("--metric", metavar="F", help="metric(outputs, targets) on the held-out rows")
    return parser


def _export() -> Parser:
    parser = Parser("export", "Write a file or a server repository, and prove that it agrees.")
    parser.add_argument("model", help=SLIM)
    parser.add_argument("path", help="a file .onnx or .pt2, or with --layout the folder")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    return _written(parser)


def _serve() -> Parser:
    parser = Parser("serve", "Write a repository, start a server on it, compare its answers with torch.")
    parser.add_argument("model", help=SLIM)
    parser.add_argument("path", help="the folder of the repository; each call adds a version")
    parser.add_argument("--server", choices=SERVERS, help="default: Triton where it is set up")
    return _written(parser)


def _written(parser: Parser) -> Parser:
    parser.add_argument("--inputs", metavar="X", required=True, help="example inputs with more than one row")
    parser.add_argument("--opset", type=int, metavar="K", help="ONNX opset (default: Compress.opset)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the weights")
    parser.add_argument("--calibration", metavar="X", help="for int8: fixes the ranges of the activations")
    parser.add_argument("--original", metavar="M", help="the original model, to measure before and after")
    parser.add_argument("--layout", choices=LAYOUTS, help="the server that the repository is for")
    parser.add_argument("--name", help="the name under which the server offers the model")
    return parser


def _panel() -> Parser:
    parser = Parser("panel", "Open the in-cell panel.")
    parser.add_argument("model", nargs="?", help="the model that is shown first")
    parser.add_argument("--calibration", metavar="X", help="the calibration batch")
    return parser


def _calibrated(parser: Parser) -> Parser:
    parser.add_argument("--calibration", metavar="X", required=True, help="the calibration batch")
    parser.add_argument("--preserve", choices=PRESERVE, help="what is kept (default: Compress.preserve)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="same seed, same bits (default: 0)")
    return parser


def _shown(parser: Parser) -> Parser:
    parser.add_argument("--text", action="store_true", help="print the report, also when it is assigned")
    parser.add_argument("--html", action="store_true", help="show the card, also when it is assigned")
    return parser


PARSERS = {
    "inspect": _shown(_inspect()),
    "run": _shown(_run()),
    "sweep": _shown(_sweep()),
    "validate": _shown(_validate()),
    "export": _shown(_export()),
    "serve": _shown(_serve()),
    "panel": _panel(),
}

OVERVIEW = "\n\n".join(
    ["Look at a model, make it slim, prove it and ship it.", EXAMPLES.strip()]
    + [f"{name}\n{'-' * len(name)}\n{parser.format_help().strip()}" for name, parser in PARSERS.items()]
)
