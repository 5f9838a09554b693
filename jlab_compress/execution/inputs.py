"""One reading of what a user calls a model with.

A batch is what one forward call takes: a tensor, a tuple (positional arguments) or a mapping (keyword
arguments). Calibration is one batch, or a list, a loader or any other iterable of batches.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.execution.calls import Call, owned, tensors_in
from jlab_compress.execution.models import device_of
from jlab_compress.surroundings import as_called

# What is read at most of batches that do not say how many they are: without end, this is a second's work.
MOST_ROWS, MOST_BYTES = 65_536, 2**31
PASS_LIMIT = "pass limit=, the number of batches to read, or a list of batches"


def read_call(model: nn.Module, batch: Any) -> tuple[Call, bool]:
    """Return the forward call that a batch stands for, and whether trailing values were left out.

    A loader of (inputs, targets) pairs is common; where the model's forward takes fewer positional
    arguments than the batch has, the trailing ones (the targets) are left out and the flag says so.

    Raises
    ------
    TypeError
        If the batch is neither a tensor, a tuple, a list nor a mapping.
    """
    batch = owned(batch)
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


def read_all(batches: Iterable[Any], argument: str, limit: int | None, cure: str = PASS_LIMIT) -> list[Any]:
    """Read batches into memory, each a copy without a graph: a loader may write the next one over it.

    Parameters
    ----------
    batches : iterable
        A list, a loader, a generator.
    argument : str
        The caller's name for them, for the error.
    limit : int or None
        How many to read; None reads to the end.
    cure : str
        What to do about batches without end.

    Raises
    ------
    TypeError, ValueError
        If the limit is no number of batches, or they go on and on.

    Examples
    --------
    >>> read_all(iter("abc"), "calibration", 2)
    ['a', 'b']
    """
    check_limit(limit)
    read = list[Any]()
    with as_called():
        for batch in islice(_with_an_end(batches, argument, cure) if limit is None else batches, limit):
            read.append(owned(batch))
    return read


def check_limit(limit: Any) -> None:
    """Refuse what is no number of batches, with a TypeError or ValueError."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise TypeError(f"limit: expected a number of batches, got {limit!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit: expected at least one batch, got {limit}")


def _with_an_end(batches: Iterable[Any], argument: str, cure: str) -> Iterator[Any]:
    """Yield batches, as many as they say they are or as can be taken for all that there are."""
    try:
        said = len(batches) if isinstance(batches, Sized) else 0
    except (TypeError, NotImplementedError):  # the length of a loader over a stream
        said = 0
    rows = size = 0
    for number, batch in enumerate(batches):
        if number >= said and (rows > MOST_ROWS or size > MOST_BYTES):
            raise ValueError(
                f"{argument}: expected batches that come to an end, got {number:,} with {rows:,} rows and "
                f"still more; {cure}"
            )
        tensors = tensors_in(batch)
        rows += next((len(t) for t in tensors if t.dim()), 1)
        size += sum(t.nbytes for t in tensors)
        yield batch


def read_batches(
    model: nn.Module, value: Any, argument: str = "calibration", limit: int | None = None
) -> tuple[list[Call], bool]:
    """Return the forward calls in a batch or an iterable of batches, on the model's device.

    Parameters
    ----------
    model : nn.Module
        The model that will be called.
    value : Tensor, tuple, mapping, or an iterable of these
        A list or loader is an iterable of batches; a tuple is one batch.
    argument : str
        The name used in messages.
    limit : int or None
        How many batches of an iterable to read; None reads to the end.

    Returns
    -------
    list of Call, bool
        The calls, and whether trailing values (targets) were left out of any.

    Raises
    ------
    TypeError
        If the value or one of its batches is of another kind.
    ValueError
        If there is no batch or no end of them, a batch has no tensor or no rows, or a tensor holds NaN or
        infinite values (a keyword argument with "mask" in its name may be infinite).
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
    for number, batch in enumerate(read_all(batches, argument, limit)):
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


def _check(call: Call, where: str) -> None:
    if not call.tensors:
        raise ValueError(f"{where}: holds no tensor; pass what the model is called with")
    if any(t.numel() == 0 for t in call.tensors):
        raise ValueError(f"{where}: holds an empty tensor; pass at least one row")
    plain = {key: value for key, value in call.kwargs.items() if "mask" not in key}
    for tensor in tensors_in((call.args, plain)):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{where}: holds NaN or infinite values; remove those rows first")
