"""Training and held-out batches: read once, then served to every model in a drawn order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from jlab_compress.execution.inputs import read_all

Batch = tuple[Any, Any]


def materialise(
    batches: Iterable[Any],
    limit: int | None = None,
    *,
    argument: str = "batches",
    cure: str = "pass steps=, or a list of pairs",
) -> tuple[Batch, ...]:
    """Read at most `limit` (inputs, targets) pairs, once, so that every model sees the same tensors.

    Parameters
    ----------
    batches : iterable of (inputs, targets)
        A DataLoader, a list or a generator; a pair may be a tuple or a list of two.
    limit : int or None
        The number of pairs to read; None reads to the end.
    argument : str
        The caller's name for `batches`, for the error.
    cure : str
        What to do about pairs without end.

    Raises
    ------
    TypeError
        If `batches` cannot be iterated.
    ValueError
        If there is no batch or no end of them, or one is not a pair.

    Examples
    --------
    >>> materialise(([step], [-step]) for step in range(100))[:2]
    (([0], [0]), ([1], [-1]))
    >>> len(materialise((([step], [-step]) for step in range(100)), 3))
    3
    """
    if not isinstance(batches, Iterable) or isinstance(batches, torch.Tensor | str):
        raise TypeError(
            f"{argument}: expected an iterable of (inputs, targets) pairs such as a DataLoader, "
            f"got {type(batches).__name__}; wrap one batch in a list"
        )
    pairs = tuple(_pair(batch, argument) for batch in read_all(batches, argument, limit, cure))
    if not pairs:
        raise ValueError(
            f"{argument}: expected at least one (inputs, targets) pair, got none; is the loader empty?"
        )
    return pairs


def materialise_held_out(held_out: Any) -> tuple[Batch, ...]:
    """Read held-out data: one tuple (inputs, targets), or an iterable of such pairs as for training."""
    single = isinstance(held_out, tuple) and len(held_out) == 2 and not isinstance(held_out[1], tuple | list)
    return materialise([held_out] if single else held_out, argument="held_out", cure="pass a list of pairs")


def draw_order(n_batches: int, seed: int) -> Iterator[int]:
    """Yield batch numbers without end: pass after pass, each pass in its own drawn order.

    Examples
    --------
    >>> order = draw_order(3, seed=0)
    >>> sorted(next(order) for _ in range(3)), sorted(next(order) for _ in range(3))
    ([0, 1, 2], [0, 1, 2])
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(n_batches, generator=generator).tolist()


def _pair(batch: Any, argument: str) -> Batch:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        shape = (
            f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else type(batch).__name__
        )
        raise ValueError(
            f"{argument}: expected every batch to be a pair (inputs, targets), got {shape}; "
            "yield inputs as a tensor, a tuple of positional or a dict of keyword arguments"
        )
    return batch[0], batch[1]
