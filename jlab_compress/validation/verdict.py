"""Does the slim model train like the original? A verdict from stated numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import t as student

ALIKE, DIFFERS, CANNOT_TELL = "trains alike", "differs", "cannot tell"
COVERAGE = 0.8


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
        under another batch order, per seed.
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


def judge(gaps: Sequence[float], floors: Sequence[float], *, tolerance: float = 0.05) -> Verdict:
    """Judge training gaps against the noise floor.

    With r = gap / max(floor, tolerance) per seed and Student's 80 % interval of mean log r over the
    seeds: the slim model *trains alike* if the whole interval is at most 1 (replacing the model
    changes training no more than shuffling the batches does), *differs* if the whole interval is
    above 1; else nobody *can tell*. Nobody can tell either from one seed, where the original itself
    did not move, or where the floor reaches 1, the gap of a model that does not train at all.

    Parameters
    ----------
    gaps, floors : sequence of float
        One value per seed: training gap of the slim model, and of the original trained with another
        batch order; `validate` takes medians over the later half of the steps. NaN floors say that the
        original did not move.
    tolerance : float
        A gap up to this counts as none; it stands in where the floor is lower.

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
    label, reason = _decide(gaps, floors, low, high, tolerance)
    return Verdict(label, reason, ratio, low, high, gaps, floors, tolerance)


def _decide(
    gaps: tuple[float, ...], floors: tuple[float, ...], low: float, high: float, tolerance: float
) -> tuple[str, str]:
    if any(math.isnan(floor) for floor in floors):
        return CANNOT_TELL, "the original's outputs did not move; train longer or with a higher rate"
    if len(gaps) < 2:
        return CANNOT_TELL, "one seed says nothing about noise; give at least two"
    if max(gaps) <= tolerance:
        return ALIKE, f"the training gap, at most {max(gaps):.2g}, is within the tolerance of {tolerance:.2g}"
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
