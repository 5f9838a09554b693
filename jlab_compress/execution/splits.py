"""Rows of calibration calls taken apart: rows that no fit sees, small batches, a first look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor, nn

from jlab_compress.errors import raise_lack_of_memory
from jlab_compress.execution.calls import Call, tensors_in
from jlab_compress.execution.closeness import difference, tolerance
from jlab_compress.execution.isolation import undisturbed

FEW = 8  # rows that a trial run takes
MOST_TENSORS = 5  # of the batch's length, of which any may be without rows
Outputs = list[Tensor]


def told_apart(model: nn.Module, calls: Sequence[Call]) -> list[Call]:
    """Return calls that know which of their tensors have rows, as a model's outputs tell.

    A tensor may have the length of the batch by accident, as the adjacency of 60 nodes beside their features
    or a table of 60 classes. Tensors have rows if the outputs for a few of these rows are those rows of the
    outputs for all. Where no choice of tensors does that, as each row depends on the others, all stay whole.

    Parameters
    ----------
    model : nn.Module
        A copy. It runs on the first call of each form, and on eight of its rows.
    calls : sequence of Call
        Those of one form (dtypes, dimensions, which tensors are as long as the first) share an answer.

    Examples
    --------
    >>> class Graph(nn.Module):
    ...     def forward(self, features, adjacency):
    ...         return adjacency @ (adjacency @ features).relu()
    >>> [told_apart(Graph(), [Call((torch.randn(9, 2), torch.ones(9, 9)))])[0].whole]
    [frozenset({0, 1})]
    """
    known: dict[tuple[object, ...], frozenset[int]] = {}
    for call in calls:
        form = _form(call)
        if form not in known:
            known[form] = _without_rows(model, call)
    return [replace(call, whole=known[_form(call)]) for call in calls]


def _form(call: Call) -> tuple[object, ...]:
    return tuple((t.dtype, t.dim(), t.dim() > 0 and t.shape[0] == call.rows) for t in call.tensors)


def _without_rows(model: nn.Module, call: Call) -> frozenset[int]:
    """Return the numbers of the tensors of a call that stay whole."""
    alike = [number for number, t in enumerate(call.tensors) if t.dim() and t.shape[0] == call.rows]
    expected = _outputs(model, call)
    if call.rows < 2 or expected is None:
        return call.whole
    every = frozenset(range(len(call.tensors)))
    few = torch.randperm(call.rows, generator=torch.Generator().manual_seed(0))[: min(FEW, call.rows - 1)]
    for cut in _choices(alike):
        part = replace(call, whole=every - cut).take(few)
        found = None if part is None else _outputs(model, part)
        if found is not None and _are_rows(found, expected, few, call.rows):
            return every - cut
        if found is not None and cut == every and _draws(model, call, expected):
            return frozenset()  # what is drawn hides what the rows do
    return every


def _choices(alike: Sequence[int]) -> Iterable[frozenset[int]]:
    """Yield which tensors may be the ones with rows, most of them first."""
    least = 1 if len(alike) <= MOST_TENSORS else len(alike)
    for size in range(len(alike), least - 1, -1):
        yield from map(frozenset, combinations(alike, size))


def _outputs(model: nn.Module, call: Call, seed: int = 0) -> Outputs | None:
    try:
        with undisturbed(model, seed=seed):
            return [t for t in tensors_in(call(model)) if t.is_floating_point()] or None
    except Exception as error:
        raise_lack_of_memory(error)
        return None


def _are_rows(found: Outputs, expected: Outputs, few: Tensor, rows: int) -> bool:
    """Tell whether outputs for a few rows are those rows of the outputs for all."""
    if len(found) != len(expected):
        return False
    wanted = [_rows_of(output, few, rows) for output in expected if output.dim()]
    return not difference([o for o in found if o.dim()], wanted) > tolerance(*(o.dtype for o in expected))


def _rows_of(output: Tensor, few: Tensor, rows: int) -> Tensor:
    """Return a few rows of an output; each may have several entries on end, as flattened positions do."""
    if output.shape[0] == 0 or output.shape[0] % rows:
        return output
    several = output.reshape(rows, output.shape[0] // rows, *output.shape[1:])
    return several[few.to(output.device)].flatten(0, 1)


def _draws(model: nn.Module, call: Call, expected: Outputs) -> bool:
    other = _outputs(model, call, seed=1)
    return other is not None and difference(other, expected) > tolerance(*(t.dtype for t in expected))


def hold_out(calls: Sequence[Call], fraction: float, seed: int) -> tuple[list[Call], list[Call]]:
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


def portions(call: Call, size: int) -> list[Call]:
    """Return a call in portions of at most `size` rows, or whole where its rows cannot be taken apart."""
    pieces = [call.take(rows) for rows in torch.split(torch.arange(call.rows), size)]
    return [call] if any(piece is None for piece in pieces) else [p for p in pieces if p is not None]
