"""What is measured of each model while it trains: one row for each measure, and the values along the steps.

A measure that is added to `MEASURES` is taken, kept in each `Curve` and shown in the report's tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from torch import Tensor

from jlab_compress.execution.closeness import function_gap
from jlab_compress.validation.measures.gaps import training_gap


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a model after some steps, and of the original after as many.

    Parameters
    ----------
    outputs, start : Tensor
        The model's held-out outputs now and before training, flat, float64.
    original, original_start : Tensor
        Those of the original.
    losses : sequence of float
        The model's training loss at each step so far.
    held_out_loss, metric : float or None
        Over all held-out rows; None where the caller gave no such function.
    """

    outputs: Tensor
    start: Tensor
    original: Tensor
    original_start: Tensor
    losses: Sequence[float]
    held_out_loss: float | None
    metric: float | None


@dataclass(frozen=True)
class Measure:
    """A number that is taken of each model at some steps.

    Parameters
    ----------
    name : str
        In curves, and above the columns of tables.
    value : callable
        From a `Checkpoint` to the number, or to None where it cannot be taken in this run.
    of_original : bool
        Whether the original has one too; a distance to the original has none.
    before, after : bool
        Whether the table of models shows it before and after training.
    against_steps : str or None
        Title of a table, and a chart, of it against the step; None where there is none.
    """

    name: str
    value: Callable[[Checkpoint], float | None]
    of_original: bool = True
    before: bool = False
    after: bool = True
    against_steps: str | None = None


def recent_loss(losses: Sequence[float]) -> float:
    """Return the mean over the last tenth of the steps; NaN before the first.

    Examples
    --------
    >>> recent_loss([9.0] * 18 + [1.0, 2.0])
    1.5
    """
    return fmean(losses[-max(1, len(losses) // 10) :]) if losses else math.nan


TRAINING_GAP = Measure(
    "training gap",
    lambda at: training_gap(at.original, at.original_start, at.outputs, at.start),
    of_original=False,
    against_steps="Training gap against the step",
)
FUNCTION_GAP = Measure(
    "function gap", lambda at: function_gap(at.original, at.outputs), of_original=False, before=True
)
TRAINING_LOSS = Measure(
    "training loss",
    lambda at: recent_loss(at.losses),
    against_steps="Training loss of the batches just before the step",
)
HELD_OUT_LOSS = Measure(
    "held-out loss", lambda at: at.held_out_loss, against_steps="Held-out loss against the step"
)
METRIC = Measure("metric", lambda at: at.metric, before=True)
MOVEMENT = Measure("movement", lambda at: function_gap(at.start, at.outputs), after=False)
MEASURES = [TRAINING_GAP, FUNCTION_GAP, TRAINING_LOSS, HELD_OUT_LOSS, METRIC, MOVEMENT]


@dataclass(frozen=True)
class Curve:
    """What one model's training looked like.

    Parameters
    ----------
    losses : tuple of float
        The training loss of every step, taken before the update.
    recorded : tuple of int
        The numbers of steps after which measures were taken; the first is 0.
    values : mapping of str to tuple of float
        By the measure's name, one value per recorded step; `function_gap` and `training_gap` are to the
        original model of the same run, `movement` is ||f_t - f_0|| / ||f_0||.
    diverged_at : int or None
        The first step with a loss that is not finite; this model's training stopped there.
    """

    losses: tuple[float, ...]
    recorded: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    diverged_at: int | None = None

    def of(self, measure: Measure) -> tuple[float, ...]:
        """Return a measure's values, one per recorded step; none where it was not taken."""
        return self.values.get(measure.name, ())

    @property
    def training_gaps(self) -> tuple[float, ...]:
        """One training gap per recorded step."""
        return self.of(TRAINING_GAP)

    @property
    def function_gaps(self) -> tuple[float, ...]:
        """One function gap per recorded step."""
        return self.of(FUNCTION_GAP)

    @property
    def held_out_losses(self) -> tuple[float, ...]:
        """One held-out loss per recorded step; none without a loss function."""
        return self.of(HELD_OUT_LOSS)

    @property
    def metrics(self) -> tuple[float, ...]:
        """One value of the caller's metric per recorded step; none without one."""
        return self.of(METRIC)

    @property
    def movements(self) -> tuple[float, ...]:
        """How far the outputs have moved, one value per recorded step."""
        return self.of(MOVEMENT)

    @property
    def late_gap(self) -> float:
        """The median training gap over the later half of the steps; infinite where the model diverged.

        Examples
        --------
        >>> Curve((), (0, 1, 2, 3, 4), {"training gap": (0.0, 9.0, 0.1, 0.3, 0.2)}).late_gap
        0.2
        """
        return math.inf if self.diverged_at is not None else self.late(TRAINING_GAP)

    def late(self, measure: Measure) -> float:
        """Return the median of a measure over the later half of the steps."""
        half = self.recorded[-1] / 2
        return median(v for t, v in zip(self.recorded, self.of(measure), strict=True) if t and t >= half)


Curves = Sequence[Mapping[str, Curve]]


def final(curves: Curves, name: str, measure: Measure) -> float:
    """Return a model's measure after the last step, mean over seeds."""
    return fmean(run[name].of(measure)[-1] for run in curves)
