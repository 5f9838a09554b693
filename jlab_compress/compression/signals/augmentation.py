"""More calibration out of the rows at hand: sentences in which some tokens come from other sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from jlab_compress.execution.calls import Call

SHARE = 0.3


def augmented(calls: Sequence[Call], *, seed: int = 0) -> list[Call]:
    """Return synthetic calls, in which three tokens in ten come from another row of the same call.

    No labels are needed: the original model says what its slim form should compute on any input, also on
    sentences that nobody wrote. In them the words of a small calibration batch meet many more neighbours
    than in the sentences themselves.

    Parameters
    ----------
    calls : sequence of Call
        The calibration.
    seed : int
        Of the draw of rows and positions.

    Returns
    -------
    list of Call
        One for each call with integer tensors (rows, positions). All tensors of that leading shape, masks
        too, take the same positions from the same rows. A call without integer tensors, with a single row or
        with tensors of several leading shapes gives none.

    Examples
    --------
    >>> (synthetic,) = augmented([Call((torch.tensor([[1, 2, 3], [4, 5, 6]]),))])
    >>> sorted(synthetic.args[0][:, 0].tolist()) in ([1, 1], [1, 4], [4, 4])
    True
    """
    generator = torch.Generator().manual_seed(seed)
    found = [augment(call, generator) for call in calls]
    return [synthetic for synthetic in found if synthetic is not None]


def augment(call: Call, generator: torch.Generator) -> Call | None:
    """Return the synthetic form of one call as in `augmented`, or None where it has none."""
    shape = positions_of(call)
    if shape is None or call.rows < 2:
        return None
    own = torch.rand(shape, generator=generator) >= SHARE
    other = torch.randperm(shape[0], generator=generator)

    def mixed(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.shape[:2] != shape:
            return value
        kept = own.to(value.device).reshape(*shape, *[1] * (value.dim() - 2))
        return torch.where(kept, value, value[other.to(value.device)])

    kwargs = {key: mixed(value) for key, value in call.kwargs.items()}
    return replace(call, args=tuple(mixed(value) for value in call.args), kwargs=kwargs)


def positions_of(call: Call) -> tuple[int, int] | None:
    """Return (rows, positions) where all tensors start with these dimensions and one holds integers."""
    shapes = {tuple(t.shape[:2]) for t in call.tensors if t.dim() > 1}
    integers = any(t.dim() == 2 and not t.is_floating_point() and t.dtype != torch.bool for t in call.tensors)
    if not integers or len(shapes) != 1:
        return None
    rows, positions = shapes.pop()
    return rows, positions
