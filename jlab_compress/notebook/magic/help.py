"""What `%compress?`, `%compress help` and `%compress ACTION --help` say."""

from __future__ import annotations

from functools import cache

from jlab_compress.notebook.actions import ACTIONS
from jlab_compress.notebook.magic.parsers import Parser

EXAMPLES = """\
Examples
--------
Every value is a name in your namespace (`net`, `x_train[:512]`, `models["bert"]`) or a literal; an action
gives back what its Python function gives. The data come last, or after their option::

    %load_ext jlab_compress
    %compress inspect net x_train
    %compress sweep net 16 32 64 x_train
    result = %compress run net 64 x_train
    %compress run net 0=64 2=0.5 --calibration x_train --preserve function
    %compress run net --parameters 0.25 x_train
    widths = %compress allocate net x_train --macs 0.5
    %compress validate net result batches loss --optimizer torch.optim.SGD --rate 0.1
    %compress export result slim.onnx x_train[:8] --original net
    %compress export result models --inputs x_train[:8] --layout triton --name digits
    %compress export result slim.pt2 x_train[:8]
    %compress serve result models x_train[:8] --name digits --original net
    %compress panel net x_train
    %config Compress
"""
OVERVIEW = f"""Look at a model, make it slim, prove it and ship it.

{EXAMPLES}
`%compress {"|".join(ACTIONS)} --help` lists the options of one action, `%compress help` all of them.
"""


@cache
def parser_of(action: str) -> Parser:
    """Return the parser of an action, made when it is first asked for.

    Raises
    ------
    ImportError
        If the action needs a package that is not installed.
    """
    return Parser(ACTIONS[action])


def help_of(action: str) -> str:
    """Return the options of an action, or the sentence that says why there are none here."""
    try:
        return parser_of(action).format_help().strip()
    except ImportError as fault:
        return str(fault)


def whole_help() -> str:
    """Return the overview and the options of every action."""
    parts = [f"{name}\n{'-' * len(name)}\n{help_of(name)}" for name in ACTIONS]
    return "\n\n".join([OVERVIEW.strip(), *parts])
