"""What moves when slim blocks are moved together, in what portions, and how their outputs are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.errors import in_words
from jlab_compress.execution.calls import Call
from jlab_compress.execution.isolation import copy_model, undisturbed
from jlab_compress.execution.progress import Progress, Step, follow
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.moving.adam import Course
from jlab_compress.inspection.block import Block

MOVED_TOGETHER = "moved together"
UNMOVED = "The blocks could not be moved together, as the model cannot be differentiated: {}"
FAINT = 1e-6


def needs_whole(block: Block) -> bool:
    """Tell whether a block is fitted by the network around it alone: channels, and neurons with a batch norm.

    What a channel does at one position says little of what its map is worth, and all positions train one
    filter; a norm's statistics, scale and shift have no place in the fit of a single layer.
    """
    return not block.activation_only and (block.kind == "conv" or block.norm is not None)


def free_parameters(slim: nn.Module, blocks: Sequence[Block]) -> list[nn.Parameter]:
    """Return the parameters of the layers that make, normalise and read the neurons of blocks, each once."""
    names = layers_of(blocks)
    found = [p for name in names for p in slim.get_submodule(name).parameters(recurse=False)]
    return list(dict.fromkeys(found))


@contextmanager
def only_free(slim: nn.Module, free: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let only some parameters require gradients; afterwards all are as before, those without gradients."""
    flags = {p: p.requires_grad for p in slim.parameters()}
    try:
        for p in flags:
            p.requires_grad_(False)
        for p in free:
            p.requires_grad_(True)
        yield
    finally:
        for p, flag in flags.items():
            p.requires_grad_(flag)
        for p in free:
            p.grad = None


def layers_of(blocks: Sequence[Block]) -> list[str]:
    """Return the layers that make, normalise and read the neurons of some blocks, each once."""
    names = [name for b in blocks for name in (*b.incoming, b.norm, b.outgoing) if name is not None]
    return list(dict.fromkeys(names))


def running(model: nn.Module, call: Call) -> list[str]:
    """Return the dotted paths of all modules that run, in the order in which they end."""
    ran: list[str] = []

    def note(name: str) -> Callable[..., None]:
        def hook(*seen: Any) -> None:
            ran.append(name)

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    try:
        with undisturbed(model):
            call(model)
    finally:
        for hook in hooks:
            hook.remove()
    return ran


@torch.no_grad()
def take_over(slim: nn.Module, moved: nn.Module) -> None:
    """Give a model the parameters and buffers of a copy of it, in place."""
    mine, theirs = ([*model.parameters(), *model.buffers()] for model in (slim, moved))
    for old, new in zip(mine, theirs, strict=True):
        old.copy_(new)


def move_fits(
    slim: nn.Module,
    blocks: Sequence[Block],
    fits: dict[str, Fit],
    move: Callable[[nn.Module, Step], Course],
    note: str,
    progress: Progress,
) -> tuple[str, ...]:
    """Move blocks of a slim model together, in place, and return the note on it.

    Parameters
    ----------
    slim : nn.Module
        Stays as it is where moving did not help or the model cannot be differentiated.
    blocks : sequence of Block
        Those that move; their entries of `fits` then no longer name kept neurons.
    fits : dict of str to Fit
        By block name; changed in place.
    move : callable
        From (a copy of `slim`, a function to call with steps done and in all) to the course that it took.
    note : str
        Said where it helped.
    progress : bool or callable
        As in `compress`.
    """
    moved = copy_model(slim)
    with follow(progress, "all blocks together") as step:
        try:
            course = move(moved, step)
        except RuntimeError as error:
            return (UNMOVED.format(in_words(error)),)
    if not course.helped:
        return ()
    take_over(slim, moved)
    fits |= {b.name: replace(fits[b.name], indices=None, method=MOVED_TOGETHER) for b in blocks}
    return (note,)


def spread_error(found: Tensor, wanted: Tensor, floor: float = 0.0) -> Tensor:
    """Return ||found - wanted||^2 over the squared spread of what is wanted around its mean over rows.

    The square of `floor` is added to the latter, which is more than rounding.
    """
    least = (FAINT * wanted.norm()).square().clamp_min(torch.finfo(wanted.dtype).tiny)
    spread = (wanted - wanted.mean(dim=0)).square().sum() + floor**2
    return (found - wanted).square().sum() / torch.maximum(spread, least)
