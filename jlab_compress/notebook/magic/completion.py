"""What can come next on a `%compress` line: actions, models, blocks, options and names of values.

Registered as a matcher, not as a `complete_command` hook: a hook does not see `slim = %compress ...`
and cannot keep Jedi, which takes the line for Python, from adding words that do not fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)
from IPython.core.error import UsageError

from jlab_compress.compression.prepared import Prepared
from jlab_compress.notebook.actions import ACTIONS
from jlab_compress.notebook.kernel.block_cache import recall_blocks
from jlab_compress.notebook.magic.help import parser_of
from jlab_compress.notebook.magic.names import model_names, model_of, value_of

IDENTIFIER = "jlab_compress.completion"
LINE = re.compile(r"\s*(?:[^%=]+=\s*%|%?)compress\s+(?P<typed>.*)", re.DOTALL)
"""A line with the magic first, or as the value of an assignment."""


def register(shell: Any) -> None:
    """Complete `%compress` lines in this shell."""

    def matcher(context: CompletionContext) -> SimpleMatcherResult:
        found = complete(context.text_until_cursor, shell.user_ns)
        fitting = [SimpleCompletion(word) for word in found if word.startswith(context.token)]
        return SimpleMatcherResult(completions=fitting, suppress=bool(fitting), ordered=True)

    unregister(shell)
    shell.Completer.custom_matchers.append(context_matcher(identifier=IDENTIFIER)(matcher))


def unregister(shell: Any) -> None:
    """Take back what `register` added."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [m for m in matchers if getattr(m, "matcher_identifier", None) != IDENTIFIER]


def complete(line: str, namespace: Mapping[str, Any]) -> list[str]:
    """Return the words that may stand at the end of a line; none for other lines, numbers and paths.

    Parameters
    ----------
    line : str
        The line up to the cursor.
    namespace : mapping of str to object
        The user's names.

    Examples
    --------
    >>> complete("slim = %compress run net 64 --preserve ", {})
    ['dynamics', 'function', 'moments']
    """
    found = LINE.fullmatch(line)
    if found is None:
        return []
    words = found["typed"].split()
    current = words.pop() if words and not line[-1].isspace() else ""
    if not words:
        return list(ACTIONS)
    if words[0] not in ACTIONS:
        return []
    try:
        parser = parser_of(words[0])
    except ImportError:  # what it takes is not installed
        return []
    choices = parser.choices_after(words[-1])
    if choices is not None:
        return choices or _values(current, namespace)
    if current.startswith("-"):
        return [option for option in parser.options if option not in words]
    field = parser.field_after(words[1:])
    match field.kind if field is not None else None:
        case "model" if "." not in current:
            return model_names(namespace)
        case "widths":
            return _widths(words[1], current, namespace)
        case "path" | None:
            return []
    return _values(current, namespace)


def _values(current: str, namespace: Mapping[str, Any]) -> list[str]:
    """Return names of the namespace, or what an owner before the last dot has."""
    owner, dot, _ = current.rpartition(".")
    try:
        known = dir(value_of(owner, namespace)) if dot else list(namespace)
    except UsageError:
        return []
    return [f"{owner}{dot}{name}" for name in known if not name.startswith("_")]


def _widths(model: str, current: str, namespace: Mapping[str, Any]) -> list[str]:
    if "=" in current:
        return ["polylog"]
    try:
        found = model_of(model, namespace)
    except UsageError:
        return []
    blocks = found.blocks if isinstance(found, Prepared) else recall_blocks(found)
    if isinstance(blocks, str):
        return []
    names = [block.name for block in blocks or () if block.locked is None]
    return [*(f"{name}=" for name in names if re.fullmatch(r"[\w.-]+", name)), "polylog"]
