"""Slim blocks moved together for the tangent kernel of the whole network, so that it trains alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.fitting.layer import Fit
from jlab_compress.fitting.moved_nodes import movement_of
from jlab_compress.fitting.together import Course, move_together
from jlab_compress.network.blocks import Block
from jlab_compress.network.inputs import Call, in_words
from jlab_compress.network.moving import MOVED_TOGETHER, free_parameters, needs_whole, only_free, portions
from jlab_compress.network.normstatistics import norms_of, renew_statistics
from jlab_compress.network.progress import Progress, follow
from jlab_compress.network.surgery import input_scale, is_conv, is_linear, matrix_of
from jlab_compress.network.surroundings import gather_inputs
from jlab_compress.network.tangents import ROWS, Answer, tangents
from jlab_compress.network.tracing import copy_model, undisturbed

STEPS = 800
# A step is dear where the layers have many weights, and where inputs are images or tokens: there batches
# are small, and the original answers so many questions once and for all.
CHEAP_WEIGHTS, LEAST_SHARE, QUESTIONS = 1_000_000, 0.25, 64
DEAR_ROWS, FEWEST_ROWS, MOST_GRADIENTS = 32, 8, 2**25
MATCHED = (
    "The blocks were moved together against the original's outputs and the tangent kernel of the whole "
    "network; errors of single blocks are from before."
)
UNMATCHED = "The blocks could not be moved together, as the model cannot be differentiated twice: {}"


def movable(slim: nn.Module, blocks: Sequence[Block], held: Sequence[Call]) -> list[Block]:
    """Return the blocks that are to be moved together: several linear ones, or any that `needs_whole`.

    None in half precision, or without rows that judge.
    """
    exact = all(p.dtype in (torch.float32, torch.float64) for p in slim.parameters())
    able = [b for b in blocks if not b.recorded and b.kind in ("mlp", "gated-mlp", "conv")]
    enough = len(able) > 1 or any(needs_whole(b) for b in able)
    return able if exact and held and enough else []


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
        Whether the sums to learn from are drawn anew each time; else a question has one answer, kept.
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
        if number not in self.answers:
            self.answers[number] = tangents(self.original, call, self.layers, draw).answer(draw)
        return call, again, self.answers[number]


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


def layers_of(blocks: Sequence[Block]) -> list[str]:
    """Return the layers whose kernels are matched: those that make and read neurons, and their norms."""
    names = [name for b in blocks for name in (*b.incoming, b.norm, b.outgoing) if name is not None]
    return list(dict.fromkeys(names))


def _entries(model: nn.Module, name: str) -> int:
    module = model.get_submodule(name)
    return sum(p.numel() for p in module.parameters(recurse=False))


def expected_share(original: nn.Module, calls: Sequence[Call], *, seed: int) -> float:
    """Return how far training will move a model's outputs, as a multiple of their size.

    About ten at initialisation, next to nothing where the outputs have been trained; read off the last layer.
    """
    name = last_layer(original, calls[0])
    last = original.get_submodule(name)
    hidden, scale = gather_inputs(original, name, list(calls), seed=seed), input_scale(last)
    outgoing = matrix_of(last).T.to(hidden)
    outgoing = outgoing if scale is None else outgoing * scale.to(hidden)[:, None]
    size = float((hidden @ outgoing).square().mean().sqrt())
    ones = torch.ones_like(hidden[0])
    return movement_of(hidden, outgoing, ones) / max(size, torch.finfo(hidden.dtype).tiny)


def last_layer(model: nn.Module, call: Call) -> str:
    """Return the dotted path of the linear layer or convolution that runs last."""
    names = {module: name for name, module in model.named_modules() if is_linear(module) or is_conv(module)}
    ran: list[str] = []

    def note(module: nn.Module, args: Any, output: Tensor) -> None:
        ran.append(names[module])

    hooks = [module.register_forward_hook(note) for module in names]
    try:
        with undisturbed(model):
            call(model)
    finally:
        for hook in hooks:
            hook.remove()
    return ran[-1]


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
    moved = copy_model(slim)
    with follow(progress, "all blocks together") as step:
        try:
            course = match_tangents(original, moved, moving, *calls, seed=seed, progress=step)
        except RuntimeError as error:
            return (UNMATCHED.format(in_words(error)),)
    if not course.helped:
        return ()
    with torch.no_grad():
        for mine, new in zip(slim.state_dict().values(), moved.state_dict().values(), strict=True):
            mine.copy_(new)
    fits |= {b.name: replace(fits[b.name], indices=None, method=MOVED_TOGETHER) for b in moving}
    return (MATCHED,)
