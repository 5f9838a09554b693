"""Tangent kernels of a whole network between calibration rows, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.fitting.gram import squared_kernel_error
from jlab_compress.fitting.layer import Fit
from jlab_compress.fitting.moved_nodes import expected_movement
from jlab_compress.fitting.together import Course, move_together
from jlab_compress.network.backward import random_sum
from jlab_compress.network.blocks import Block
from jlab_compress.network.exchange import read_block
from jlab_compress.network.extraction import rows_of
from jlab_compress.network.inputs import Call, in_words, outputs_of
from jlab_compress.network.moving import free_parameters, only_free, portions, spread_error
from jlab_compress.network.progress import Progress, follow
from jlab_compress.network.surgery import input_scale, matrix_of
from jlab_compress.network.surroundings import gather_inputs
from jlab_compress.network.tracing import copy_model, undisturbed

ROWS, STEPS = 256, 800
# A step is dear where the layers have many weights, and where inputs are no plain vectors (images, tokens).
CHEAP_WEIGHTS, LEAST_SHARE, DEAR_ROWS = 1_000_000, 0.25, 32
MATCHED = (
    "The blocks were moved together against the original's outputs and the tangent kernel of the whole "
    "network; errors of single blocks are from before."
)
UNMATCHED = "The blocks could not be moved together, as the model cannot be differentiated twice: {}"


@dataclass(frozen=True)
class Side:
    """One linear layer in one run.

    Parameters
    ----------
    inputs : Tensor (q, n_in)
        What enters it, times the roots of the multiplicities that it reads.
    cotangents : Tensor (q, n_out)
        The gradient of some sum of the model's outputs at what leaves it, over the roots of the
        multiplicities that it makes: so both have the inner products of the copies that neurons stand for.
    biased : bool
        Whether it has a bias.
    """

    inputs: Tensor
    cotangents: Tensor
    biased: bool

    def kernel(self, rows: Tensor) -> Tensor:
        """Return the inner products (q, q) of the layer's gradients at some rows."""
        inputs, cotangents = self.inputs[rows], self.cotangents[rows]
        overlaps = inputs @ inputs.T
        return (overlaps + 1 if self.biased else overlaps) * (cotangents @ cotangents.T)


@dataclass(frozen=True)
class Tangents:
    """What one call gives and how a gradient step at one row would move another, layer by layer."""

    outputs: list[Tensor]
    sides: list[Side]

    def error(self, wanted: Tangents, generator: torch.Generator, *, movement: float = 0.0) -> Tensor:
        """Return the squared relative error of the outputs plus the mean one of the layers' kernels.

        Outputs that training will move by `movement` times their size need not be met better than that.
        Kernels are compared at up to 256 rows per layer to which something is sent back.
        """
        pairs = zip(self.outputs, wanted.outputs, strict=True)
        errors = [spread_error(a, b, movement * float(b.norm())) for a, b in pairs]
        kernels = []
        for mine, theirs in zip(self.sides, wanted.sides, strict=True):
            alive = theirs.cotangents.abs().sum(dim=1).nonzero()[:, 0]
            rows = alive[torch.randperm(len(alive), generator=generator)[:ROWS].to(alive.device)]
            if len(rows) > 0:
                kernels.append(squared_kernel_error(mine.kernel(rows), theirs.kernel(rows)))
        return torch.stack(errors).sum() + sum(kernels) / max(1, len(kernels))


def tangents(
    model: nn.Module, call: Call, layers: Sequence[str], generator: torch.Generator, *, graph: bool = False
) -> Tangents:
    """Run a model on one call, and backwards for a random sum of its outputs.

    Parameters
    ----------
    model : nn.Module
        Original or slim.
    call : Call
        Its inputs.
    layers : sequence of str
        Dotted paths of linear layers.
    generator : torch.Generator
        Draws the sum.
    graph : bool
        Whether all that is returned can be differentiated.

    Raises
    ------
    RuntimeError
        If something between the layers and the outputs cannot be differentiated, with `graph` twice.
    """
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Callable[..., Tensor]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
            left = output if output.requires_grad else output.detach().requires_grad_()
            seen[name] = (args[0] if args else next(iter(kwargs.values())), left)
            return left.clone()  # which an activation may change in place

        return hook

    modules = [model.get_submodule(name) for name in layers]
    hooks = [
        module.register_forward_hook(keep(name), with_kwargs=True)
        for name, module in zip(layers, modules, strict=True)
    ]
    try:
        with undisturbed(model), torch.enable_grad():
            outputs = outputs_of(call(model))
            total = random_sum(outputs, call, generator)
            left = [seen[name][1] for name in layers]
            found = torch.autograd.grad(total, left, create_graph=graph, materialize_grads=True)
    finally:
        for hook in hooks:
            hook.remove()
    sides = [
        _side(module, seen[name][0], cotangents, call)
        for name, module, cotangents in zip(layers, modules, found, strict=True)
    ]
    if graph:
        return Tangents(outputs, sides)
    free = [Side(s.inputs.detach(), s.cotangents.detach(), s.biased) for s in sides]
    return Tangents([output.detach() for output in outputs], free)


