"""Hidden states, block inputs and back-propagated gradients of one run of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from jlab_compress.compression.signals.positions import means_of, rows_of
from jlab_compress.execution.calls import Call
from jlab_compress.execution.capture import Change, Tap, capture
from jlab_compress.execution.outputs import outputs_with_rows
from jlab_compress.inspection.block import Block

ROWS = 256


@dataclass(frozen=True)
class Signals:
    """What one run of a model leaves behind.

    Parameters
    ----------
    states : list of Tensor
        The outputs of the watched modules, one row per position, padding left out. For sequences the means
        of the last one over positions follow, because a head usually reads that mean rather than any one
        position. Then come the model's own outputs, where they are wanted or no module is watched.
    inputs : mapping of str to Tensor (q, n_in)
        By block name, the rows that enter it.
    cotangents : mapping of str to Tensor (q, n_out)
        By block name, the gradient of a random sum of the model's outputs with respect to the block's output.
    """

    states: list[Tensor]
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    cotangents: Mapping[str, Tensor] = field(default_factory=dict)

    def picked(self, name: str, generator: torch.Generator) -> Tensor:
        """Return up to 256 of a block's rows, drawn among those whose gradient is not zero."""
        reached = self.cotangents[name].abs().sum(dim=1).nonzero()[:, 0]
        return reached[torch.randperm(len(reached), generator=generator)[:ROWS].to(reached.device)]


def read_signals(
    model: nn.Module,
    call: Call,
    watched: Sequence[str],
    blocks: Sequence[Block] = (),
    *,
    whole: bool = False,
    gradients: bool = False,
    generator: torch.Generator | None = None,
) -> Signals:
    """Run a model in evaluation mode and return its signals.

    Parameters
    ----------
    model : nn.Module
        Original or slim.
    call : Call
        Its inputs.
    watched : sequence of str
        Dotted paths of the modules whose outputs are states.
    blocks : sequence of Block
        Those whose inputs are returned.
    whole : bool
        Whether the model's outputs are states too.
    gradients : bool
        Whether the states and inputs can be differentiated.
    generator : torch.Generator, optional
        Draws a random sum of the outputs; the blocks' cotangents are its gradients. Without it, and without
        `whole`, the run ends once all watched modules and blocks are reached.
    """
    leaves: dict[str, Tensor] = {}
    differentiated = gradients or generator is not None
    into, behind = {b.name: f"into {b.name}" for b in blocks}, {path: f"behind {path}" for path in watched}
    taps = {label: Tap(path) for path, label in behind.items()}
    taps |= {into[b.name]: Tap(b.incoming[0], "input") for b in blocks}
    found = capture(
        model,
        call,
        taps,
        changes={b.outgoing: _adds_leaf(leaves, b.name) for b in blocks} if generator is not None else None,
        gradients=differentiated,
        to_the_end=whole or not watched or generator is not None,
    )
    outputs = [] if found.result is None else outputs_with_rows(found.result)
    states = [rows_of(found.values[behind[path]], call) for path in watched]
    if watched and (last := found.values[behind[watched[-1]]]).dim() == 3:
        states.append(means_of(last, call))
    states += outputs if whole or not watched else []
    reached = {name: label for name, label in into.items() if label in found.values}
    inputs = {name: rows_of(found.values[label], call) for name, label in reached.items()}
    sent = _cotangents(outputs, leaves, call, generator) if generator is not None else {}
    if differentiated and not gradients:
        states, inputs = [s.detach() for s in states], {name: x.detach() for name, x in inputs.items()}
    return Signals(states, inputs, sent)


def _adds_leaf(leaves: dict[str, Tensor], name: str) -> Change:
    def add(output: Tensor) -> Tensor:
        leaves[name] = torch.zeros_like(output, requires_grad=True)
        return output + leaves[name]

    return add


@torch.enable_grad()
def _cotangents(
    outputs: list[Tensor], leaves: dict[str, Tensor], call: Call, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the gradients at the leaves, as rows without padding, of a random sum of the outputs."""
    total = random_sum(outputs, call, generator)
    if not total.requires_grad:
        return {}
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    gradients = zip(leaves, found, strict=True)
    return {name: rows_of(g, call) for name, g in gradients if g is not None and bool(g.any())}


def random_sum(outputs: list[Tensor], call: Call, generator: torch.Generator) -> Tensor:
    """Return a random sum of all outputs of a call.

    Each row of a batch has its own random vector. All its positions that are no padding, or all pixels of an
    image, share it: what is read from a sequence is read everywhere.
    """
    total = torch.zeros(())
    for output in outputs:
        if output.dim() > 3:
            first = output.detach().flatten(2)[:, :, 0].view(*output.shape[:2], *[1] * (output.dim() - 2))
        else:
            first = (output if output.dim() < 3 else output[:, :1]).detach()
        draw = torch.randn(first.shape, generator=generator).to(first)
        kept = rows_of(output, call) if output.dim() == 3 else output
        drawn = rows_of(draw.expand_as(output), call) if output.dim() == 3 else draw
        total = total.to(output) + (kept * drawn).sum()
    return total
