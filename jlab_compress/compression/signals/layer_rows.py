"""Rows that enter or leave some layers on the calibration batches, one block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from jlab_compress.compression.signals.positions import patches, rows_of
from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.calls import Call
from jlab_compress.execution.capture import Tap, capture
from jlab_compress.slim.weighted import is_conv

MOST_ROWS = 16_384


def layer_rows(
    model: nn.Module,
    calls: Iterable[Call],
    taps: Mapping[str, Tap],
    *,
    seed: int = 0,
    most: int = MOST_ROWS,
    progress: Callable[[], None] | None = None,
) -> dict[str, Tensor]:
    """Run a model over calibration calls and return rows that enter or leave some of its layers.

    Parameters
    ----------
    model : nn.Module
        Runs in evaluation mode; its flags are put back.
    calls : iterable of Call
        The calibration batches.
    taps : mapping of str to Tap
        Per label a layer, and which side of it to look at.
    seed : int
        Of the draw of rows where there are more than `most`; the same rows for every label and for
        every model with the same seed and calls.
    most : int
        Rows to keep.
    progress : callable, optional
        Called once after each batch.

    Returns
    -------
    dict of str to Tensor (q, width)
        Detached rows in the model's dtype, in the order of the batches. Rows that a batch's
        `attention_mask` blanks are left out.

    Raises
    ------
    ValueError
        If a call fails, a layer is not reached, or a row holds NaN or infinite values.
    """
    kept: dict[str, list[Tensor]] = {label: [] for label in taps}
    keys: list[Tensor] = []
    generator = torch.Generator().manual_seed(seed)
    for number, call in enumerate(calls):
        found = _found(model, call, taps, number)
        rows = next(iter(found.values())).shape[0]
        keys.append(torch.rand(rows, generator=generator))
        for label, values in found.items():
            earlier = kept[label][0] if kept[label] else values
            _check_rows(values, (rows, earlier.shape[1]), taps[label].module, number)
            kept[label].append(values)
        if sum(len(k) for k in keys) > 2 * most:
            _thin(kept, keys, most)
        if progress is not None:
            progress()
    _thin(kept, keys, most)
    return {label: values[0] for label, values in kept.items()}


def _thin(kept: dict[str, list[Tensor]], keys: list[Tensor], most: int) -> None:
    """Keep the rows with the smallest keys, a fair draw whose result depends on the keys alone."""
    every = torch.cat(keys)
    chosen = every.argsort()[:most].sort().values
    keys[:] = [every[chosen]]
    for label, values in kept.items():
        rows = torch.cat(values)
        kept[label] = [rows if len(chosen) == len(rows) else rows[chosen.to(rows.device)]]


def _found(model: nn.Module, call: Call, taps: Mapping[str, Tap], number: int) -> dict[str, Tensor]:
    try:
        values = capture(model, call, taps).values
    except Exception as error:
        raise_lack_of_memory(error)
        raise ValueError(
            f"calibration batch {number}: the model fails on it ({in_words(error)}); "
            "pass what its forward takes"
        ) from error
    rows = {}
    for label, tap in taps.items():
        if label not in values:
            raise ValueError(
                f"calibration batch {number}: it does not reach {tap.module}; pass inputs that do"
            )
        module = model.get_submodule(tap.module)
        seen = tap.side == "input" and is_conv(module)
        rows[label] = rows_of(patches(module, values[label]) if seen else values[label], call)
    return rows


def rows_with_graph(model: nn.Module, call: Call, name: str) -> Tensor:
    """Return what leaves a layer as rows (q, width) that can be differentiated; the run ends there."""
    output = capture(model, call, {name: Tap(name)}, gradients=True).values[name]
    return rows_of(output.movedim(1, -1) if is_conv(model.get_submodule(name)) else output, call)


def _check_rows(values: Tensor, shape: tuple[int, int], name: str, number: int) -> None:
    advice = {"rows": "in which every layer sees the same rows", "features": "with the same features"}
    for what, found, expected in zip(advice, values.shape, shape, strict=True):
        if found != expected:
            raise ValueError(
                f"calibration batch {number}: it gives {found} {what} at {name} where {expected} were "
                f"expected; pass batches {advice[what]}"
            )
    if not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"calibration batch {number}: it reaches {name} with NaN or infinite values; "
            "check the model's weights and inputs"
        )
