"""The words of a magic's line as values: names and literals are looked up, nothing is evaluated.

A word is a literal (`64`, `0.5`, `"polylog"`, `{"0":64}`), a name of the user's namespace, or a path
from a name through attributes and subscripts (`net.encoder`, `x_train[:512]`, `models["bert"]`).
Calls, operators and comprehensions are refused.
"""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from IPython.core.error import UsageError
from torch import nn

from jlab_compress.compression.prepared import Prepared
from jlab_compress.notebook.fields import Field


def value_of(word: str, namespace: Mapping[str, Any]) -> Any:
    """Return what a word stands for.

    Parameters
    ----------
    word : str
        A literal, a name, or a path from a name.
    namespace : mapping of str to object
        Where names are looked up.

    Raises
    ------
    UsageError
        If the word is anything else, or a name, an attribute or a key is not there; a missing
        name comes with the names that are close to it.

    Examples
    --------
    >>> value_of("rows[1:]", {"rows": [1, 2, 3]})
    [2, 3]
    >>> value_of("{'0':64}", {})
    {'0': 64}
    """
    try:
        tree = ast.parse(word, mode="eval")
    except (SyntaxError, ValueError):
        raise UsageError(f"{word!r} is neither a name nor a literal; write it without spaces") from None
    return _look_up(tree.body, word, namespace)


def model_of(word: str, namespace: Mapping[str, Any]) -> nn.Module | Prepared:
    """Return the model that a word stands for, prepared or not; a result such as a Compression gives its own.

    Raises
    ------
    UsageError
        If the word names something else.
    """
    if word.isidentifier() and word not in namespace:
        raise UsageError(_unknown("model", word, model_names(namespace) or namespace))
    value = value_of(word, namespace)
    model = value if isinstance(value, nn.Module | Prepared) else getattr(value, "model", None)
    if isinstance(model, nn.Module | Prepared):
        return model
    raise UsageError(f"{word!r} is of type {type(value).__name__}; expected a torch.nn.Module")


def model_names(namespace: Mapping[str, Any]) -> list[str]:
    """Return the names, sorted, that stand for a module or for a result that carries one."""
    return sorted(
        name for name, value in list(namespace.items()) if not name.startswith("_") and _carries_model(value)
    )


def text_of(word: str, namespace: Mapping[str, Any]) -> str:
    """Return a word that is meant as text: without its quotes, or the string or path that it names."""
    if word[:1] in "'\"" and word[-1:] == word[:1] and len(word) > 1:
        return str(value_of(word, namespace))
    value = namespace.get(word)
    return str(value) if isinstance(value, str) or hasattr(value, "__fspath__") else word


def read_words(field: Field, given: Any, namespace: Mapping[str, Any]) -> Any:
    """Return what was written for a field as the value that its function takes.

    Raises
    ------
    UsageError
        If a word names nothing of the kind.
    """
    match field.kind:
        case "model":
            return model_of(given, namespace)
        case "widths":
            return _widths(given, namespace)
        case "grid":
            return [_width(word, namespace) for word in given]
        case "names":
            value = namespace.get(given, given)
            return given.split(",") if isinstance(value, str) else value
        case "text" | "path":
            return text_of(given, namespace)
        case "choice" | "number" | "count" | "flag":
            return given
    value = value_of(given, namespace)
    if isinstance(value, bool | int | float | str):
        raise UsageError(
            f"--{field.option} cannot be {given!r}; write the name of a value last, or after --{field.option}"
        )
    return value


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'net'?` for what is close to the word, else an empty string.

    Examples
    --------
    >>> did_you_mean("expotr", ["run", "export"])
    "; did you mean 'export'?"
    """
    close = difflib.get_close_matches(word, list(known), n=2)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _widths(words: list[str], namespace: Mapping[str, Any]) -> Any:
    """Return one width for all blocks, or a dict where the words are BLOCK=WIDTH."""
    pairs = [word.rpartition("=") for word in words]
    if all(block for block, _, _ in pairs):
        return {block: _width(width, namespace) for block, _, width in pairs}
    if len(words) == 1:
        return _width(words[0], namespace)
    raise UsageError(f"widths {' '.join(words)!r}; write one width, or BLOCK=WIDTH for each block")


def _width(word: str, namespace: Mapping[str, Any]) -> Any:
    return word if word == "polylog" else value_of(word, namespace)


def _carries_model(value: object) -> bool:
    if type(value).__module__.startswith("jlab_compress."):
        return isinstance(getattr(value, "model", value), nn.Module | Prepared)
    return issubclass(type(value), nn.Module)


def _look_up(node: ast.expr, word: str, namespace: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(id=name):
            if name not in namespace:
                raise UsageError(_unknown("name", name, namespace))
            return namespace[name]
        case ast.Attribute(value=owner, attr=name):
            return _reached(word, getattr, _look_up(owner, word, namespace), name)
        case ast.Subscript(value=owner, slice=key):
            whole = _look_up(owner, word, namespace)
            return _reached(word, operator.getitem, whole, _key(key, word, namespace))
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise UsageError(
            f"{word!r} would have to be evaluated; give it a name in a cell and write the name here"
        ) from None


def _reached(word: str, step: Callable[[Any, Any], Any], owner: Any, key: Any) -> Any:
    try:
        return step(owner, key)
    except (AttributeError, LookupError, TypeError, ValueError) as fault:
        raise UsageError(f"{word!r} does not exist: {fault}") from fault


def _key(node: ast.expr, word: str, namespace: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Slice):
        ends = (node.lower, node.upper, node.step)
        return slice(*(None if end is None else _look_up(end, word, namespace) for end in ends))
    if isinstance(node, ast.Tuple):
        return tuple(_key(part, word, namespace) for part in node.elts)
    return _look_up(node, word, namespace)


def _unknown(kind: str, word: str, known: Iterable[str]) -> str:
    names = [name for name in known if not name.startswith("_")]
    return f"there is no {kind} {word!r} here{did_you_mean(word, names) or '; define it first'}"
