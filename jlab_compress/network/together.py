"""Slim blocks polished together: the slim model as a whole against the hidden states of the original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.fitting.together import Course, move_together
from jlab_compress.network.blocks import Block
from jlab_compress.network.extraction import means_of, rows_of
from jlab_compress.network.inputs import Call, outputs_of
from jlab_compress.network.tracing import undisturbed
from jlab_compress.network.views import exchanged

ROWS = 32


def polish(
    original: nn.Module,
    slim: nn.Module,
    blocks: Sequence[Block],
    calls: Sequence[Call],
    held: Sequence[Call],
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Course:
    """Move the neurons of all slim blocks together, in place: pass a copy.

    Fits made block by block do not know what later blocks make of their errors. Here the slim model runs
    as a whole and its hidden states behind every block's norm (its outputs, where no block has one) are
    drawn to the original's. Every parameter outside of the blocks stays.

    Parameters
    ----------
    original, slim : nn.Module
        The model before, and a copy of it with slim blocks.
    blocks : sequence of Block
        Those that may move.
    calls, held : sequence of Call
        Calibration to learn from, its exchanged views with it, and rows that no fit has seen, which judge.
    seed : int
        Of the order.
    progress : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    Course
        The mean squared relative error on held-out rows before and after; never higher after. Cost: at
        most 200 passes of 32 rows through both models, one of them with gradients.
    """
    parts = [chunk for call in (*calls, *exchanged(calls, seed=seed)) for chunk in _chunks(call)]
    judges = [chunk for call in held for chunk in _chunks(call)]
    watched = list(dict.fromkeys(b.residual.norm for b in blocks if b.residual is not None))
    free = _free_parameters(slim, blocks)
    flags = {p: p.requires_grad for p in slim.parameters()}

    def loss(number: int) -> Tensor:
        call = parts[number] if number < len(parts) else judges[number - len(parts)]
        wanted = states(original, call, watched)
        found = states(slim, call, watched, gradients=torch.is_grad_enabled())
        return torch.stack([_error(a, b) for a, b in zip(found, wanted, strict=True)]).sum()

    try:
        for p in flags:
            p.requires_grad_(False)
        for p in free:
            p.requires_grad_(True)
        numbers = range(len(parts) + len(judges))
        return move_together(
            free, loss, numbers[: len(parts)], numbers[len(parts) :], seed=seed, progress=progress
        )
    finally:
        for p, flag in flags.items():
            p.requires_grad_(flag)
            p.grad = None


def states(model: nn.Module, call: Call, watched: Sequence[str], *, gradients: bool = False) -> list[Tensor]:
    """Return what leaves the watched modules, as rows without padding; the model's outputs if none is.

    Where the last of them gives one row per position, the means over the positions follow: what is read
    from a sequence is more often its mean than any one position.
    """
    found: dict[str, Tensor] = {}
    hooks = [model.get_submodule(name).register_forward_hook(_keeper(found, name)) for name in watched]
    try:
        with undisturbed(model), torch.set_grad_enabled(gradients):
            outputs = outputs_of(call(model))
    finally:
        for hook in hooks:
            hook.remove()
    if not watched:
        return outputs
    rows, last = [rows_of(found[name], call) for name in watched], found[watched[-1]]
    return [*rows, means_of(last, call)] if last.dim() == 3 else rows


def _keeper(found: dict[str, Tensor], name: str) -> Callable[..., None]:
    def keep(module: nn.Module, args: Any, output: Tensor) -> None:
        found[name] = output

    return keep


def _error(found: Tensor, wanted: Tensor) -> Tensor:
    spread = (wanted - wanted.mean(dim=0)).square().sum().clamp_min(torch.finfo(wanted.dtype).tiny)
    return (found - wanted).square().sum() / spread


def _free_parameters(slim: nn.Module, blocks: Sequence[Block]) -> list[nn.Parameter]:
    names = [name for block in blocks for name in (*block.incoming, block.outgoing)]
    found = [p for name in names for p in slim.get_submodule(name).parameters(recurse=False)]
    return list(dict.fromkeys(found))


def _chunks(call: Call) -> list[Call]:
    pieces = [call.take(rows) for rows in torch.split(torch.arange(call.rows), ROWS)]
    return [call] if any(piece is None for piece in pieces) else [p for p in pieces if p is not None]
