"""How an error in one block reaches the outputs of the whole model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from jlab_compress.execution.calls import Call
from jlab_compress.execution.capture import Change, Tap, capture
from jlab_compress.execution.closeness import function_gap
from jlab_compress.execution.outputs import outputs_of
from jlab_compress.inspection.block import Block

SIZE = 0.2


def sensitivity(model: nn.Module, block: Block, calls: Sequence[Call], *, seed: int = 0) -> float:
    """Return the relative error of the model's outputs per relative error of a block.

    White noise, a fifth of their size, is added to the block's outputs. The block's error is looked at
    where its forecast is: behind the norm of the residual stream, if the block writes into one.

    Parameters
    ----------
    model : nn.Module
        A copy; it runs twice over the calls and ends as it was.
    block : Block
        What to disturb.
    calls : sequence of Call
        A few rows serve.
    seed : int
        Of the noise.

    Returns
    -------
    float
        0.0 for a block whose outputs do not matter.
    """
    place = block.residual.norm if block.residual is not None and block.residual.last else block.outgoing
    generator = torch.Generator().manual_seed(seed)

    def noise(output: Tensor) -> Tensor:
        drawn = torch.randn(output.shape, generator=generator).to(output)
        return output + SIZE * output.square().mean().sqrt() * drawn

    before = [_run(model, call, place) for call in calls]
    after = [_run(model, call, place, {block.outgoing: noise}) for call in calls]
    inside = function_gap([near for near, _ in before], [near for near, _ in after])
    outside = function_gap(
        chain.from_iterable(far for _, far in before), chain.from_iterable(far for _, far in after)
    )
    return outside / inside if inside > 0 else 0.0


def _run(
    model: nn.Module, call: Call, place: str, changes: Mapping[str, Change] | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Return what leaves a module, and the model's outputs."""
    found = capture(model, call, {"place": Tap(place)}, changes=changes, to_the_end=True)
    return found.values["place"], outputs_of(found.result)
