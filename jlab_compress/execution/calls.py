"""The arguments of one forward call, and the tensors in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Call:
    """The arguments of one forward call.

    Parameters
    ----------
    args : tuple
        Positional arguments.
    kwargs : mapping of str
        Keyword arguments.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, model: nn.Module) -> Any:
        """Return what the model returns for these arguments."""
        return model(*self.args, **self.kwargs)

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments, in order."""
        return tensors_in((self.args, self.kwargs))

    @property
    def rows(self) -> int:
        """The leading dimension of the first tensor; 1 where there is none."""
        first = next((t for t in self.tensors if t.dim() > 0), None)
        return 1 if first is None else first.shape[0]

    def to(self, device: torch.device) -> Call:
        """Return the call with its tensors on a device; their dtype stays."""
        return Call(_mapped(self.args, device, None), _mapped(dict(self.kwargs), device, None))

    def take(self, rows: Tensor) -> Call | None:
        """Return the call for some rows, or None where the tensors do not share their first dimension."""
        if any(t.dim() == 0 or t.shape[0] != self.rows for t in self.tensors) or not self.tensors:
            return None
        return Call(_mapped(self.args, None, rows), _mapped(dict(self.kwargs), None, rows))


def _mapped(value: Any, device: torch.device | None, rows: Tensor | None) -> Any:
    if isinstance(value, Tensor):
        value = value if device is None else value.to(device)
        return value if rows is None else value[rows.to(value.device)]
    if isinstance(value, Mapping):
        return {key: _mapped(item, device, rows) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [_mapped(item, device, rows) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def tensors_in(value: Any) -> list[Tensor]:
    """Return all tensors in nested tuples, lists, mappings and dataclasses, in order.

    Examples
    --------
    >>> [tuple(t.shape) for t in tensors_in({"a": torch.zeros(2), "b": (torch.ones(3), "no tensor")})]
    [(2,), (3,)]
    """
    return [item for _, item in leaves_in(value) if isinstance(item, Tensor)]


def leaves_in(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield each value in nested tuples, lists, mappings and dataclasses, with its keys and numbers.

    Examples
    --------
    >>> list(leaves_in({"a": 1, "b": (2, [3])}))
    [(('a',), 1), (('b', 0), 2), (('b', 1, 0), 3)]
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves_in(item, (*path, str(key)))
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from leaves_in(item, (*path, number))
    elif is_dataclass(value) and not isinstance(value, Tensor | type):
        yield from leaves_in(vars(value), path)
    else:
        yield path, value