def _side(module: Any, inputs: Tensor, cotangents: Tensor, call: Call) -> Side:
    scale, counts = input_scale(module), getattr(module, "output_multiplicities", None)
    inputs = inputs if scale is None else inputs * scale
    cotangents = cotangents if counts is None else cotangents / counts.sqrt()
    return Side(rows_of(inputs, call), rows_of(cotangents, call), module.bias is not None)


def match_tangents(
    original: nn.Module,
    slim: nn.Module,
    blocks: Sequence[Block],
    calls: Sequence[Call],
    held: Sequence[Call],
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Course:
    """Move the neurons of all slim blocks together, in place, towards the original's training: pass a copy.

    Fits made block by block do not know what the other blocks make of their errors, neither on the way
    to the outputs nor on the way back. Here outputs and the tangent kernels of all layers of the blocks are
    drawn to the original's, as the whole slim model gives them. Multiplicities and all else stay.

    Parameters
    ----------
    original, slim : nn.Module
        The model before, which stays, and a copy of it with slim blocks.
    blocks : sequence of Block
        Those that may move: linear layers with neurons between them.
    calls, held : sequence of Call
        Calibration to learn from, and rows that no fit has seen, which judge.
    seed : int
        Of all draws.
    progress : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    Course
        The squared relative error on held-out rows before and after; never higher after. Cost: 800 batches
        of at most 256 rows through both models, forwards and backwards, and once more backwards; down to 200
        with more than a million weights, and 200 of 32 rows where inputs are no plain vectors.

    Raises
    ------
    RuntimeError
        If something in the model cannot be differentiated twice.
    """
    layers = list(dict.fromkeys(name for block in blocks for name in (*block.incoming, block.outgoing)))
    vectors = all(t.dim() <= 2 and t.is_floating_point() for call in calls for t in call.tensors)
    size = ROWS if vectors else DEAR_ROWS
    weights = sum(matrix_of(original.get_submodule(name)).numel() for name in layers)
    share = max(LEAST_SHARE, min(1.0, (CHEAP_WEIGHTS / weights) ** 0.5)) if vectors else LEAST_SHARE
    movement = expected_share(original, blocks[-1], calls, seed=seed)
    parts, judges = ([p for call in some for p in portions(call, size)] for some in (calls, held))
    every, draws = [*parts, *judges], torch.Generator().manual_seed(seed)
    free = free_parameters(slim, blocks)

    def loss(number: int) -> Tensor:
        learning = number < len(parts)
        draw = draws if learning else torch.Generator().manual_seed(seed + number)
        state = draw.get_state()
        wanted = tangents(original, every[number], layers, draw)
        draw.set_state(state)
        found = tangents(slim, every[number], layers, draw, graph=learning)
        return found.error(wanted, draw, movement=movement)

    with only_free(original, ()), only_free(slim, free):
        numbers = range(len(every))
        learned, judged = numbers[: len(parts)], numbers[len(parts) :]
        steps = round(STEPS * share)
        return move_together(free, loss, learned, judged, steps=steps, seed=seed, progress=progress)


def expected_share(original: nn.Module, last: Block, calls: Sequence[Call], *, seed: int) -> float:
    """Return how far training will move a block's outputs, as a multiple of their size.

    About ten at initialisation, next to nothing where the outputs have been trained.
    """
    layer = read_block(original, last)
    inputs = gather_inputs(original, last.incoming[0], list(calls), seed=seed).to(layer.outgoing)
    size = float(replace(layer, outgoing_bias=None)(inputs).square().mean().sqrt())
    return expected_movement(layer, inputs) / max(size, torch.finfo(inputs.dtype).tiny)


def match_fits(
    original: nn.Module,
    slim: nn.Module,
    blocks: list[Block],
    fits: dict[str, Fit],
    calls: tuple[list[Call], list[Call]],
    *,
    seed: int,
    progress: Progress,
) -> tuple[str, ...]:
    """Move the inexact blocks of `slim` together by `match_tangents`, in place; return the note on it.

    Only blocks of linear layers move, without a batch norm (whose statistics would no longer be theirs), in
    float32 or float64, and where there are two at least: elsewhere the block's own fit has done all. `calls`
    are those that the fits saw and those that they did not, which judge. Entries of `fits` that moved no
    longer name kept neurons.
    """
    inexact = [b for b in blocks if fits[b.name].function_error > 0]
    movable = [b for b in inexact if b.kind in ("mlp", "gated-mlp") and not b.recorded and b.norm is None]
    exact = all(p.dtype in (torch.float32, torch.float64) for p in slim.parameters())
    if len(movable) < 2 or not calls[1] or not exact:
        return ()
    moved = copy_model(slim)
    with follow(progress, "all blocks together") as step:
        try:
            course = match_tangents(original, moved, movable, *calls, seed=seed, progress=step)
        except RuntimeError as error:
            return (UNMATCHED.format(in_words(error)),)
    if not course.helped:
        return ()
    with torch.no_grad():
        for p, new in zip(slim.parameters(), moved.parameters(), strict=True):
            p.copy_(new)
    fits |= {b.name: replace(fits[b.name], indices=None, method="moved together") for b in movable}
    return (MATCHED,)
