"""What an action takes, read off the public function behind it: its signature and its docstring.

A magic, the in-cell panel and the side panel show the same fields with the same defaults, because none of
them writes one down.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from jlab_compress.public import public

Kind = Literal[
    "model",
    "calibration",
    "data",
    "example",
    "batches",
    "loss",
    "optimizer",
    "widths",
    "grid",
    "names",
    "choice",
    "number",
    "count",
    "flag",
    "text",
    "path",
]
Choices = Mapping[str, str]  # what is chosen, and the words for it on screen
Function = Callable[..., Any]

# What an annotation says of a parameter; what it does not say, a row of the table of actions does.
_KINDS: Mapping[str, Kind] = {
    "bool": "flag",
    "int": "count",
    "float": "number",
    "str": "text",
    "nn.Module": "model",
    "str | Path": "path",
}
_SENTENCE = re.compile(r".*?[.;](?=\s|$)", re.DOTALL)
_ELSEWHERE = re.compile(r"As (?:in|for) `(\w+)`[.:]")


@dataclass(frozen=True)
class Says:
    """What neither signature nor docstring says of a parameter.

    Parameters
    ----------
    kind : str
        How its value is given: by the name of a model or of data, as a number, as one of several choices ...
    option : str
        Its word on a magic's line, where that is not the parameter's own name.
    choices : callable
        Gives what may be chosen.
    of : str
        The public function whose parameter it is, where this one only hands it on.
    """

    kind: Kind
    option: str = ""
    choices: Callable[[], Choices] = dict
    of: str = ""


@dataclass(frozen=True)
class Field:
    """One parameter of a public function as a magic or a form shows it.

    Parameters
    ----------
    name, option : str
        The parameter, and its word on a magic's line.
    kind : str
        As in `Says`.
    required : bool
        Whether it must be given: there is no default, or only a prepared model brings it along.
    default : object
        The function's own.
    help : str
        The first sentence of what the docstring says.
    choices : mapping of str to str
        Values to offer and their words on screen; for the kind "choice" there are no others.
    positional : bool
        Whether a cell gives it without its name.
    """

    name: str
    option: str
    kind: Kind
    required: bool
    default: Any
    help: str
    choices: Choices
    positional: bool = False

    @property
    def many(self) -> bool:
        """Whether a magic takes several words for it."""
        return self.kind in ("widths", "grid")


@dataclass(frozen=True)
class Action:
    """One thing that a notebook can ask for, in a cell, by a magic or by a button.

    Parameters
    ----------
    name : str
        The word after `%compress`, and the name of a panel's request.
    function : str
        The public function that a cell calls.
    makes : str
        What the result of a model ``net`` is called: ``net_`` and this.
    words : tuple of str
        Parameters that a magic takes without their names, in this order.
    says : mapping of str to Says
        What the signature does not say; a parameter of a type unknown here is left out without it.
    through : callable, optional
        Called in place of the function where one word on a line means more than one call; its own parameters
        are fields too.
    """

    name: str
    function: str
    makes: str
    words: tuple[str, ...]
    says: Mapping[str, Says] = field(default_factory=dict)
    through: Function | None = None

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """What it takes, by the names of parameters."""
        found = fields_of(public(self.function), self.says)
        further = {} if self.through is None else fields_of(self.through, self.says)
        for name, said in self.says.items():
            if said.of:
                further[name] = fields_of(public(said.of), self.says)[name]
        return found | {name: one for name, one in further.items() if name not in found or one.help}

    @property
    def prepares(self) -> bool:
        """Whether it looks at a model on calibration, so that it also takes a prepared model."""
        return any(field.kind == "calibration" for field in self.fields.values())

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.through or public(self.function)) or "").partition("\n")[0]

    def call(self, /, **given: Any) -> Any:
        """Carry it out."""
        return (self.through or public(self.function))(**given)


def fields_of(function: Function, says: Mapping[str, Says]) -> dict[str, Field]:
    """Return the fields of a function, in the order of its parameters.

    Examples
    --------
    >>> def cut(model, *, share: float | None = None, seed: int = 0):
    ...     '''Cut a model.
    ...
    ...     Parameters
    ...     ----------
    ...     share, seed : number
    ...         As it says. More follows.
    ...     '''
    >>> [(f.name, f.kind, f.default, f.help) for f in fields_of(cut, {}).values()]
    [('share', 'number', None, 'As it says.'), ('seed', 'count', 0, 'As it says.')]
    """
    told = described(function)
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        said = says.get(name) or _by_annotation(parameter)
        if said is not None:
            bare = parameter.default is parameter.empty
            found[name] = Field(
                name,
                said.option or name,
                said.kind,
                bare or said.kind == "calibration",
                None if bare else parameter.default,
                told.get(name, ""),
                said.choices(),
                parameter.kind is parameter.POSITIONAL_OR_KEYWORD,
            )
    return found


def described(function: Function) -> dict[str, str]:
    """Return the first sentence of a numpy docstring on each parameter; "As in `f`" is looked up in f."""
    text = inspect.getdoc(function) or ""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n---|\Z)", text, re.DOTALL | re.MULTILINE)
    found = {}
    for entry in re.split(r"\n(?=\S)", section[1].strip()) if section else []:
        head, _, body = entry.partition("\n")
        for name in head.partition(" : ")[0].split(","):
            found[name.strip(" *")] = _first_sentence(name.strip(" *"), " ".join(body.split()))
    return found


def _first_sentence(name: str, text: str) -> str:
    elsewhere = _ELSEWHERE.match(text)
    if elsewhere is not None:
        return described(public(elsewhere[1])).get(name, text)
    sentence = _SENTENCE.match(text)
    return (sentence[0] if sentence else text).replace(";", ".")


def _by_annotation(parameter: inspect.Parameter) -> Says | None:
    written = parameter.annotation
    text = written if isinstance(written, str) else inspect.formatannotation(written)
    kind = _KINDS.get(text.removesuffix(" | None").removesuffix(" | Prepared"))
    return None if kind is None or parameter.kind is parameter.VAR_KEYWORD else Says(kind)
