"""Rows of calibration calls taken apart: rows that no fit sees, small batches, a first look."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from jlab_compress.execution.calls import Call


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
