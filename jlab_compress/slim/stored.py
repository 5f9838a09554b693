"""What a file must say and hold to be loaded into a model, checked before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from jlab_compress.slim.attributes import count_of_heads
from jlab_compress.slim.operators import known_operator
from jlab_compress.slim.plan import BlockPlan
from jlab_compress.slim.units import UnitAxis, without

ADVICE = "pass the architecture that was compressed"
ROUNDING = 0.01  # layers of one block may keep its multiplicities in other dtypes


def check_blocks(model: nn.Module, blocks: Sequence[BlockPlan]) -> None:
    """Refuse a plan whose blocks are not among the layers of a model; no attribute of these is read.

    Raises
    ------
    ValueError
        Naming the block, and what it needs.
    """
    layers = layers_of(model)
    seen: set[tuple[str, int]] = set()
    for block in blocks:
        for unit in block.units:
            wanted, found = unit.length(block.width_before), _length(layers, unit)
            if found != wanted and not without(layers.get(unit.module), unit):
                raise ValueError(
                    f"model: block {short(block.name)} of the file needs a layer {short(unit.module)} with "
                    f"{wanted} neurons, this model has {'none' if found is None else found}; {ADVICE}"
                )
            operator = known_operator(model, unit.module, block.operators)
            if operator.tensors(unit.role).get(unit.tensor) != unit.axis or (unit.name, unit.axis) in seen:
                raise ValueError(
                    f"path: the plan of the file gives axis {unit.axis} of {unit.name} another meaning than "
                    "its layer has; save the model again"
                )
            seen.add((unit.name, unit.axis))
        _check_heads(model, block)


def _check_heads(model: nn.Module, block: BlockPlan) -> None:
    if block.kind != "attention":
        return
    heads = count_of_heads(model, block) if block.name in layers_of(model) else 0
    if heads not in (None, block.width_before):
        raise ValueError(
            f"model: block {short(block.name)} of the file needs {block.width_before} attention heads, this "
            f"model has {heads}; {ADVICE}"
        )


def check_tensors(model: nn.Module, blocks: Sequence[BlockPlan], stored: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not those of the slim model that the blocks of a plan leave of a model.

    Raises
    ------
    ValueError
        Naming the first tensor that is missing, unknown, of another shape or of another kind of numbers.
    """
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    shapes = {name: list(value.shape) for name, value in state.items()}
    for block in blocks:
        for unit in block.units:
            if unit.name in shapes:
                shapes[unit.name][unit.axis] = unit.length(block.width_after)
    more = _besides(model, blocks, shapes)
    for name in (*shapes, *stored):
        expected, found = shapes.get(name, more.get(name)), stored.get(name)
        if expected is None or found is None or list(found.shape) != expected:
            raise ValueError(
                f"model: the file belongs to another architecture ({short(name)} would be "
                f"{'nothing' if expected is None else expected} here and is "
                f"{'missing' if found is None else list(found.shape)}); {ADVICE}"
            )
        wanted = _numbers(state[name].dtype if name in state else torch.float32)
        if _numbers(found.dtype) != wanted:
            raise ValueError(
                f"path: {name} of the file holds {found.dtype} and must hold {wanted} numbers; save the "
                "model again"
            )
    for block in blocks:
        _check_counts(model, block, stored)


def _counts(model: nn.Module, block: BlockPlan) -> dict[str, tuple[UnitAxis, bool]]:
    """Return where a block's layers may have multiplicities, by name, and whether they have one per unit."""
    found: dict[str, tuple[UnitAxis, bool]] = {}
    for unit in block.units:
        operator = known_operator(model, unit.module, block.operators)
        if unit.role in operator.counts:
            place = replace(unit, tensor=operator.counts[unit.role])
            found.setdefault(place.name, (unit, operator.one_count_each))
    return found


def _besides(
    model: nn.Module, blocks: Sequence[BlockPlan], shapes: Mapping[str, list[int]]
) -> dict[str, list[int]]:
    """Return the shapes of what slim layers may have more: multiplicities, and a bias where they read."""
    layers, found = layers_of(model), {}
    for block in blocks:
        for name, (unit, single) in _counts(model, block).items():
            found[name] = [block.width_after if single else unit.length(block.width_after)]
        for unit in block.units:
            if unit.role == "reads" and layers[unit.module]._parameters.get("bias", unit) is None:
                found[replace(unit, tensor="bias").name] = [shapes[unit.name][0 if unit.axis else 1]]
    return found


def _check_counts(model: nn.Module, block: BlockPlan, stored: Mapping[str, Tensor]) -> None:
    """Refuse what are no multiplicities, and layers of one block that do not have the same ones."""
    places = _counts(model, block)
    there = {name: stored[name].double() for name in places if name in stored}
    units: list[Tensor] = []
    for name, counts in there.items():
        unit, single = places[name]
        units.append(counts if single else counts.view(unit.sections, -1, unit.each)[0, :, 0])
        if not bool(((counts > 0) & counts.isfinite()).all()):
            raise ValueError(f"path: {name} of the file must hold numbers above 0; save the model again")
        same = torch.allclose(units[0], units[-1], rtol=ROUNDING)
        if not (same and (single or torch.equal(unit.spread(units[-1]), counts))):
            raise ValueError(
                f"path: {name} of the file must hold the multiplicities of {next(iter(there))}; save the "
                "model again"
            )
    if block.gauge == "weighted" and there and len(there) < len(places):
        lacking = next(name for name in places if name not in there)
        raise ValueError(f"path: the file has {next(iter(there))} but no {lacking}; save the model again")


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return all modules of a model by each of their names."""
    return dict(model.named_modules(remove_duplicate=False))


def _length(layers: Mapping[str, nn.Module], unit: UnitAxis) -> int | None:
    """Return the length of an axis, or None where no layer has such a tensor of its own."""
    layer = layers.get(unit.module)
    value = None if layer is None else (layer._parameters | layer._buffers).get(unit.tensor)
    return None if value is None or value.dim() <= unit.axis else value.shape[unit.axis]


def _numbers(dtype: torch.dtype) -> str:
    """Return which kind of numbers a dtype holds."""
    if dtype.is_floating_point or dtype.is_complex:
        return "complex" if dtype.is_complex else "floating-point"
    return "boolean" if dtype == torch.bool else "whole"


def short(text: str) -> str:
    """Return a name out of a file so that it can stand in a sentence."""
    if text.isprintable() and 0 < len(text) <= 80:
        return text
    return ascii(text) if len(text) <= 40 else f"{text[:40]!a}..."
