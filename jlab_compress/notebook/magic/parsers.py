"""What may be written after `%compress`: the fields of each action as words and options of a line."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

from IPython.core.error import UsageError

from jlab_compress.notebook.fields import Action, Field
from jlab_compress.notebook.magic.names import did_you_mean

SHOWN = {
    "--text": "print the report, also when it is assigned",
    "--html": "show the card, also when it is assigned",
}
_TYPES = {"number": float, "count": int}


class Parser(argparse.ArgumentParser):
    """The words of one action; a fault is one UsageError, never an exit.

    Parameters
    ----------
    action : Action
        Its fields become options; those among its words may also stand on the line without a name.
    """

    def __init__(self, action: Action) -> None:
        super().__init__(
            f"%compress {action.name}",
            usage=f"%(prog)s {_usage(action)}",
            description=action.summary,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, width=88),
            add_help=False,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )
        self.action = action
        self.places = [action.fields[name] for name in action.words]
        self.followed: dict[str, Collection[str] | None] = {}
        self.add_argument("words", nargs="*", help=argparse.SUPPRESS)
        for field in action.fields.values():
            if field not in self.places or not (field.many or field.kind == "model"):
                self._add(field)
        for option, text in SHOWN.items() if action.name != "panel" else ():
            self.followed[option] = None
            self.add_argument(option, action="store_true", help=text)

    def _add(self, field: Field) -> None:
        option = _option(field)
        text = field.help.replace("%", "%%")
        if field.kind == "flag":
            self.followed[option] = None
            self.add_argument(
                option, dest=field.name, action="store_const", const=not field.default, help=text
            )
            return
        only = tuple(field.choices) if field.kind == "choice" else ()
        self.followed[option] = only
        if field.default is not None:
            text = f"{text} (default: {field.default})"
        self.add_argument(
            option,
            dest=field.name,
            metavar=None if only else field.kind.upper(),
            type=_TYPES.get(field.kind, str),
            choices=only or None,
            required=field.required and field not in self.places,
            help=text,
        )

    def error(self, message: str) -> NoReturn:
        """Raise the fault as IPython shows it: one line without a traceback."""
        raise UsageError(f"{self.prog}: {message}; `%compress?` shows examples")

    @property
    def options(self) -> list[str]:
        """The options, such as `--calibration`."""
        return list(self.followed)

    def choices_after(self, word: str) -> list[str] | None:
        """Return what may follow an option: its choices, [] for any value, None if it takes no value."""
        choices = self.followed.get(word)
        return None if choices is None else list(choices)

    def field_after(self, words: Sequence[str]) -> Field | None:
        """Return the field for which a word without a name would stand after these words."""
        before = ["", *words]
        place = sum(
            not word.startswith("--") and self.choices_after(one) is None
            for one, word in zip(before, words, strict=False)
        )
        many = next((i for i, field in enumerate(self.places) if field.many), len(self.places))
        return self.places[min(place, many)] if min(place, many) < len(self.places) else None

    def parse_line(self, words: Sequence[str], *, known: Collection[str] = ()) -> dict[str, Any]:
        """Return the words by the names of the fields that they are for.

        Parameters
        ----------
        words : sequence of str
            The line after the action's name.
        known : collection of str
            Fields that need no word, because another one brings them along.

        Raises
        ------
        UsageError
            If a word is missing, too many, or an unknown option.
        """
        for word in words:
            if word.startswith("--") and word.partition("=")[0] not in self.options:
                self.error(f"unknown option {word!r}{did_you_mean(word, self.options)}")
        given = vars(self.parse_intermixed_args(words))
        return given | self._placed(given.pop("words", []), {*known, *given})

    def _placed(self, words: list[str], taken: Collection[str]) -> dict[str, str | list[str]]:
        """Share words out over the places from left to right; each required one gets its word."""
        places = [field for field in self.places if field.name not in taken]
        needed = [field for field in places if needs_word(field)]
        if len(words) < len(needed):
            missing = [_option(field) for field in needed[len(words) :]]
            named = [option if option in self.followed else option.strip("-") for option in missing]
            self.error(f"the following are required: {', '.join(named)}")
        spare, found = len(words) - len(needed), {}
        rest = list(words)
        for field in places:
            own = needs_word(field)
            count = spare + own if field.many else min(spare, 1 - own) + own
            spare -= count - own
            if count:
                found[field.name] = rest[:count] if field.many else rest[0]
                rest = rest[count:]
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found


def needs_word(field: Field) -> bool:
    """Whether a line must say it: no default, and nothing that could be proposed, as for a path."""
    return field.required and field.kind != "path"


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


def _option(field: Field) -> str:
    word = field.option.replace("_", "-")
    return f"--no-{word}" if field.kind == "flag" and field.default else f"--{word}"


def _usage(action: Action) -> str:
    fields: Mapping[str, Field] = action.fields
    words = [(fields[name], fields[name].option.replace("_", "-").upper()) for name in action.words]
    return " ".join(
        [word if needs_word(field) else f"[{word}{' ...' if field.many else ''}]" for field, word in words]
        + ["[options]"]
    )
