"""What a block's outputs are worth to the model around it: the residual stream and the norm behind it.

In a transformer the error of a block counts relative to the stream that its output is added to, after the
norm that reads the sum. Fits that know both make up for the errors of earlier slim blocks as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from jlab_compress.compression.signals.layer_rows import layer_rows
from jlab_compress.execution.calls import Call
from jlab_compress.execution.capture import Tap
from jlab_compress.execution.isolation import copy_model
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.post_norm import PostNormMap
from jlab_compress.inspection.block import Block
from jlab_compress.slim.layers import input_scale


def gather_inputs(model: nn.Module, incoming: str, calls: Sequence[Call], *, seed: int) -> Tensor:
    """Return the rows that reach a layer, (q, n_in), scaled by `input_scale`, in float64 on the CPU."""
    rows = layer_rows(model, calls, {"inputs": Tap(incoming, "input")}, seed=seed)["inputs"]
    return _scaled(model, incoming, _wide(rows))


def gather_rows(
    original: nn.Module,
    slim: nn.Module,
    block: Block,
    calls: Sequence[Call],
    *,
    follows_slim: bool = False,
    inside: bool = False,
    seed: int,
) -> FitRows:
    """Run the calibration through both models and return the rows for one block, with its goal.

    Parameters
    ----------
    original, slim : nn.Module
        The model before, and as it is so far; the block itself is still as it was.
    block : Block
        Where to look.
    calls : sequence of Call
        The calibration.
    follows_slim : bool
        Whether an earlier block is slim already, so that the two models differ.
    inside : bool
        Whether the inputs are what the block's units give, as it enters the outgoing layer, and not what
        reaches the block, scaled by `input_scale`.
    seed : int
        Of the draw of rows.
    """
    residual, incoming = block.residual, block.outgoing if inside else block.incoming[0]
    taps = {"inputs": Tap(incoming, "input"), "outputs": Tap(block.outgoing)}
    if residual is not None:
        taps["sum"] = Tap(residual.norm, "input")
    found = {label: _wide(t) for label, t in layer_rows(slim, calls, taps, seed=seed).items()}
    inputs = found["inputs"] if inside else _scaled(slim, incoming, found["inputs"])
    reference = found
    if follows_slim:
        taps.pop("inputs")
        reference = {label: _wide(t) for label, t in layer_rows(original, calls, taps, seed=seed).items()}
    if residual is None:
        return FitRows(inputs, reference["outputs"] if follows_slim else None)
    stream = found["sum"] - found["outputs"]
    norm = _norm_of(original.get_submodule(residual.norm)) if residual.last else None
    return FitRows(inputs, reference["sum"] - stream, PostNormMap(stream, norm))


def _scaled(model: nn.Module, incoming: str, inputs: Tensor) -> Tensor:
    scale = input_scale(model.get_submodule(incoming))
    return inputs if scale is None else inputs * _wide(scale)


def _wide(rows: Tensor) -> Tensor:
    return rows.double().cpu()


def _norm_of(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    copied = copy_model(norm).to("cpu", torch.float64).eval().requires_grad_(False)
    # The user's hooks on the norm are left out by calling `forward` itself.
    return lambda values: cast(Tensor, copied.forward(values.double()).to(values))
