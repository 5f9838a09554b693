"""One reading of what a user calls a model with.

A batch is what one forward call takes: a tensor, a tuple (positional arguments) or a mapping (keyword
arguments). Calibration is one batch, or a list, a loader or any other iterable of batches.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.errors import raise_lack_of_memory
from jlab_compress.execution.calls import Call, owned, tensors_in
from jlab_compress.execution.isolation import undisturbed
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


def without_targets(model: nn.Module, calls: list[Call]) -> tuple[list[Call], tuple[str, ...]]:
    """Leave out what a loader gives for targets and forward would take for something else, and say so.

    A loader of (inputs, targets) may meet a forward with an optional argument behind its inputs, such as
    ``forward(x, temperature=None)``. The last value of the first batch is tried with and without.

    Parameters
    ----------
    model : nn.Module
        A copy.
    calls : list of Call
        As `read_batches` gives them.

    Returns
    -------
    list of Call, tuple of str
        The calls, and what the last value was taken for where that is not plain.
    """
    names = list(inspect.signature(model.forward).parameters.values())
    last, first = len(calls[0].args) - 1, calls[0]
    at = names[min(last, len(names) - 1)] if last > 0 and names else None
    open_ended = at is not None and at.kind is at.VAR_POSITIONAL
    if at is None or not (open_ended or at.default is not at.empty):
        return calls, ()
    shorter = replace(first, args=first.args[:last])
    given, bare = _answers(model, first), _answers(model, shorter)
    if bare is None or at.name.lower() in _TARGETS:
        return calls, ()
    place = f"value {last + 1} of each calibration batch"
    if given is None or not _is_finite(given) or _looks_like_target(at.name, first.args[last], bare):
        note = f"{place.capitalize()} was taken for a target and left out, not for `{at.name}` of forward."
        return [replace(c, args=c.args[:last]) for c in calls], (f"{note} {_BY_NAME}",)
    return calls, (f"{place.capitalize()} was taken for `{at.name}` of forward. {_BY_NAME}",)


_TARGETS = {"y", "label", "labels", "target", "targets"}
_INPUTS = ("mask", "len", "id", "pos", "index", "type", "time", "step", "cond")
_BY_NAME = "To say it yourself, pass batches as dictionaries of forward's arguments."


def _looks_like_target(name: str, value: Any, outputs: list[Tensor]) -> bool:
    """Tell whether a value is shaped like classes of the rows, or like the outputs."""
    if not isinstance(value, Tensor) or any(word in name.lower() for word in _INPUTS):
        return False
    if value.is_floating_point():
        return any(value.shape in (output.shape, output.squeeze(-1).shape) for output in outputs)
    several = [output for output in outputs if output.dim() > 1]
    return any(value.shape in (output.shape[:1] + output.shape[2:], output.shape[:-1]) for output in several)


def _answers(model: nn.Module, call: Call) -> list[Tensor] | None:
    try:
        with undisturbed(model):
            return [t for t in tensors_in(call(model)) if t.is_floating_point()]
    except Exception as error:
        raise_lack_of_memory(error)
        return None


def _is_finite(outputs: list[Tensor]) -> bool:
    return all(bool(torch.isfinite(output).all()) for output in outputs)
