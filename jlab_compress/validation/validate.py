"""Train a slim model beside its original, on the caller's data, and say whether they train alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from torch import nn
from tqdm.auto import tqdm

from jlab_compress.execution.isolation import copy_model
from jlab_compress.execution.models import unwrapped
from jlab_compress.execution.randomness import random_states_kept
from jlab_compress.report import Report, Reported
from jlab_compress.validation.measures.snapshot import Snapshot, cloud_figures, evidence_tables, take_snapshot
from jlab_compress.validation.report.plots import SLIM
from jlab_compress.validation.report.tables import condition_notes, summarise
from jlab_compress.validation.training.batches import materialise, materialise_held_out
from jlab_compress.validation.training.references import (
    FUNCTION,
    RANDOM,
    REFERENCES,
    REORDERED,
    build_references,
    check_shared_plan,
    reference_notes,
)
from jlab_compress.validation.training.requests import check_budget, choose_step
from jlab_compress.validation.training.side_by_side import (
    ORIGINAL,
    Contest,
    Curve,
    Metric,
    train_side_by_side,
)
from jlab_compress.validation.training.steps import (
    Loss,
    OptimizerFactory,
    Step,
    check_batches,
    check_judge,
    make_optimizer,
)
from jlab_compress.validation.verdict import Verdict, judge

NO_HELD_OUT = "No held-out data was given: gaps and losses are taken on the first training batches."
STANDSTILL = 1e-9  # ||f_t - f_0|| / ||f_0|| below this is rounding, not training


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
        return self.curves[0][SLIM].function_gaps[0]

    @property
    def training_gap(self) -> float:
        """The slim model's training gap after the last step, mean over seeds."""
        return final_gap(self.curves, SLIM)

    @property
    def noise_floor(self) -> float | None:
        """The training gap of the original under another batch order, mean over seeds."""
        return final_gap(self.curves, REORDERED) if REORDERED in self.curves[0] else None

    @property
    def training_gap_random(self) -> float | None:
        """The training gap of a random subset of the same width, mean over seeds."""
        return final_gap(self.curves, RANDOM) if RANDOM in self.curves[0] else None

    @property
    def training_gap_function(self) -> float | None:
        """The training gap of the model fitted to the function alone, mean over seeds."""
        return final_gap(self.curves, FUNCTION) if FUNCTION in self.curves[0] else None


def final_gap(curves: Sequence[Mapping[str, Curve]], name: str) -> float:
    """Return a model's training gap after the last step, mean over seeds."""
    return fmean(run[name].training_gaps[-1] for run in curves)


def validate(
    original: nn.Module,
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
    original, slim : nn.Module
        The model, and its slim form from `compress` or `load`.
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
    check_shared_plan(original, slim)
    original, slim = unwrapped(original), unwrapped(slim)
    check_budget(steps, seconds, seeds, references)
    with random_states_kept():
        probe = _trainable_copy(slim)
        kind = type(make_optimizer(optimizer, probe)).__name__
        pool = materialise(batches, steps)
        judges = pool[:8] if held_out is None else materialise_held_out(held_out)
        check_batches(probe, pool, "batches")
        check_batches(probe, judges, "held_out")
        source = "step" if step else "loss_fn"
        contest = Contest(pool, judges, choose_step(step, loss_fn), optimizer, loss_fn, metric, source)
        for judge_fn, argument, seen in ((loss_fn, "loss_fn", pool + judges), (metric, "metric", judges)):
            if judge_fn is not None:
                check_judge(probe, seen, judge_fn, argument)
        curves, before, after = _run_seeds(
            original,
            slim,
            contest,
            seeds=seeds,
            references=references,
            steps=steps or (None if seconds else len(pool)),
            seconds=seconds,
            progress=progress,
        )
    verdict = judge_curves(curves, tolerance)
    warnings = (NO_HELD_OUT,) if held_out is None else ()
    report = summarise(
        curves,
        verdict,
        figures=cloud_figures(before, after),
        tables=evidence_tables(before, after),
        warnings=warnings,
        notes=(*condition_notes(slim, kind), *reference_notes(slim, references)),
    )
    return Validation(curves, verdict, before, after, report)


def _run_seeds(
    original: nn.Module,
    slim: nn.Module,
    contest: Contest,
    *,
    seeds: Sequence[int],
    references: Sequence[str],
    steps: int | None,
    seconds: float | None,
    progress: bool,
) -> tuple[tuple[Mapping[str, Curve], ...], Snapshot, Snapshot]:
    curves: list[Mapping[str, Curve]] = []
    snapshots: list[Snapshot] = []
    share = None if seconds is None else seconds / len(seeds)
    calibration = [inputs for inputs, _ in contest.batches]
    fixed: dict[str, nn.Module] = {}
    with closing(tqdm(total=steps and steps * len(seeds), disable=not progress, unit="step")) as bar:
        for seed in seeds:
            bar.set_description(f"fit references, seed {seed}")
            fixed = build_references(original, slim, calibration, names=references, seed=seed, known=fixed)
            models = {ORIGINAL: original, SLIM: slim, **fixed}
            if REORDERED in references:
                models[REORDERED] = original
            bar.set_description(f"train {len(models)} models, seed {seed}")
            copies = {name: _trainable_copy(model) for name, model in models.items()}
            if not snapshots:
                snapshots.append(take_snapshot(copies, contest.held_out[0][0]))
            curves.append(
                train_side_by_side(
                    copies,
                    contest,
                    seed=seed,
                    reordered={REORDERED},
                    steps=steps,
                    seconds=share,
                    tick=bar.update,
                )
            )
            if len(snapshots) < 2:
                snapshots.append(take_snapshot(copies, contest.held_out[0][0]))
            steps, share = len(curves[0][SLIM].losses), None  # a time budget becomes equal steps
    return tuple(curves), snapshots[0], snapshots[1]


def _trainable_copy(model: nn.Module) -> nn.Module:
    twin = copy_model(model)
    return twin if model.training else twin.train()


def judge_curves(curves: Sequence[Mapping[str, Curve]], tolerance: float) -> Verdict:
    """Return the verdict on the slim model's curves, from medians over the later half of the steps."""
    gaps = [run[SLIM].late_gap for run in curves]
    if REORDERED not in curves[0]:
        return judge(gaps, [0.0] * len(gaps), tolerance=tolerance)
    moved = [run[ORIGINAL].movements[-1] > STANDSTILL for run in curves]
    floors = [run[REORDERED].late_gap if m else math.nan for run, m in zip(curves, moved, strict=True)]
    return judge(gaps, floors, tolerance=tolerance)
