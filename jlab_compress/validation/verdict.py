"""Does the slim model train like the original? A verdict from stated numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import t as student

ALIKE, DIFFERS, CANNOT_TELL = "trains alike", "differs", "cannot tell"
COVERAGE = 0.8
# An original that moves its outputs by less, and by less than the slim model is away at first, hardly moves.
HARDLY = 0.05
# A loss that has grown by more than this many times itself has not come from learning.
GROWTH = 9


@dataclass(frozen=True)
class Grounds:
    """What the original's own training leaves to be told.

    Parameters
    ----------
    movements : tuple of float
        ||f_t - f_0|| / ||f_0|| of the original, median over the later half of the steps, per seed; 0 where no
        parameter has changed.
    losses : tuple of (float, float)
        Its training loss at the first step, and the median over the later half of the steps, per seed.
    away : float
        ||f_slim - f|| / ||f|| before training.
    rounding : float
        A movement that rounding may be.
    """

    movements: tuple[float, ...]
    losses: tuple[tuple[float, float], ...]
    away: float
    rounding: float

    @property
    def standstill(self) -> str | None:
        """Why nothing at all can be told: there is nothing to follow."""
        if min(self.movements) > self.rounding:
            return None
        movement = min(self.movements)
        far = (
            f"by {movement:.1g} of their size, which may be rounding"
            if movement
            else "not at all by training"
        )
        return (
            f"the original hardly moves on these batches, its outputs {far}; train longer, with a higher "
            "rate or on other batches"
        )

    @property
    def divergence(self) -> str | None:
        """Why a gap says nothing: the original runs away."""
        for (first, late), movement in zip(self.losses, self.movements, strict=True):
            if movement > 1 and late - first > GROWTH * abs(first):
                return (
                    f"the original itself diverges, its training loss goes from {first:.2g} to {late:.2g}; "
                    "lower the rate"
                )
        return None

    @property
    def way_back(self) -> str | None:
        """Why a large gap says nothing on training: the slim model makes up for its own error instead."""
        movement = min(self.movements)
        if movement >= min(HARDLY, self.away):
            return None
        return (
            f"the original hardly moves on these batches, its outputs by {movement:.2g} of their size, while "
            f"the slim model begins {self.away:.2g} away from them and may only be making up for that; train "
            "longer, or on batches with something left to learn"
        )


AMPLE = Grounds((math.inf,), ((1.0, 1.0),), away=0.0, rounding=0.0)


@dataclass(frozen=True)
class Verdict:
    """A verdict with the numbers that it follows from.

    Parameters
    ----------
    label : str
        "trains alike", "differs" or "cannot tell".
    reason : str
        One sentence with the numbers.
    ratio, low, high : float
        Geometric mean over seeds of training gap / noise floor, and the ends of its 80 % interval.
    gaps, floors : tuple of float
        Median training gap of the slim model over the later half of the steps, and that of the original
        under another batch order, per seed; 0 where that was not measured or changes nothing.
    tolerance : float
        What counted as no gap.
    """

    label: str
    reason: str
    ratio: float
    low: float
    high: float
    gaps: tuple[float, ...]
    floors: tuple[float, ...]
    tolerance: float

    def __str__(self) -> str:
        return self.label


def judge(
    gaps: Sequence[float],
    floors: Sequence[float],
    *,
    tolerance: float = 0.05,
    grounds: Grounds = AMPLE,
) -> Verdict:
    """Judge training gaps against the noise floor.

    With r = gap / max(floor, tolerance) per seed and Student's 80 % interval of mean log r over the
    seeds: the slim model *trains alike* if the whole interval is at most 1 (replacing the model
    changes training no more than shuffling the batches does), *differs* if the whole interval is
    above 1; else nobody *can tell*. Nobody can tell either from one seed, nor where

    - the original hardly moves: by rounding; or, where the gap is no small one, by less than a twentieth and
      less than the slim model is away before training, so that this may be most of the gap;
    - the original diverges, or its noise floor reaches 1, the gap of a model that does not train at all;
    - there is no noise floor, unless the gap reaches 1.

    A gap within the tolerance on every seed is enough for *trains alike* in all but the first of these.

    Parameters
    ----------
    gaps, floors : sequence of float
        One value per seed: training gap of the slim model, and of the original trained with another
        batch order; `validate` takes medians over the later half of the steps. All 0 means none.
    tolerance : float
        A gap up to this counts as none; it stands in where the floor is lower.
    grounds : Grounds
        How the original trained; by default it moved as it should.

    Raises
    ------
    ValueError
        If there is not one floor for every gap.

    Examples
    --------
    >>> judge([0.10, 0.11], [0.30, 0.29]).label, judge([0.6, 0.7], [0.30, 0.29]).label
    ('trains alike', 'differs')
    >>> judge([0.2, 0.4], [0.30, 0.29]).label
    'cannot tell'
    """
    if not gaps or len(gaps) != len(floors):
        raise ValueError(
            f"gaps: expected one per noise floor and at least one, got {len(gaps)} and {len(floors)}"
        )
    gaps, floors = tuple(gaps), tuple(floors)
    ratios = [gap / max(floor, tolerance) for gap, floor in zip(gaps, floors, strict=True)]
    ratio, low, high = _interval(ratios)
    label, reason = _decide(gaps, floors, (low, high), tolerance, grounds)
    return Verdict(label, reason, ratio, low, high, gaps, floors, tolerance)


def _decide(
    gaps: tuple[float, ...],
    floors: tuple[float, ...],
    interval: tuple[float, float],
    tolerance: float,
    grounds: Grounds,
) -> tuple[str, str]:
    if grounds.standstill:
        return CANNOT_TELL, grounds.standstill
    if len(gaps) < 2:
        return CANNOT_TELL, "one seed says nothing about noise; give at least two"
    if max(gaps) <= tolerance:
        return ALIKE, f"the training gap, at most {max(gaps):.2g}, is within the tolerance of {tolerance:.2g}"
    if grounds.divergence:
        return CANNOT_TELL, grounds.divergence
    label, words = _compare(gaps, floors, *interval, tolerance)
    if label != ALIKE and max(gaps) < math.inf and grounds.way_back:
        return CANNOT_TELL, grounds.way_back
    return label, words


def _compare(
    gaps: tuple[float, ...], floors: tuple[float, ...], low: float, high: float, tolerance: float
) -> tuple[str, str]:
    if max(floors) == 0:
        words = f"the training gap is {fmean(gaps):.2g}"
        if min(gaps) >= 1:
            return DIFFERS, f"{words}, as much as not training at all"
        return CANNOT_TELL, (
            f"{words} and no noise floor was measured to hold it against; take more steps over several "
            "batches, with 'another batch order' among the references"
        )
    if max(floors) >= 1:
        return CANNOT_TELL, (
            f"another batch order alone gives a gap of {max(floors):.2g}, as much as not training at all; "
            "lower the rate or average longer"
        )
    stand_in = f", raised to the tolerance of {tolerance:.2g}" if fmean(floors) < tolerance else ""
    words = (
        f"the training gap is {fmean(gaps):.2g} against a noise floor of {fmean(floors):.2g}{stand_in} "
        f"({_ratio(low, high)} over {len(gaps)} seeds)"
    )
    if high <= 1:
        return ALIKE, words
    return (DIFFERS, words) if low > 1 else (CANNOT_TELL, words + "; more seeds would narrow it")


def _ratio(low: float, high: float) -> str:
    return f"ratio {low:.3g} to {high:.3g}" if math.isfinite(low) else "ratio infinite"


def _interval(ratios: list[float]) -> tuple[float, float, float]:
    if any(math.isnan(r) for r in ratios):
        return math.nan, math.nan, math.nan
    if math.inf in ratios:
        return math.inf, min(ratios), math.inf
    logs = [math.log(max(r, 1e-300)) for r in ratios]
    middle = fmean(logs)
    if len(logs) < 2:
        return math.exp(middle), 0.0, math.inf
    half = student.ppf((1 + COVERAGE) / 2, len(logs) - 1) * stdev(logs) / math.sqrt(len(logs))
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)
