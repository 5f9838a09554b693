"""Train a slim model beside its original, on the caller's data, and say whether they train alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from jlab_compress.compression.prepare import read_prepared
from jlab_compress.compression.prepared import Prepared
from jlab_compress.execution.closeness import tolerance as rounding_of
from jlab_compress.execution.isolation import copy_model
from jlab_compress.execution.models import unwrapped
from jlab_compress.extras import lacking
from jlab_compress.fitting.effort import Effort, EffortName
from jlab_compress.report import Figure, Report, Reported
from jlab_compress.surroundings import random_states_kept, shielded
from jlab_compress.validation.measures.curve import (
    FUNCTION_GAP,
    MOVEMENT,
    TRAINING_GAP,
    Curve,
    Curves,
    final,
)
from jlab_compress.validation.measures.snapshot import Snapshot, take_snapshot
from jlab_compress.validation.report.tables import condition_notes, summarise
from jlab_compress.validation.roles import FUNCTION, ORIGINAL, RANDOM, REFERENCES, REORDERED, SLIM
from jlab_compress.validation.training.contest import Budget, Contest, Metric, read_contest
from jlab_compress.validation.training.references import References, check_shared_plan, read_references
from jlab_compress.validation.training.side_by_side import train_side_by_side
from jlab_compress.validation.training.steps import Loss, OptimizerFactory, Step
from jlab_compress.validation.verdict import Grounds, Verdict, judge

NO_HELD_OUT = "No held-out data was given: gaps and losses are taken on the first training batches."


@dataclass(frozen=True, repr=False)
class Validation(Reported):
    """What training both models side by side has shown.

    Parameters
    ----------
    curves : tuple of mapping of str to Curve
        One mapping per seed: "original", "slim" and each reference.
    verdict : Verdict
        "trains alike", "differs" or "cannot tell", with its numbers.
    before, after : Snapshot
        Neuron clouds, their distances and the match of tangent kernels, in the first run.
    report : Report
        All of it for people; `report.to_dict()` for programs.
    """

    kind = "validation"

    curves: tuple[Mapping[str, Curve], ...]
    verdict: Verdict
    before: Snapshot
    after: Snapshot
    report: Report

    @property
    def function_gap(self) -> float:
        """||f_slim - f|| / ||f|| on held-out inputs, before training."""
        return self.curves[0][SLIM].of(FUNCTION_GAP)[0]

    @property
    def training_gap(self) -> float:
        """The slim model's training gap after the last step, mean over seeds."""
        return final(self.curves, SLIM, TRAINING_GAP)

    def _gap_of(self, reference: str) -> float | None:
        taken = reference in self.curves[0]
        return final(self.curves, reference, TRAINING_GAP) if taken else None

    @property
    def noise_floor(self) -> float | None:
        """The training gap of the original under another batch order, mean over seeds."""
        return self._gap_of(REORDERED)

    @property
    def training_gap_random(self) -> float | None:
        """The training gap of a random subset of the same width, mean over seeds."""
        return self._gap_of(RANDOM)

    @property
    def training_gap_function(self) -> float | None:
        """The training gap of the model fitted to the function alone, mean over seeds."""
        return self._gap_of(FUNCTION)


