"""A model ready to be written: a frozen copy, and one whose slim layers are folded into stock ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from jlab_compress.deployment.program.axes import Axes
from jlab_compress.deployment.program.caches import switch_off_caches
from jlab_compress.deployment.program.numbers import in_words_of, tolerance_of, types_of
from jlab_compress.deployment.program.signature import Signature, outputs_by_name, read_signature
from jlab_compress.execution.isolation import copy_model
from jlab_compress.execution.models import unwrapped
from jlab_compress.slim.conversion import attach_plan, fold, plan_of
from jlab_compress.slim.plan import Plan
from jlab_compress.slim.weighted import WeightedLayer

NO_CACHE = "The model's cache was left out (use_cache=False); the model itself keeps it."


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
    signature : Signature
        The example inputs.
    notes : tuple of str
        What the copies leave out.
    """

    reference: nn.Module
    folded: nn.Module
    plan: Plan | None
    signature: Signature
    notes: tuple[str, ...]

    @cached_property
    def types(self) -> frozenset[torch.dtype]:
        """The floating-point types in which the model computes."""
        return types_of(self.reference, self.signature)

    @property
    def tolerance(self) -> float:
        """How far off the outputs of a written form may be."""
        return tolerance_of(self.types)

    @property
    def told(self) -> tuple[str, ...]:
        """What a report says beside its figures: what was left out, and what the outputs were held to."""
        kind = in_words_of(self.types)
        held = f"Outputs were held to {self.tolerance:.0e} of their norm, as the model computes in {kind}."
        return (*self.notes, held)


def ready(model: nn.Module, example_inputs: object, axes: Axes | None = None) -> Ready:
    """Return copies of a model to write and to compare with, also where a wrapper hides the plan.

    Raises
    ------
    TypeError, ValueError
        As `read_signature`, and if the model does not run on the example or returns what cannot be written.
    """
    reference = frozen(model)
    signature = read_signature(reference, example_inputs, axes)
    notes = (NO_CACHE,) if switch_off_caches(reference, signature.call) else ()
    outputs_by_name(reference, signature)
    plan = plan_of_any(reference)
    if plan is None:
        if not any(isinstance(module, WeightedLayer) for module in reference.modules()):
            return Ready(reference, reference, None, signature, notes)
        attach_plan(reference, Plan(()))
    return Ready(reference, fold(reference), plan, signature, notes)


def frozen(model: nn.Module) -> nn.Module:
    """Return a copy on the CPU in eval mode."""
    return copy_model(unwrapped(model)).cpu().eval()


def plan_of_any(model: nn.Module) -> Plan | None:
    """Return the plan of a slim model, and None for any other module."""
    try:
        return plan_of(model)
    except ValueError:
        return None
