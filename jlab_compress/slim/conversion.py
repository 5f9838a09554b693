"""The slim model: its plan, its layers put in place of stock ones, and the way back."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from jlab_compress.execution.isolation import copy_model
from jlab_compress.execution.models import unwrapped
from jlab_compress.slim.copies import along, remember, weigh
from jlab_compress.slim.operators import OPERATORS, known_operator, operator_of
from jlab_compress.slim.plan import Plan
from jlab_compress.slim.units import Located, Operator, modules_of, replace_tensor, stored_tensor, tensor_of
from jlab_compress.slim.weighted import WeightedLayer
from jlab_compress.surroundings import shielded

PLAN = "jlab_compress_plan"


@shielded()
def plan_of(slim: nn.Module) -> Plan:
    """Return the plan by which a slim model was made.

    Raises
    ------
    ValueError
        If the model has none.
    """
    plan = getattr(unwrapped(slim), PLAN, None)
    if not isinstance(plan, Plan):
        raise ValueError(
            f"model: this {type(slim).__name__} has no compression plan; pass a slim model made by "
            "compress(...).model or load(...)"
        )
    return plan


def attach_plan(model: nn.Module, plan: Plan) -> None:
    """Store a plan on a model's root, where deepcopy and pickle keep it."""
    setattr(model, PLAN, plan)


@shielded()
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
    >>> from jlab_compress.slim.weighted import WeightedLinear
    >>> layer = WeightedLinear(2, 1, input_multiplicities=torch.tensor([3.0, 1.0]))
    >>> attach_plan(net := nn.Sequential(layer), Plan(()))
    >>> folded = fold(net)[0]
    >>> type(folded).__name__, bool(torch.equal(folded.weight[0, 0], 3 * layer.weight_of_one[0, 0]))
    ('Linear', True)
    """
    plan = plan_of(slim)
    folded = copy_model(unwrapped(slim))
    layers = {name: m for name, m in folded.named_modules() if isinstance(m, WeightedLayer)}
    counted = {name for name, layer in layers.items() if layer.input_multiplicities is not None}
    for layer in layers.values():
        _fold_layer(layer)
    blocks = tuple(
        replace(block, gauge="folded") if counted.intersection(modules_of(block.units, "reads")) else block
        for block in plan.blocks
    )
    attach_plan(folded, replace(plan, blocks=blocks))
    return folded


def _fold_layer(layer: WeightedLayer) -> None:
    operator, counts = operator_of(layer), layer.input_multiplicities
    assert operator is not None
    if counts is not None:
        for tensor, axis in operator.reads.items():
            value = stored_tensor(layer, tensor)
            folded = weigh(value.detach().double(), along(counts.double(), axis, value), None)
            replace_tensor(layer, tensor, folded.to(value))
    as_stock(layer)


def as_stock(module: nn.Module) -> None:
    """Turn a slim layer back into its stock class in place, dropping the multiplicities."""
    operator = operator_of(module)
    if not isinstance(module, WeightedLayer) or operator is None:
        return
    for buffer in dict.fromkeys(operator.counts.values()):
        delattr(module, buffer)
    module.__dict__.pop("unit_operator", None)
    module.__class__ = module.__dict__.pop("stock_class", operator.stock)


def as_weighted(module: nn.Module, operator: Operator) -> None:
    """Turn a stock layer into a slim one in place; its hooks, flags and attributes stay.

    Parameters
    ----------
    module : nn.Module
        Any layer.
    operator : Operator
        What is known of its type; a layer keeps it where it is not of the table.
    """
    if isinstance(module, operator.weighted):
        return
    if operator.stock is not type(module):
        module.__dict__["stock_class"] = type(module)
    if operator not in OPERATORS:
        module.__dict__["unit_operator"] = operator
    module.__class__ = operator.weighted
    remember(module)
    for buffer in dict.fromkeys(operator.counts.values()):
        module.register_buffer(buffer, None)


def set_multiplicities(module: nn.Module, operator: Operator, buffer: str, counts: Tensor | None) -> None:
    """Give a layer multiplicities in one of its buffers, or take them away; its class follows."""
    if counts is None and not isinstance(module, operator.weighted):
        return
    as_weighted(module, operator)
    like = next(module.parameters())
    setattr(module, buffer, None if counts is None else counts.detach().to(like, copy=True))
    if all(getattr(module, name) is None for name in operator.counts.values()):
        as_stock(module)


def count_units(model: nn.Module, block: Located, counts: Tensor | None) -> None:
    """Give a block's layers the multiplicities (s,) of its units, in place, or None where all are single."""
    done: set[tuple[str, str]] = set()
    for unit in block.units:
        operator = known_operator(model, unit.module, block.operators)
        buffer = operator.counts.get(unit.role)
        if buffer is None or (unit.module, buffer) in done:
            continue
        done.add((unit.module, buffer))
        each = counts if counts is None or operator.one_count_each else unit.spread(counts)
        set_multiplicities(model.get_submodule(unit.module), operator, buffer, each)


def multiplicities_of(model: nn.Module, block: Located) -> Tensor | None:
    """Return what `count_units` gave a block: c of its units, (s,), or None where no layer holds any."""
    for unit in block.units:
        module, operator = (
            model.get_submodule(unit.module),
            known_operator(model, unit.module, block.operators),
        )
        counts: Tensor | None = getattr(module, operator.counts.get(unit.role, ""), None)
        if counts is not None:
            each = unit.each if not operator.one_count_each else 1
            return counts.detach()[: unit.width(tensor_of(model, unit)) * each : each]
    return None
