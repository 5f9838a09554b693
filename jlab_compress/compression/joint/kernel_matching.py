"""Slim blocks moved together for the tangent kernel of the whole network, so that it trains alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from jlab_compress.compression.joint.norm_statistics import norms_of, renew_statistics
from jlab_compress.compression.joint.refinement import (
    free_parameters,
    layers_of,
    move_fits,
    needs_whole,
    only_free,
    running,
)
from jlab_compress.compression.signals.block_rows import gather_inputs
from jlab_compress.compression.signals.layer_kernels import ROWS, Answer, tangents
from jlab_compress.execution.calls import Call
from jlab_compress.execution.progress import Progress, Step
from jlab_compress.execution.splits import portions
from jlab_compress.fitting.displacement import displacement_of
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.moving.adam import Course, move_together
from jlab_compress.inspection.block import Block
from jlab_compress.slim.layers import input_scale, is_conv, is_linear, matrix_of

STEPS = 800
# A step is dear where the layers have many weights, and where inputs are images or tokens: there batches
# are small, and the original answers so many questions once and for all.
CHEAP_WEIGHTS, LEAST_SHARE, QUESTIONS = 1_000_000, 0.25, 64
DEAR_ROWS, FEWEST_ROWS, MOST_GRADIENTS = 32, 8, 2**25
MOST_KEPT, LOOKED_AT = 2**18, 2048
MATCHED = (
    "The blocks were moved together against the original's outputs and the tangent kernel of the whole "
    "network; errors of single blocks are from before."
)


def movable(model: nn.Module, blocks: Sequence[Block], calls: Sequence[Call]) -> list[Block]:
    """Return the blocks that are to be moved together: several linear ones, or any that `needs_whole`.

    None in half precision, or without rows that judge. Not those of which another module calls the
    parameters of a layer, which does not run itself.
    """
    exact = all(p.dtype in (torch.float32, torch.float64) for p in model.parameters())
    able = [b for b in blocks if not b.activation_only and b.kind in ("mlp", "gated-mlp", "conv")]
    if not able or not calls or not exact:
        return []
    ran = set(running(model, calls[0]))
    able = [b for b in able if ran.issuperset(layers_of([b]))]
    return able if len(able) > 1 or any(needs_whole(b) for b in able) else []


@dataclass
class Questions:
    """Batches with a random sum of the outputs each, and what the original answers.

    Parameters
    ----------
    original : nn.Module
        Is asked.
    layers : sequence of str
        Whose kernels are asked for.
    parts, judges : list of Call
        Batches to learn from, and those that judge; numbered in this order.
    fresh : bool
        Whether the sums to learn from are drawn anew each time; else a question has one answer, which is kept
        unless it is large.
    seed : int
        Of the draws.
    """

    original: nn.Module
    layers: Sequence[str]
    parts: list[Call]
    judges: list[Call]
    fresh: bool
    seed: int
    answers: dict[int, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.draws = torch.Generator().manual_seed(self.seed)
        if not self.fresh:
            self.parts = self.parts * math.ceil(QUESTIONS / len(self.parts))

    def ask(self, number: int) -> tuple[Call, torch.Generator, Answer]:
        """Return a batch, a generator that draws its random sum, and the original's answer."""
        call = [*self.parts, *self.judges][number]
        if self.fresh and number < len(self.parts):
            again = torch.Generator()
            again.set_state(self.draws.get_state())
            return call, again, tangents(self.original, call, self.layers, self.draws).answer(self.draws)
        draw, again = (torch.Generator().manual_seed(self.seed + number) for _ in range(2))
        answer = self.answers.get(number)
        if answer is None:
            answer = tangents(self.original, call, self.layers, draw).answer(draw)
        if sum(output.numel() for output in answer.outputs) <= MOST_KEPT:
            self.answers[number] = answer
        return call, again, answer


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
        Those that may move; see `movable`.
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
        with more than a million weights or tokens as inputs; with images or tokens of at most 32 rows.

    Raises
    ------
    RuntimeError
        If something in the model cannot be differentiated twice.
    """
    layers = layers_of(blocks)
    numbers = [_entries(original, name) for name in layers]
    images = any(b.kind == "conv" for b in blocks)
    vectors = all(t.dim() <= 2 and t.is_floating_point() for call in calls for t in call.tensors)
    cheap, tokens = vectors and not images, not vectors and not images
    size = ROWS if cheap else max(FEWEST_ROWS, min(DEAR_ROWS, MOST_GRADIENTS // max(numbers)))
    share = LEAST_SHARE if tokens else max(LEAST_SHARE, min(1.0, (CHEAP_WEIGHTS / sum(numbers)) ** 0.5))
    steps = round(STEPS * share)
    movement = expected_share(original, calls, seed=seed)
    parts, judges = ([p for call in some for p in portions(call, size)] for some in (calls, held))
    questions = Questions(original, layers, parts, judges, fresh=cheap, seed=seed)
    free = free_parameters(slim, blocks)

    def loss(number: int) -> Tensor:
        call, draw, wanted = questions.ask(number)
        found = tangents(slim, call, layers, draw, graph=torch.is_grad_enabled())
        return found.error(wanted, movement=movement)

    learned = range(len(questions.parts))
    judged = range(len(learned), len(learned) + len(judges))
    with only_free(original, ()), only_free(slim, free):
        course = move_together(free, loss, learned, judged, steps=steps, seed=seed, progress=progress)
    if course.helped:
        renew_statistics(slim, norms_of(blocks), calls)
    return course


def _entries(model: nn.Module, name: str) -> int:
    module = model.get_submodule(name)
    return sum(p.numel() for p in module.parameters(recurse=False))


def expected_share(original: nn.Module, calls: Sequence[Call], *, seed: int) -> float:
    """Return how far training will move a model's outputs, as a multiple of their size.

    About ten at initialisation, next to nothing where the outputs have been trained; read off the last layer.
    """
    name = layers_that_run(original, calls[0])[-1]
    last = original.get_submodule(name)
    hidden = gather_inputs(original, name, list(calls[:1]), seed=seed)[:LOOKED_AT]
    scale = input_scale(last)
    outgoing = matrix_of(last).T.to(hidden)
    outgoing = outgoing if scale is None else outgoing * scale.to(hidden)[:, None]
    size = float((hidden @ outgoing).square().mean().sqrt())
    ones = torch.ones_like(hidden[0])
    return displacement_of(hidden, outgoing, ones) / max(size, torch.finfo(hidden.dtype).tiny)


def layers_that_run(model: nn.Module, call: Call) -> list[str]:
    """Return the dotted paths of linear layers and convolutions, in the order in which they run."""
    return [name for name in running(model, call) if _is_layer(model.get_submodule(name))]


def _is_layer(module: nn.Module) -> bool:
    return is_linear(module) or is_conv(module)


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

    Those that are `movable` move. `calls` are those that the fits saw and those that they did not, which
    judge. Entries of `fits` that moved no longer name kept neurons.
    """
    inexact = [b for b in blocks if fits[b.name].function_error > 0]
    moving = movable(slim, inexact, calls[1])
    if not moving:
        return ()

    def move(moved: nn.Module, step: Step) -> Course:
        return match_tangents(original, moved, moving, *calls, seed=seed, progress=step)

    return move_fits(slim, moving, fits, move, MATCHED, progress)