@shielded()
def validate(
    original: nn.Module | Prepared,
    slim: nn.Module,
    batches: Iterable[Any],
    loss_fn: Loss | None = None,
    *,
    optimizer: OptimizerFactory,
    steps: int | None = None,
    seconds: float | None = None,
    held_out: Any = None,
    metric: Metric | None = None,
    step: Step | None = None,
    seeds: Sequence[int] = (0, 1),
    references: Sequence[str] = REFERENCES,
    tolerance: float = 0.05,
    effort: EffortName | Effort = "normal",
    progress: bool = True,
) -> Validation:
    """Train copies of both models on the same batches in the same order, and compare what they learn.

    The training gap ||(f_slim,t - f_slim,0) - (f_t - f_0)|| / ||f_t - f_0|| is measured on held-out
    inputs and judged against references at the same cost: the original under another batch order
    (the noise floor), a random subset of the same width, and a slim model fitted to the function alone.
    The verdict compares medians over the later half of the steps, seed by seed, with the noise floor.
    Both models, their flags and all random states stay as they are, also on an interrupt, which passes.

    Parameters
    ----------
    original : nn.Module or Prepared
        The model; or what `prepare` returned for it, with calibration for the references, which are fitted to
        the inputs of the training batches otherwise.
    slim : nn.Module
        Its slim form, from `compress` or `load`.
    batches : iterable of (inputs, targets)
        Read once and kept in memory; inputs are a tensor, a tuple or a dict of arguments.
    loss_fn : callable
        ``loss_fn(outputs, targets)`` gives one number; may be left out where `step` is given.
    optimizer : callable
        ``optimizer(parameters)`` gives a torch optimizer; it is called once per model. A scheduler
        can ride on it: ``opt.register_step_post_hook(lambda *_: scheduler.step())``.
    steps, seconds : int, float, optional
        The budget, in steps per model or in seconds for everything trained; one pass by default.
    held_out : (inputs, targets) or an iterable of them, optional
        Judges both models; without it the first training batches do, and the report warns.
    metric : callable, optional
        ``metric(outputs, targets)`` gives one number, for example the accuracy.
    step : callable, optional
        The caller's own training step: ``step(model, batch, optimizer) -> loss``.
    seeds : sequence of int
        Each draws a batch order and a random subset; the verdict needs two or more.
    references : sequence of str
        Some of "another batch order", "random subset", "function only".
    tolerance : float
        A training gap up to this counts as none, also where the noise floor is lower. The default is one
        part in 400 of the squared movement: what another batch order alone leaves after a few hundred
        steps is .02 to .3 in the tables under ``benchmarks``, and no metric on some hundred held-out
        rows would tell it from nothing.
    effort : {"quick", "normal", "thorough"} or Effort
        How long the reference of the function alone is fitted.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Validation
        Curves, gaps, verdict and report.

    Raises
    ------
    TypeError, ValueError
        In one sentence, where an argument cannot be used; nothing has changed then.

    Notes
    -----
    Cost: ``len(seeds) * (2 + len(references)) * steps`` training steps, plus the fits of the references.
    """
    if isinstance(original, Prepared):
        read_prepared(original, None, seed=0)
    model = original.original if isinstance(original, Prepared) else original
    check_shared_plan(model, slim)
    model, slim = unwrapped(model), unwrapped(slim)
    source = original if isinstance(original, Prepared) else model
    budget = Budget.read(steps, seconds, seeds)
    with random_states_kept():
        contest = read_contest(
            _trainable_copy(slim),
            batches,
            held_out,
            limit=steps,
            loss_fn=loss_fn,
            optimizer=optimizer,
            metric=metric,
            step=step,
        )
        inputs = [each for each, _ in contest.batches]
        how = read_references(source, slim, references, inputs=inputs, seed=seeds[0], effort=effort)
        curves, snapshots, moved = _run_seeds(model, slim, contest, how, budget, progress=progress)
    verdict = judge_curves(curves, tolerance, rounding=_rounding(slim), moved=moved)
    figures, lacks = _pictures(curves, tolerance, snapshots)
    report = summarise(
        curves,
        verdict,
        snapshots,
        figures=figures,
        warnings=(NO_HELD_OUT,) if held_out is None else (),
        notes=(*condition_notes(slim, contest.optimizer_name), *how.notes, *lacks),
    )
    return Validation(curves, verdict, *snapshots, report)


