"""What tensors are called in a written model: by where they are in a call, and in what a model returns."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from jlab_compress.execution.calls import Call, leaves_in

Path = tuple[str | int, ...]


def named_inputs(model: nn.Module, call: Call, taken: Collection[str] = ()) -> dict[str, Tensor]:
    """Return the tensors of a call by name, in the order of `leaves_in`.

    A positional input has the name that `forward` gives it; those of ``*args`` are numbered, and what is
    nested has its keys and numbers behind the name: ``batch_ids``, ``args_0``.

    Raises
    ------
    ValueError
        If a name cannot be printed.
    """
    found = [(path, item) for path, item in _placed(model, call) if isinstance(item, Tensor)]
    names = distinct(("_".join(map(str, path)) for path, _ in found), "_in", taken)
    return dict(zip(names, (item for _, item in found), strict=True))


def _placed(model: nn.Module, call: Call) -> Iterator[tuple[Path, Any]]:
    """Yield what is in a call with where it is: the name of an argument, then keys and numbers inside it."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(model.forward).parameters.values()
    names = [p.name for p in parameters if p.kind in kinds]
    more = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL), "input")
    for number, value in enumerate(call.args):
        beyond = number - len(names)
        yield from leaves_in(value, (names[number],) if beyond < 0 else (more, beyond))
    yield from leaves_in(dict(call.kwargs))


def named_outputs(value: object, taken: Collection[str] = ()) -> dict[str, Tensor]:
    """Return a model's output as tensors by name: its keys where it has some, else "output" and a number.

    Raises
    ------
    TypeError
        If the output holds something that is no tensor and not None, in tuples, lists, mappings, dataclasses.
    ValueError
        If a name cannot be printed.

    Examples
    --------
    >>> import torch
    >>> list(named_outputs({"logits": torch.zeros(1), "states": (torch.zeros(1), None)}, taken=["logits"]))
    ['logits_out', 'states_0']
    """
    names: list[str] = []
    tensors: list[Tensor] = []
    for path, item in leaves_in(value):
        numbered = not path or isinstance(path[0], int)
        name = "_".join(map(str, ("output", *path) if numbered else path))
        if isinstance(item, Tensor):
            names.append(name)
            tensors.append(item)
        elif item is not None:
            raise TypeError(
                f"model: output {name} is a {type(item).__name__}, expected tensors in tuples or mappings; "
                "switch it off (for a cache: use_cache=False) or wrap the model"
            )
    if not tensors:
        raise TypeError("model: its output holds no tensor; export a model that returns at least one")
    return dict(zip(distinct(names, "_out", taken), tensors, strict=True))


def distinct(names: Iterable[str], ending: str, taken: Collection[str] = ()) -> list[str]:
    """Return names of which each is there once: one that is taken gets an ending.

    Raises
    ------
    ValueError
        If a name cannot be printed.

    Examples
    --------
    >>> distinct(["a", "b", "a"], "_in", taken=["b"])
    ['a', 'b_in', 'a_in']
    """
    found: list[str] = []
    for name in names:
        if not name or not name.isprintable():
            raise ValueError(
                f"model: expected printable names of inputs and outputs, got {name[:60]!r}; rename that key"
            )
        while name in taken or name in found:
            name += ending
        found.append(name)
    return found
