"""What else points at the parameters of a block, and would go on pointing at the old ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from jlab_compress.graph.parameter_uses import Uses
from jlab_compress.slim.units import Located, carries_along, modules_of

# What torch itself keeps in a module.
_TORCHS = frozenset(vars(nn.Module()))
_DEPTH = 6


def pointer_problem(uses: Uses, block: Located, pointers: Mapping[int, str]) -> str | None:
    """Return why the parameters of a block's layers cannot be replaced by new ones, or None.

    Parameters
    ----------
    uses : Uses
        The model and who holds its parameters.
    block : Located
        Where the units are.
    pointers : mapping of int to str
        From `pointers_in` the model.
    """
    for path in modules_of(block.units):
        for key, parameter in uses.model.get_submodule(path)._parameters.items():
            name = f"{path}.{key}"
            if parameter is None:
                continue
            others = [other for other, _ in uses.holders(parameter) if other != path]
            if others:
                return f"{name} is shared with {others[0]}, so it cannot be replaced for one of them"
            left = [key for key, value in vars(parameter).items() if not carries_along(value)]
            if left:
                return (
                    f"{name} has an attribute {left[0]!r} of somebody's own, which may depend on its shape; "
                    "delete it first and give it to the slim model's parameter"
                )
            if id(parameter) in pointers:
                return (
                    f"{name} is also held by the model's attribute {pointers[id(parameter)]}, which would "
                    "go on holding the old parameter; delete it first and make it anew for the slim model"
                )
    return None


def pointers_in(model: nn.Module) -> dict[int, str]:
    """Return where attributes of a model's modules hold parameters, by the id of these.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 3))
    >>> net.decayed = {"yes": [net[0].weight]}
    >>> [where for where in pointers_in(net).values()]
    ['decayed']
    """
    found: dict[int, str] = {}
    for path, module in model.named_modules():
        for key, value in vars(module).items():
            if key not in _TORCHS:
                for parameter in _parameters_in(value, set(), _DEPTH):
                    found.setdefault(id(parameter), f"{path}.{key}" if path else key)
    return found


def _parameters_in(value: Any, seen: set[int], depth: int) -> Iterator[Tensor]:
    """Yield the parameters in an attribute: in containers and in objects such as an optimizer."""
    if isinstance(value, nn.Parameter):
        yield value
        return
    if id(value) in seen or depth == 0 or isinstance(value, nn.Module | Tensor | type | str | bytes):
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, tuple | list | set | frozenset):
        inner = list(value)
    else:
        inner = list(getattr(value, "__dict__", {}).values())
    for each in inner:
        yield from _parameters_in(each, seen, depth - 1)
