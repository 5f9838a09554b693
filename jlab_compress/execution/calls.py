"""The arguments of one forward call, and the tensors in them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, is_dataclass, replace
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.surroundings import as_called


@dataclass(frozen=True)
class Call:
    """The arguments of one forward call.

    Parameters
    ----------
    args : tuple
        Positional arguments.
    kwargs : mapping of str
        Keyword arguments.
    whole : frozenset of int
        Which of its `tensors` have no rows and stay whole where rows are taken; see `told_apart`.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    whole: frozenset[int] = frozenset()

    def __call__(self, model: nn.Module) -> Any:
        """Return what the model returns for copies of these arguments, which it may change or take apart."""
        return self.copied().hand_to(model)

    def hand_to(self, model: nn.Module) -> Any:
        """Return what the model returns for these very arguments, which it may change."""
        with as_called():
            return model(*self.args, **self.kwargs)

    def copied(self) -> Call:
        """Return the call with arguments of its own: copies without a graph, in the same containers."""
        return replace(self, args=owned(self.args), kwargs=owned(dict(self.kwargs)))

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments, in order."""
        return tensors_in((self.args, self.kwargs))

    @property
    def rows(self) -> int:
        """The leading dimension of the first tensor with rows; 1 where there is none."""
        first = next((t for t in [*self._cut, *self.tensors] if t.dim() > 0), None)
        return 1 if first is None else first.shape[0]

    @property
    def _cut(self) -> list[Tensor]:
        return [tensor for number, tensor in enumerate(self.tensors) if number not in self.whole]

    def to(self, device: torch.device) -> Call:
        """Return the call with its tensors on a device; their dtype stays."""
        return self._changed(lambda tensor: tensor.to(device))

    def take(self, rows: Tensor) -> Call | None:
        """Return the call for some rows, or None where its tensors do not share their first dimension."""
        if any(t.dim() == 0 or t.shape[0] != self.rows for t in self._cut) or not self._cut:
            return None
        numbers = count()
        return self._changed(lambda t: t if next(numbers) in self.whole else t[rows.to(t.device)])

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Call:
        return replace(self, args=mapped(self.args, change), kwargs=mapped(dict(self.kwargs), change))


def owned(value: Any) -> Any:
    """Return a copy of nested values: its tensors have no graph, and no memory in common with the given ones.

    Examples
    --------
    >>> given = torch.ones(2, requires_grad=True)
    >>> copied = owned({"x": 2 * given})["x"]
    >>> copied.add_(1.0), copied.requires_grad
    (tensor([3., 3.]), False)
    """
    return mapped(value, lambda tensor: tensor.detach().clone(), copy.deepcopy)


def mapped(
    value: Any, change: Callable[[Tensor], Any], others: Callable[[Any], Any] = lambda other: other
) -> Any:
    """Return nested tuples, lists, mappings and dataclasses with other tensors and other values."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple | list):
        items = [mapped(item, change, others) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, Mapping):
        filled = {key: mapped(item, change, others) for key, item in value.items()}
        return _like(value, filled) if isinstance(value, MutableMapping) else filled
    if is_dataclass(value) and not isinstance(value, type):
        made = copy.copy(value)
        for key, item in vars(value).items():
            object.__setattr__(made, key, mapped(item, change, others))
        return made
    return others(value)


def _like(value: MutableMapping[Any, Any], items: dict[Any, Any]) -> Any:
    """Return a mapping of the same class, such as the batch of a tokenizer."""
    if type(value) is dict:
        return items
    made = copy.copy(value)
    for key, item in items.items():
        made[key] = item
    return made


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
