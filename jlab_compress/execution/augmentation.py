"""Further calibration made from the rows at hand: tokens exchanged between sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from jlab_compress.execution.calls import Call

SHARE = 0.3


def exchanged(calls: Sequence[Call], *, seed: int = 0) -> list[Call]:
    """Return calls in which three positions in ten come from another row of the same call.

    The original answers for any input, so rows that nobody wrote still say what to compute, and the words
    of a few hundred sentences stand in more surroundings than those that calibration happens to show.

    Parameters
    ----------
    calls : sequence of Call
        The calibration.
    seed : int
        Of the draw of rows and positions.

    Returns
    -------
    list of Call
        One per call with whole-number tensors (rows, positions), whose tensors of that shape, masks too,
        are all exchanged alike; calls without such tensors, with one row or with other shapes give none.

    Examples
    --------
    >>> (view,) = exchanged([Call((torch.tensor([[1, 2, 3], [4, 5, 6]]),))])
    >>> sorted(view.args[0][:, 0].tolist()) in ([1, 1], [1, 4], [4, 4])
    True
    """
    generator = torch.Generator().manual_seed(seed)
    views = [exchange(call, generator) for call in calls]
    return [view for view in views if view is not None]


def exchange(call: Call, generator: torch.Generator) -> Call | None:
    """Return one view of one call as in `exchanged`, or None where it has none."""
    shape = positions_of(call)
    if shape is None or call.rows < 2:
        return None
    mine = torch.rand(shape, generator=generator) >= SHARE
    other = torch.randperm(shape[0], generator=generator)

    def mixed(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.shape[:2] != shape:
            return value
        kept = mine.to(value.device).reshape(*shape, *[1] * (value.dim() - 2))
        return torch.where(kept, value, value[other.to(value.device)])

    kwargs = {key: mixed(value) for key, value in call.kwargs.items()}
    return replace(call, args=tuple(mixed(value) for value in call.args), kwargs=kwargs)


def positions_of(call: Call) -> tuple[int, int] | None:
    """Return (rows, positions) where all tensors of the call have them, one of them whole numbers."""
    shapes = {tuple(t.shape[:2]) for t in call.tensors if t.dim() > 1}
    whole = any(t.dim() == 2 and not t.is_floating_point() and t.dtype != torch.bool for t in call.tensors)
    if not whole or len(shapes) != 1:
        return None
    rows, positions = shapes.pop()
    return rows, positions
