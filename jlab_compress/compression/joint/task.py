"""What a joint refinement works on and returns, and which blocks it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from jlab_compress.execution.calls import Call
from jlab_compress.execution.progress import Progress
from jlab_compress.fitting.effort import NORMAL, Effort
from jlab_compress.fitting.fit import Fit
from jlab_compress.inspection.block import Block

DISTILLATION, NTK_MATCHING = "joint distillation", "NTK matching"


@dataclass(frozen=True)
class Refinement:
    """What a joint refinement works on.

    Parameters
    ----------
    original, slim : nn.Module
        The teacher, which stays as it is, and its slim form, which changes in place: pass a copy.
    blocks : tuple of Block
        The slim blocks, in the order in which they run.
    running : tuple of str
        Dotted paths of the modules that call torch themselves, in that order: `Trace.modules`. A layer whose
        parameters another module uses is not among them.
    fit, held : tuple of Call
        Calibration to learn from, and rows that no fit has seen, on which the loss must fall.
    seed : int
        Of all draws.
    effort : Effort
        How many steps are taken.
    progress : bool or callable
        As in `compress`.
    """

    original: nn.Module
    slim: nn.Module
    blocks: tuple[Block, ...]
    running: tuple[str, ...]
    fit: tuple[Call, ...]
    held: tuple[Call, ...]
    seed: int = 0
    effort: Effort = NORMAL
    progress: Progress = False

    def of(self, blocks: Iterable[Block]) -> Refinement:
        """Return the same for some of the blocks."""
        return replace(self, blocks=tuple(blocks))


@dataclass(frozen=True)
class Outcome:
    """What a stage that looks at the whole model says on the fits of its blocks.

    Parameters
    ----------
    fits : mapping of str to Fit
        Of all blocks, by name.
    notes : tuple of str
        For the report.
    """

    fits: Mapping[str, Fit]
    notes: tuple[str, ...] = ()


def is_refined(fit: Fit) -> bool:
    """Tell whether a block was refined jointly; then its own errors are from before."""
    return fit.method in (DISTILLATION, NTK_MATCHING)


def needs_whole(block: Block) -> bool:
    """Tell whether a block is fitted only as part of the network: channels, and neurons with a batch norm.

    What a channel gives at one position says little of what its whole map is worth, and all positions train
    the same filter. A batch norm's statistics, scale and shift have no place in the fit of a single layer.
    """
    return not block.activation_only and (block.kind == "conv" or block.norm is not None)


def layers_of(blocks: Sequence[Block]) -> list[str]:
    """Return the layers that make, normalise and read the neurons of some blocks, each once."""
    names = [name for b in blocks for name in (*b.incoming, b.norm, b.outgoing) if name is not None]
    return list(dict.fromkeys(names))


def matchable(task: Refinement) -> tuple[Block, ...]:
    """Return the blocks for NTK matching: several of linear layers or channels, or one that `needs_whole`.

    None in half precision, or without held-out rows. Blocks with a layer that does not run itself are left
    out, as their gradients cannot be read.
    """
    exact = all(p.dtype in (torch.float32, torch.float64) for p in task.original.parameters())
    if not exact or not task.held:
        return ()
    able = [b for b in task.blocks if not b.activation_only and b.kind in ("mlp", "gated-mlp", "conv")]
    able = [b for b in able if set(layers_of([b])) <= set(task.running)]
    return tuple(able) if len(able) > 1 or any(needs_whole(b) for b in able) else ()


def network_blocks(task: Refinement) -> frozenset[str]:
    """Return the names of the blocks that are started only, and then refined with the network around them.

    All of them where they share a residual stream; else channels, and neurons with a batch norm, if they can
    be refined.
    """
    if share_stream(task.blocks):
        return frozenset(block.name for block in task.blocks)
    return frozenset(block.name for block in matchable(task) if needs_whole(block))


def share_stream(blocks: Iterable[Block]) -> bool:
    """Tell whether neurons, or several blocks, write into a residual stream.

    Their errors meet in the stream, so such blocks are refined with the network around them and judged behind
    the norm that reads the stream; the heads of a single block are not.
    """
    writers = [block for block in blocks if block.residual is not None]
    return len(writers) > 1 or any(not block.activation_only for block in writers)
