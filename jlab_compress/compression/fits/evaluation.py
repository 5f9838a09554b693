"""What became of a slim model as a whole, on rows that no fit has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from jlab_compress.compression.joint.first_step import evaluate_first_step
from jlab_compress.compression.joint.task import Outcome, Refinement, network_blocks
from jlab_compress.execution.closeness import function_gap
from jlab_compress.execution.outputs import outputs_on
from jlab_compress.fitting.fit import Fit


@dataclass(frozen=True)
class Evaluation:
    """How close a slim model is to its original.

    Parameters
    ----------
    fits : mapping of str to Fit
        By block, with the criteria by which each is judged.
    function_gap : float
        ||f_slim - f|| / ||f|| on held-out rows.
    loss : float
        Of several slim models that with the least is taken.
    notes : tuple of str
        For the report.
    """

    fits: Mapping[str, Fit]
    function_gap: float
    loss: float
    notes: tuple[str, ...] = ()


def by_function_gap(task: Refinement, fits: Mapping[str, Fit]) -> Evaluation:
    """Evaluate outputs alone; fits stay as they are."""
    calls = task.held or task.fit
    gap = function_gap(outputs_on(task.original, calls), outputs_on(task.slim, calls))
    return Evaluation(fits, gap, gap)


def by_first_step(task: Refinement, fits: Mapping[str, Fit]) -> Evaluation:
    """Evaluate outputs, and by a first training step whether the slim model trains like the original.

    Where every block was judged on its own, fits stay as they are.
    """
    judged = evaluate_first_step(task, fits) if network_blocks(task) else Outcome(fits)
    return replace(by_function_gap(task, judged.fits), notes=judged.notes)
