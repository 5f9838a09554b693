"""The slim model: its plan, its layers put in place of stock ones, and the way back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from jlab_compress.execution.isolation import copy_model
from jlab_compress.execution.models import unwrapped
from jlab_compress.slim.plan import Plan
from jlab_compress.slim.weighted import (
    WeightedBatchNorm1d,
    WeightedBatchNorm2d,
    WeightedBatchNorm3d,
    WeightedConv1D,
    WeightedConv1d,
    WeightedConv2d,
    WeightedConv3d,
    WeightedLayer,
    WeightedLinear,
    along,
    remember,
)

_PLAN = "jlab_compress_plan"


def plan_of(slim: nn.Module) -> Plan:
    """Return the plan by which a slim model was made.

    Raises
    ------
    ValueError
        If the model has none.
    """
    plan = getattr(unwrapped(slim), _PLAN, None)
    if not isinstance(plan, Plan):
        raise ValueError(
            f"model: this {type(slim).__name__} has no compression plan; pass a slim model made by "
            "compress(...).model or load(...)"
        )
    return plan


def attach_plan(model: nn.Module, plan: Plan) -> None:
    """Store a plan on a model's root, where deepcopy and pickle keep it."""
    setattr(model, _PLAN, plan)


def fold(slim: nn.Module) -> nn.Module:
    """Return an equal model of stock modules only, for inference and export.

    The multiplicities go into the outgoing weights (computed in float64, cast back once). The function is
    the same; training is not: gradients of a folded model are no longer divided by c.

    Parameters
    ----------
    slim : nn.Module
        From `compress(...).model` or `load(...)`; it stays as it is.

    Returns
    -------
    nn.Module
        A new model with the same attribute and parameter names.

    Examples
    --------
    >>> import torch
    >>> layer = WeightedLinear(2, 1, input_multiplicities=torch.tensor([3.0, 1.0]))
    >>> attach_plan(net := nn.Sequential(layer), Plan(()))
    >>> type(fold(net)[0]).__name__, bool(torch.equal(fold(net)[0].weight[0, 0], 3 * layer.weight[0, 0]))
    ('Linear', True)
    """
    plan = plan_of(slim)
    folded = copy_model(unwrapped(slim))
    layers = {name: m for name, m in folded.named_modules() if isinstance(m, WeightedLayer)}
    counted = {name for name, layer in layers.items() if layer.input_multiplicities is not None}
    for layer in layers.values():
        _fold_layer(layer)
    blocks = tuple(replace(b, gauge="folded") if b.outgoing in counted else b for b in plan.blocks)
    attach_plan(folded, replace(plan, blocks=blocks))
    return folded


def _fold_layer(module: WeightedLayer) -> None:
    axis = 0 if isinstance(module, WeightedConv1D) else 1
    counts, weight = module.input_multiplicities, module.weight
    if counts is not None:
        folded = weight.detach().double() * along(counts.double(), axis, weight)
        module.weight = nn.Parameter(folded.to(weight), weight.requires_grad)
    as_stock(module)


def as_stock(module: nn.Module) -> None:
    """Turn a slim layer back into its stock class in place, dropping the multiplicities."""
    if isinstance(module, WeightedLayer):
        del module.input_multiplicities, module.output_multiplicities
        stock: Any = _STOCK.get(type(module)) or module.__dict__.pop("stock_class")
        module.__class__ = stock


def as_weighted(module: nn.Module) -> None:
    """Turn a stock layer into a slim one in place; its hooks, flags and attributes stay."""
    if isinstance(module, WeightedLayer):
        return
    slim: Any = next((weighted for weighted, stock in _STOCK.items() if type(module) is stock), None)
    if slim is None:
        module.__dict__["stock_class"] = type(module)
    module.__class__ = slim or WeightedConv1D
    remember(module)
    module.register_buffer("input_multiplicities", None)
    module.register_buffer("output_multiplicities", None)


_STOCK: dict[type[nn.Module], type[nn.Module]] = {
    WeightedLinear: nn.Linear,
    WeightedConv1d: nn.Conv1d,
    WeightedConv2d: nn.Conv2d,
    WeightedConv3d: nn.Conv3d,
    WeightedBatchNorm1d: nn.BatchNorm1d,
    WeightedBatchNorm2d: nn.BatchNorm2d,
    WeightedBatchNorm3d: nn.BatchNorm3d,
}