def _run_seeds(
    original: nn.Module,
    slim: nn.Module,
    contest: Contest,
    references: References,
    budget: Budget,
    *,
    progress: bool,
) -> tuple[tuple[Mapping[str, Curve], ...], tuple[Snapshot, Snapshot], tuple[bool, ...]]:
    """Train all models once per seed; the first run gives the parameters before and after.

    Returned besides is, per seed, whether training has changed any of the original's parameters.
    """
    curves: list[Mapping[str, Curve]] = []
    snapshots: list[Snapshot] = []
    moved: list[bool] = []
    seconds = budget.seconds and budget.seconds / len(budget.seeds)
    steps = budget.steps or (None if seconds else len(contest.batches))
    fixed: dict[str, nn.Module] = {}
    total = steps and steps * len(budget.seeds)
    with closing(tqdm(total=total, disable=not progress, unit="step")) as bar:
        for seed in budget.seeds:
            bar.set_description(f"fit references, seed {seed}")
            fixed = references.made(seed, fixed)
            models = {ORIGINAL: original, SLIM: slim, **fixed}
            if REORDERED in references.names:
                models[REORDERED] = original
            bar.set_description(f"train {len(models)} models, seed {seed}")
            copies = {name: _trainable_copy(model) for name, model in models.items()}
            if not snapshots:
                snapshots.append(take_snapshot(copies, contest.held_out[0][0]))
            curves.append(
                train_side_by_side(copies, contest, seed=seed, steps=steps, seconds=seconds, tick=bar.update)
            )
            moved.append(_has_moved(copies[ORIGINAL], original))
            if len(snapshots) < 2:
                snapshots.append(take_snapshot(copies, contest.held_out[0][0]))
            steps, seconds = len(curves[0][SLIM].losses), None  # a time budget becomes equal steps
            copies.clear()  # else they would be in memory beside those of the next seed
    return tuple(curves), (snapshots[0], snapshots[1]), tuple(moved)


def _pictures(
    curves: Curves, tolerance: float, snapshots: tuple[Snapshot, Snapshot]
) -> tuple[tuple[Figure, ...], tuple[str, ...]]:
    """Return the figures, and what is not shown because a package is not installed."""
    lacks = tuple(f"Left out: {fault}." for name in ("matplotlib", "ot") if (fault := lacking(name)))
    if lacking("matplotlib"):
        return (), lacks
    from jlab_compress.validation.report.plots import pictures

    return pictures(curves, tolerance, *snapshots), lacks


def _trainable_copy(model: nn.Module) -> nn.Module:
    twin = copy_model(model)
    return twin if model.training else twin.train()


def judge_curves(
    curves: Curves, tolerance: float, *, rounding: float = 0.0, moved: Sequence[bool] | None = None
) -> Verdict:
    """Return the verdict on the slim model's curves, from medians over the later half of the steps.

    Parameters
    ----------
    curves : sequence of mapping of str to Curve
        One mapping per seed.
    tolerance : float
        As in `validate`.
    rounding : float
        A movement of the original's outputs that rounding may be.
    moved : sequence of bool, optional
        Per seed, whether training has changed any of the original's parameters; by default it has.
    """
    originals = [run[ORIGINAL] for run in curves]
    changed = moved or (True,) * len(originals)
    grounds = Grounds(
        tuple(curve.late(MOVEMENT) if each else 0.0 for curve, each in zip(originals, changed, strict=True)),
        tuple((curve.losses[0], median(curve.losses[len(curve.losses) // 2 :])) for curve in originals),
        away=curves[0][SLIM].of(FUNCTION_GAP)[0],
        rounding=rounding,
    )
    gaps = [run[SLIM].late_gap for run in curves]
    floors = [run[REORDERED].late_gap if REORDERED in run else 0.0 for run in curves]
    return judge(gaps, floors, tolerance=tolerance, grounds=grounds)


def _rounding(model: nn.Module) -> float:
    return rounding_of(*{p.dtype for p in model.parameters() if p.is_floating_point()})


def _has_moved(trained: nn.Module, before: nn.Module) -> bool:
    """Tell whether training has changed a parameter: running statistics move outputs by themselves."""
    pairs = zip(trained.parameters(), before.parameters(), strict=True)
    return not all(torch.equal(one, other) for one, other in pairs)
