"""A model ready to be written: a frozen copy, and one whose slim layers are folded into stock ones."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from jlab_compress.execution.isolation import copy_model
from jlab_compress.execution.models import unwrapped
from jlab_compress.slim.conversion import attach_plan, fold, plan_of
from jlab_compress.slim.plan import Plan
from jlab_compress.slim.weighted import WeightedLayer


@dataclass(frozen=True)
class Ready:
    """What is written, and what it must agree with.

    Parameters
    ----------
    reference : nn.Module
        A copy of the model on the CPU, in eval mode.
    folded : nn.Module
        The same with its slim layers folded; the reference itself where it has none.
    plan : Plan or None
        How the model was made slim, where it says so.
    """

    reference: nn.Module
    folded: nn.Module
    plan: Plan | None


def ready(model: nn.Module) -> Ready:
    """Return copies of a model to write and to compare with, also where a wrapper hides the plan."""
    reference = frozen(model)
    plan = plan_of_any(reference)
    if plan is None:
        if not any(isinstance(module, WeightedLayer) for module in reference.modules()):
            return Ready(reference, reference, None)
        attach_plan(reference, Plan(()))
    return Ready(reference, fold(reference), plan)


def frozen(model: nn.Module) -> nn.Module:
    """Return a copy on the CPU in eval mode."""
    return copy_model(unwrapped(model)).cpu().eval()


def plan_of_any(model: nn.Module) -> Plan | None:
    """Return the plan of a slim model, and None for any other module."""
    try:
        return plan_of(model)
    except ValueError:
        return None
