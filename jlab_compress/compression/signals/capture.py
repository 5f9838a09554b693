"""What reaches a block, and what leaves it, on the calibration batches.

The only place that hooks into a running model. Hooks sit on copies and are gone afterwards; rows are
kept one block at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jlab_compress.errors import in_words
from jlab_compress.execution.calls import Call
from jlab_compress.execution.isolation import undisturbed
from jlab_compress.slim.layers import is_conv

MOST_ROWS = 16_384
MOST_POSITIONS = 64


class ReachedError(Exception):
    """Ends a forward call once the last wanted layer has run."""


def layer_rows(
    model: nn.Module,
    calls: Iterable[Call],
    watched: dict[str, tuple[str, str]],
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
    watched : dict of str to (str, str)
        Per label a layer's dotted path and "input" or "output".
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
    kept: dict[str, list[Tensor]] = {label: [] for label in watched}
    keys: list[Tensor] = []
    generator = torch.Generator().manual_seed(seed)
    for number, call in enumerate(calls):
        found = _watch(model, call, watched, number)
        rows = next(iter(found.values())).shape[0]
        keys.append(torch.rand(rows, generator=generator))
        for label, values in found.items():
            _check_rows(values, rows, watched[label][0], number)
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


def _watch(
    model: nn.Module, call: Call, watched: dict[str, tuple[str, str]], number: int
) -> dict[str, Tensor]:
    found: dict[str, list[Tensor]] = {label: [] for label in watched}
    hooks = [
        _attach(model.get_submodule(name), side, found, label) for label, (name, side) in watched.items()
    ]
    try:
        with undisturbed(model):
            call(model)
    except ReachedError:
        pass
    except Exception as error:
        raise ValueError(
            f"calibration batch {number}: the model fails on it ({in_words(error)}); "
            "pass what its forward takes"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    for label, values in found.items():
        if not values:
            raise ValueError(
                f"calibration batch {number}: it does not reach {watched[label][0]}; pass inputs that do"
            )
    return {label: rows_of(values[0], call) for label, values in found.items()}


def _attach(module: nn.Module, side: str, found: dict[str, list[Tensor]], label: str) -> Any:
    def keep(value: Tensor) -> None:
        value = patches(module, value) if side == "input" and is_conv(module) else value
        found[label].append(value.detach().clone())
        if all(found.values()):
            raise ReachedError

    def watch(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
        keep(output if side == "output" else args[0] if args else next(iter(kwargs.values())))

    return module.register_forward_hook(watch, with_kwargs=True)


def rows_with_graph(model: nn.Module, call: Call, name: str) -> Tensor:
    """Return what leaves a layer as rows (q, width) that can be differentiated; the run ends there."""
    found: dict[str, list[Tensor]] = {name: []}

    def keep(module: nn.Module, args: Any, output: Tensor) -> None:
        found[name].append(output)
        raise ReachedError

    hook = model.get_submodule(name).register_forward_hook(keep)
    try:
        with undisturbed(model), torch.enable_grad():
            call(model)
    except ReachedError:
        pass
    finally:
        hook.remove()
    outputs = found[name][0]
    return rows_of(outputs.movedim(1, -1) if is_conv(model.get_submodule(name)) else outputs, call)


def patches(conv: Any, images: Tensor, *, most: int = MOST_POSITIONS) -> Tensor:
    """Return what a convolution's filter sees, (batch, positions, channels * filter size).

    Only at the positions that are `looked_at`.
    """
    single = images.dim() == len(conv.kernel_size) + 1
    seen = images.unsqueeze(0) if single else images
    seen = F.pad(seen, [side for width in reversed(conv.padding) for side in (width, width)])
    axes = range(2, seen.dim())
    for axis, size, step, gap in zip(axes, conv.kernel_size, conv.stride, conv.dilation, strict=True):
        seen = seen.unfold(axis, gap * (size - 1) + 1, step)[..., ::gap]
    places = looked_at(math.prod(seen.shape[axis] for axis in axes), most).to(seen.device)
    at: tuple[Any, ...] = torch.unravel_index(places, seen.shape[2 : 2 + len(axes)])
    return seen[(slice(None), slice(None), *at)].transpose(1, 2).flatten(2)


def looked_at(positions: int, most: int) -> Tensor:
    """Return which of an image's positions are looked at: at most `most`, drawn once for all images."""
    order = torch.randperm(positions, generator=torch.Generator().manual_seed(positions))
    return order[:most].sort().values


def rows_of(values: Tensor, call: Call) -> Tensor:
    """Return values (..., width) as rows (q, width), without those that the call's mask blanks."""
    mask = _mask_of(values, call)
    return values.reshape(-1, values.shape[-1]) if mask is None else values[mask]


def means_of(values: Tensor, call: Call) -> Tensor:
    """Return values (rows, positions, width) as their means over positions that the mask keeps."""
    mask = _mask_of(values, call)
    if mask is None:
        return values.mean(dim=1)
    shares = mask[:, :, None].to(values)
    return (values * shares).sum(dim=1) / shares.sum(dim=1).clamp_min(1.0)


def _mask_of(values: Tensor, call: Call) -> Tensor | None:
    mask = None if "decoder_input_ids" in call.kwargs else call.kwargs.get("attention_mask")
    fits = isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape == values.shape[:-1]
    return mask != 0 if isinstance(mask, Tensor) and fits else None


def _check_rows(values: Tensor, rows: int, name: str, number: int) -> None:
    if values.shape[0] != rows:
        raise ValueError(
            f"block {name}: calibration batch {number} gives {values.shape[0]} rows where {rows} were "
            "expected; pass batches in which every layer sees the same rows"
        )
    if not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"block {name}: calibration batch {number} reaches it with NaN or infinite values; "
            "check the model's weights and inputs"
        )
