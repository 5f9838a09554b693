"""What "trains alike" means: the one set of measures and limits by which every fit is judged.

A slim layer or model trains alike if a short training moves its outputs as it moves those of the original
(training gap), and if its tangent kernel, which says how any training starts, is not far off either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

TRAINING_GAP_LIMIT = 0.25
KERNEL_ERROR_LIMIT = 0.5
# A block with a larger function error is called not compressible to that width.
FUNCTION_ERROR_LIMIT = 0.3


@dataclass(frozen=True)
class Criterion:
    """One measure on held-out rows and the limit below which it counts as met.

    Parameters
    ----------
    name : str
        As reports call it.
    value : float
        What was measured.
    limit : float
        The criterion is met below it; a value that is not a number never is.

    Examples
    --------
    >>> print(Criterion("training gap", 0.12345, 0.25))
    training gap 0.123 (limit 0.25)
    """

    name: str
    value: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether the value is below the limit."""
        return self.value < self.limit

    def __str__(self) -> str:
        return f"{self.name} {self.value:.3f} (limit {self.limit:g})"


def training_criteria(
    *, training_gap: float | None = None, kernel_error: float | None = None
) -> tuple[Criterion, ...]:
    """Return the criteria for "trains alike" that can be judged from what was measured.

    Parameters
    ----------
    training_gap : float, optional
        ||(f_slim,t - f_slim,0) - (f_t - f_0)|| / ||f_t - f_0|| after a short training or a first step.
    kernel_error : float, optional
        Relative error of the tangent kernel. Where there is no training gap, the error is held against the
        limit of the gap: for targets that are white noise it is the gap of a first step.

    Returns
    -------
    tuple of Criterion
        Empty where nothing was measured.

    Notes
    -----
    The limits were set on the even plans of `benchmarks/guard.py`; the odd ones test them.

    Examples
    --------
    >>> [c.limit for c in training_criteria(training_gap=0.1, kernel_error=0.1)]
    [0.25, 0.5]
    >>> [c.limit for c in training_criteria(kernel_error=0.1)]
    [0.25]
    """
    criteria = []
    if training_gap is not None:
        criteria.append(Criterion("training gap", training_gap, TRAINING_GAP_LIMIT))
    if kernel_error is not None:
        limit = TRAINING_GAP_LIMIT if training_gap is None else KERNEL_ERROR_LIMIT
        criteria.append(Criterion("tangent kernel error", kernel_error, limit))
    return tuple(criteria)


def trains_alike(criteria: Iterable[Criterion]) -> bool | None:
    """Tell whether all criteria are met; None where there are none.

    Examples
    --------
    >>> trains_alike(training_criteria(training_gap=0.3)), trains_alike(())
    (False, None)
    """
    criteria = tuple(criteria)
    return all(criterion.met for criterion in criteria) if criteria else None


@dataclass(frozen=True)
class Usability:
    """Whether a slim model can be used, and how: what a reader of a report wants to know first.

    Parameters
    ----------
    answer : str
        "as it is", "only without training" or "no".
    sentence : str
        The same as a sentence, with the reason.
    """

    answer: str
    sentence: str


def usability(function_gap: float, alike: bool | None, *, unknown: str) -> Usability:
    """Return whether a slim model is usable as it is, only without training, or not.

    Parameters
    ----------
    function_gap : float
        ||f_slim - f|| / ||f|| of the whole model on held-out rows; NaN is no small one.
    alike : bool or None
        Whether it trains like the original; None where that is not known.
    unknown : str
        Why it is not known.

    Examples
    --------
    >>> print(usability(0.02, True, unknown="").sentence)
    Usable as it is, and to be trained on.
    """
    if not function_gap <= FUNCTION_ERROR_LIMIT:
        return Usability(
            "no",
            f"Not usable as it is: its outputs are off the original's by {function_gap:.2g} of their size.",
        )
    if alike:
        return Usability("as it is", "Usable as it is, and to be trained on.")
    reason = unknown if alike is None else "it would not train like the original"
    return Usability("only without training", f"Usable only without training: {reason}.")


EXACT = training_criteria(training_gap=0.0, kernel_error=0.0)
