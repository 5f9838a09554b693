"""Put other units in the place of a block's units, on a copy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.fitting.layer import Layer
from jlab_compress.slim.attributes import leave_fast_path, rename_sizes
from jlab_compress.slim.conversion import count_units
from jlab_compress.slim.layers import adds_to_bias, input_scale
from jlab_compress.slim.operators import known_operator
from jlab_compress.slim.units import Located, UnitAxis, modules_of, replace_tensor, stored_tensor, tensor_of


def write_layer(
    model: nn.Module,
    block: Located,
    layer: Layer,
    *,
    indices: Tensor | None = None,
    inputs: Tensor | None = None,
) -> None:
    """Put the units of `layer` in the place of a block's units, in place: pass a copy.

    The layers keep their classes where all multiplicities are one and become slim layers otherwise. New
    parameters have the old dtype, device and `requires_grad`; hooks and flags stay.

    Parameters
    ----------
    model : nn.Module
        A copy.
    block : Located
        Where its units are.
    layer : Layer
        As `read_layer` gives it; of channels, an output bias is added to that of the reader.
    indices : Tensor (s,), optional
        The kept units, where they are kept as they were: a batch norm then keeps their statistics.
    inputs : Tensor (q, n_in), optional
        Of a block with a batch norm without `indices`: rows that give it new statistics.
    """
    before = block.reading_axis.width(tensor_of(model, block.reading_axis))
    open_layers(model, block)
    counts = None if bool((layer.multiplicities == 1).all()) else layer.multiplicities
    if block.activation_only:
        rows = list(zip(block.making_axes, layer.incoming, strict=True))
    else:
        rows = _neuron_rows(model, block, layer, indices, inputs)
    for unit, values in rows:
        old = tensor_of(model, unit)
        put_tensor(model, unit, unit.value(values.to(old), old))
    _write_reader(model, block, layer)
    count_units(model, block, counts)
    settle(model, block, before, layer.width)


def _neuron_rows(
    model: nn.Module, block: Located, layer: Layer, indices: Tensor | None, inputs: Tensor | None
) -> list[tuple[UnitAxis, Tensor]]:
    """Return the rows of each tensor that makes neurons, and of their batch norm."""
    if block.norm is not None and indices is not None:
        values = {unit: tensor_of(model, unit) for unit in block.making_axes}
        return [(unit, unit.rows(unit.select(value, indices))) for unit, value in values.items()]
    weights, biases = list(layer.incoming), list(layer.biases)
    norm: dict[str, Tensor] = {}
    if block.norm is not None:
        assert inputs is not None, "a batch norm needs the rows that new neurons see"
        norm, biases[0] = _renormalised(model.get_submodule(block.norm), weights[0], biases[0], inputs)
    found = []
    for unit in block.making_axes:
        if unit.role == "treats":
            found.append((unit, norm[unit.tensor]))
            continue
        number = block.incoming.index(unit.module)
        scale, bias = input_scale(model.get_submodule(unit.module)), biases[number]
        if unit.tensor != "bias":
            found.append((unit, weights[number] if scale is None else weights[number] / scale.to(weights[0])))
        elif bias is not None:
            found.append((unit, bias))
    return found


def _renormalised(
    norm: Any, weight: Tensor, bias: Tensor | None, inputs: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the statistics of new neurons for a batch norm, scale and shift that undo them, and no bias."""
    values = inputs.to(weight) @ weight.T
    mean, variance = values.mean(dim=0), values.var(dim=0, unbiased=False)
    shift = mean if bias is None else mean + bias
    gain = (variance + norm.eps).sqrt()
    made = {"weight": gain, "bias": shift, "running_mean": mean, "running_var": variance}
    return made, torch.zeros_like(mean)


def _write_reader(model: nn.Module, block: Located, layer: Layer) -> None:
    unit = block.reading_axis
    reader: Any = model.get_submodule(block.outgoing)
    old = tensor_of(model, unit)
    put_tensor(model, unit, unit.value_of_columns(layer.outgoing.to(old), old))
    if layer.outgoing_bias is not None:
        outputs = old.movedim(unit.axis, 1).shape[0]
        bias = layer.outgoing_bias.reshape(outputs, -1).sum(dim=1)
        if reader.bias is not None and adds_to_bias(model, block):
            bias = bias + reader.bias.detach().to(bias)
        like = stored_tensor(reader, unit.tensor) if reader.bias is None else reader.bias
        new = bias.detach().to(like, copy=True)
        if reader.bias is None:
            reader.bias = nn.Parameter(new, like.requires_grad)
        else:
            replace_tensor(reader, "bias", new)


def put_tensor(model: nn.Module, unit: UnitAxis, value: Tensor) -> None:
    """Put a tensor in the place of an axis's, in place: of the old dtype, device and `requires_grad`."""
    module = model.get_submodule(unit.module)
    old = stored_tensor(module, unit.tensor)
    new = value.detach().to(old).clone(memory_format=torch.contiguous_format)
    replace_tensor(module, unit.tensor, new)


def select_units(
    model: nn.Module, units: Iterable[UnitAxis], indices: Tensor, shares: Tensor | None = None
) -> None:
    """Let a model have the units at `indices` (s,), in this order, in place: pass a copy.

    Only tensors change, not the size attributes of layers; see `settle`.

    Parameters
    ----------
    model : nn.Module
        A copy.
    units : iterable of UnitAxis
        All axes that run over them; a tensor may have more than one.
    indices : Tensor (s,)
        A permutation leaves the function as it is.
    shares : Tensor (s,), optional
        Factors for what reads the units: halves where a unit comes twice leave the function as it is.
    """
    for unit in units:
        value = unit.select(tensor_of(model, unit), indices)
        put_tensor(
            model, unit, value if shares is None or unit.role != "reads" else unit.scale(value, shares)
        )


def open_layers(model: nn.Module, block: Located) -> None:
    """Make a block's layers ready for another number of units, and for hooks, in place; see `Operator`."""
    for name in modules_of(block.units):
        operator = known_operator(model, name, block.operators)
        if operator.open is not None:
            operator.open(model.get_submodule(name))


def settle(model: nn.Module, block: Located, before: int, after: int) -> None:
    """Bring size attributes in line with tensors that have been replaced, and leave fused fast paths."""
    for name in modules_of(block.units):
        module, operator = model.get_submodule(name), known_operator(model, name, block.operators)
        for attribute, size in operator.sizes(module).items():
            setattr(module, attribute, size)
        if isinstance(module, operator.weighted):
            leave_fast_path(model, name)
    rename_sizes(model, block, before, after)
