"""How an error in one block reaches the outputs of the whole model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from jlab_compress.execution.calls import Call
from jlab_compress.execution.capture import Change, Tap, capture
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
    sums = torch.zeros(4, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)

    def noise(output: Tensor) -> Tensor:
        drawn = torch.randn(output.shape, generator=generator).to(output)
        return output + SIZE * output.square().mean().sqrt() * drawn

    for call in calls:
        near, far = _run(model, call, place)
        shaken, end = _run(model, call, place, {block.outgoing: noise})
        pairs = ([shaken], [near]), (end, far)
        for i, (found, wanted) in enumerate(pairs):
            sums[2 * i] += sum(
                float((a - b).double().square().sum()) for a, b in zip(found, wanted, strict=True)
            )
            sums[2 * i + 1] += sum(float(b.double().square().sum()) for b in wanted)
    inside, outside = (float((sums[i] / sums[i + 1].clamp_min(1e-300)).sqrt()) for i in (0, 2))
    return outside / inside if inside > 0 else 0.0


def _run(
    model: nn.Module, call: Call, place: str, changes: Mapping[str, Change] | None = None
) -> tuple[Tensor, list[Tensor]]:
    found = capture(model, call, {"place": Tap(place)}, changes=changes, to_the_end=True)
    return found.values["place"], outputs_of(found.result)
