"""One reading of what a model is called with, and of what it returns.

A batch is what one forward call takes: a tensor, a tuple (positional arguments) or a mapping (keyword
arguments). Calibration is one batch, or a list, a loader or any other iterable of batches.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.execution.models import device_of


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
    return list(_walk(value))


def _walk(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _walk(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _walk(item)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _walk(vars(value))


def in_words(error: BaseException) -> str:
    """Return what someone else's error says, in one line of at most 200 characters.

    Examples
    --------
    >>> in_words(RuntimeError("shapes differ"))
    'RuntimeError: shapes differ'
    """
    first = next(iter(str(error).strip().splitlines()), "")
    text = f"{type(error).__name__}: {first}"
    return text if len(text) <= 200 else f"{text[:197]}..."


def read_call(model: nn.Module, batch: Any) -> tuple[Call, bool]:
    """Return the forward call that a batch stands for, and whether trailing values were left out.

    A loader of (inputs, targets) pairs is common; where the model's forward takes fewer positional
    arguments than the batch has, the trailing ones (the targets) are left out and the flag says so.

    Raises
    ------
    TypeError
        If the batch is neither a tensor, a tuple, a list nor a mapping.
    """
    if isinstance(batch, Call):
        return batch, False
    if isinstance(batch, Tensor):
        return Call((batch,)), False
    if isinstance(batch, Mapping):
        return Call((), dict(batch)), False
    if isinstance(batch, tuple | list):
        most = _most_arguments(model)
        return Call(tuple(batch[:most])), most is not None and len(batch) > most
    raise TypeError(
        f"a batch must be a tensor, a tuple of positional arguments or a mapping of keyword arguments, "
        f"not {type(batch).__name__}; convert it first (for example torch.from_numpy)"
    )


def _most_arguments(model: nn.Module) -> int | None:
    kinds = [p.kind for p in inspect.signature(model.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    return sum(
        k in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for k in kinds
    )


def read_batches(model: nn.Module, value: Any, argument: str = "calibration") -> tuple[list[Call], bool]:
    """Return the forward calls in a batch or an iterable of batches, on the model's device.

    Parameters
    ----------
    model : nn.Module
        The model that will be called.
    value : Tensor, tuple, mapping, or an iterable of these
        A list or loader is an iterable of batches; a tuple is one batch.
    argument : str
        The name used in messages.

    Returns
    -------
    list of Call, bool
        The calls, and whether trailing values (targets) were left out of any.

    Raises
    ------
    TypeError
        If the value or one of its batches is of another kind.
    ValueError
        If there is no batch, a batch has no tensor or no rows, or a tensor holds NaN or infinite values
        (a keyword argument with "mask" in its name may be infinite).
    """
    if isinstance(value, Tensor | tuple | Mapping | Call):
        batches: Iterable[Any] = [value]
    elif isinstance(value, Iterable) and not isinstance(value, str) and not hasattr(value, "__array__"):
        batches = value
    else:
        raise TypeError(
            f"{argument}: expected a tensor, a tuple, a mapping or an iterable of these, got "
            f"{type(value).__name__}; pass what the model is called with (an array goes through "
            "torch.from_numpy, a data set through a DataLoader)"
        )
    read = []
    for number, batch in enumerate(batches):
        try:
            read.append(read_call(model, batch))
        except TypeError as error:
            raise TypeError(f"{argument} batch {number}: {error}") from error
    if not read:
        raise ValueError(f"{argument}: expected at least one batch, got none; pass some rows of real inputs")
    for number, (call, _) in enumerate(read):
        _check(call, f"{argument} batch {number}")
    device = device_of(model)
    return [call.to(device) for call, _ in read], any(cut for _, cut in read)


def check_seed(seed: Any) -> None:
    """Refuse what numpy, torch and Python do not all take as a seed.

    Raises
    ------
    TypeError, ValueError
        If it is no whole number, or not in 0 to 2^32 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed: expected a whole number such as 0, got {seed!r}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: expected a whole number from 0 to 2**32 - 1, got {seed}")


def _check(call: Call, where: str) -> None:
    if not call.tensors:
        raise ValueError(f"{where}: holds no tensor; pass what the model is called with")
    if any(t.numel() == 0 for t in call.tensors):
        raise ValueError(f"{where}: holds an empty tensor; pass at least one row")
    plain = {key: value for key, value in call.kwargs.items() if "mask" not in key}
    for tensor in tensors_in((call.args, plain)):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{where}: holds NaN or infinite values; remove those rows first")


def outputs_of(value: Any) -> list[Tensor]:
    """Return the floating-point tensors of a model's output as a flat list.

    Raises
    ------
    ValueError
        If the output holds none.
    """
    found = [t for t in tensors_in(value) if t.is_floating_point()]
    if not found:
        raise ValueError(
            f"the model returned no floating-point tensor but {type(value).__name__}; "
            "wrap it so that its forward returns its scores"
        )
    return found


def split_rows(calls: list[Call], fraction: float, seed: int) -> tuple[list[Call], list[Call]]:
    """Return the calls without, and with only, a random share of rows; no rows apart where impossible.

    Rows are drawn within each call; a call whose tensors do not share their first dimension, or that
    has fewer than four rows, goes whole to either side.
    """
    generator = torch.Generator().manual_seed(seed)
    kept: list[Call] = []
    apart: list[Call] = []
    whole: list[Call] = []
    for call in calls:
        order = torch.randperm(call.rows, generator=generator)
        cut = max(1, round(fraction * call.rows))
        left, right = call.take(order[cut:].sort().values), call.take(order[:cut].sort().values)
        if call.rows < 4 or left is None or right is None:
            whole.append(call)
        else:
            kept.append(left)
            apart.append(right)
    cut = max(1, round(fraction * len(whole))) if len(whole) >= 4 else 0
    return kept + whole[: len(whole) - cut], apart + whole[len(whole) - cut :]


def first_rows(call: Call, rows: int = 8) -> Call:
    """Return the call for its first rows where that is possible, else the call as it is."""
    small = call.take(torch.arange(min(rows, call.rows)))
    return call if small is None else small
