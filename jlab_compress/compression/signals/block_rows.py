"""What a block's outputs are worth to the model around it: the residual stream and the norm behind it.

In a transformer the error of a block counts relative to the stream that its output is added to, after the
norm that reads the sum. Fits that know both make up for the errors of earlier slim blocks as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from jlab_compress.compression.signals.capture import layer_rows
from jlab_compress.execution.calls import Call
from jlab_compress.execution.isolation import copy_model
from jlab_compress.inspection.residual import Residual
from jlab_compress.slim.surgery import input_scale


@dataclass(frozen=True)
class Rows:
    """Calibration rows of one block, in float64 on the CPU.

    Parameters
    ----------
    inputs : Tensor (q, n_in)
        What reaches the block in the slim model so far.
    targets : Tensor (q, n_out) or None
        What its outputs should be, so that the model goes on as the original does; None for the block's own.
    stream : Tensor (q, n_out) or None
        What the slim model adds to the outputs.
    readout : callable or None
        The norm through which the sum is read, row by row.
    made_up : int
        How many of the last rows come from exchanged views of the calibration.
    """

    inputs: Tensor
    targets: Tensor | None = None
    stream: Tensor | None = None
    readout: Callable[[Tensor], Tensor] | None = None
    made_up: int = 0

    def joined(self, views: Rows) -> Rows:
        """Return these rows with those of views, which have the same goal, behind them."""

        def both(mine: Tensor | None, theirs: Tensor | None) -> Tensor | None:
            return None if mine is None or theirs is None else torch.cat([mine, theirs])

        inputs = torch.cat([self.inputs, views.inputs])
        targets, stream = both(self.targets, views.targets), both(self.stream, views.stream)
        return Rows(inputs, targets, stream, self.readout, len(views.inputs))


def gather_inputs(model: nn.Module, incoming: str, calls: list[Call], *, seed: int) -> Tensor:
    """Return the rows that reach a layer, (q, n_in), scaled by `input_scale`, in float64 on the CPU."""
    rows = layer_rows(model, calls, {"inputs": (incoming, "input")}, seed=seed)["inputs"]
    return _scaled(model, incoming, _wide(rows))


def gather_rows(
    original: nn.Module,
    slim: nn.Module,
    block: tuple[str, str, Residual | None],
    calls: list[Call],
    *,
    moved: bool,
    scaled: bool = True,
    seed: int,
) -> Rows:
    """Run the calibration through both models and return the rows for one block, with its goal.

    Parameters
    ----------
    original, slim : nn.Module
        The model before, and as it is so far; the block itself is still as it was.
    block : (str, str, Residual or None)
        The incoming layer, the outgoing layer and what is behind it.
    calls : list of Call
        The calibration.
    moved : bool
        Whether an earlier block is slim already, so that the two models differ.
    scaled : bool
        Whether the inputs are scaled by `input_scale`, or as they reach the incoming layer.
    seed : int
        Of the draw of rows.
    """
    incoming, outgoing, residual = block
    wanted = {"inputs": (incoming, "input"), "outputs": (outgoing, "output")}
    if residual is not None:
        wanted["sum"] = (residual.norm, "input")
    found = {label: _wide(t) for label, t in layer_rows(slim, calls, wanted, seed=seed).items()}
    inputs = _scaled(slim, incoming, found["inputs"]) if scaled else found["inputs"]
    reference = found
    if moved:
        wanted.pop("inputs")
        reference = {label: _wide(t) for label, t in layer_rows(original, calls, wanted, seed=seed).items()}
    if residual is None:
        return Rows(inputs, reference["outputs"] if moved else None)
    stream = found["sum"] - found["outputs"]
    readout = _readout(original.get_submodule(residual.norm)) if residual.last else None
    return Rows(inputs, reference["sum"] - stream, stream, readout)


def _scaled(model: nn.Module, incoming: str, inputs: Tensor) -> Tensor:
    scale = input_scale(model.get_submodule(incoming))
    return inputs if scale is None else inputs * _wide(scale)


def _wide(rows: Tensor) -> Tensor:
    return rows.double().cpu()


def _readout(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    copied = copy_model(norm).to("cpu", torch.float64).eval().requires_grad_(False)
    for hooks in (copied._forward_hooks, copied._forward_pre_hooks):
        hooks.clear()
    return lambda values: cast(Tensor, copied(values.double()).to(values))
