"""Read the units of a block from its layers, and write other units in their place, on a copy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.fitting.layer import Activation, Layer
from jlab_compress.slim.attributes import leave_fast_path, rename_sizes
from jlab_compress.slim.conversion import count_units
from jlab_compress.slim.layers import bias_of, input_scale, is_conv, matrix_of
from jlab_compress.slim.operators import operator_of
from jlab_compress.slim.units import Located, UnitAxis, modules_of, put_tensor, tensor_of


def read_layer(model: nn.Module, block: Located, activation: Activation | None = None) -> Layer:
    """Return the units of a block of a model as a `Layer` in float64.

    Its inputs are those of the module (of a convolution: the patches under its filter), scaled by
    `input_scale` where that is not None. A batch norm is taken as in evaluation mode, as part of the
    incoming rows. Of channels the outputs are the contributions to the next layer, before they are summed
    over positions, so there is no output bias.

    Where only a run tells what a unit gives, the layer cannot be called: it has one row per unit for every
    tensor that makes or treats units, and fits take recorded values and `outgoing`.

    Parameters
    ----------
    model : nn.Module
        Has the block, as it was found or with other units.
    block : Located
        Where its units are.
    activation : callable or None
        What happens between its layers; None for a block that is `activation_only`.
    """
    reader = model.get_submodule(block.outgoing)
    reading = _reading(block)
    outgoing = reading.columns(tensor_of(model, reading).double())
    bias = bias_of(reader)
    activation = None if block.activation_only else activation
    if activation is None:
        incoming = tuple(unit.rows(tensor_of(model, unit).double()) for unit in _others(block))
        biases: tuple[Tensor | None, ...] = (None,) * len(incoming)
    else:
        incoming, biases = _neurons(model, block)
        bias = None if is_conv(model.get_submodule(block.incoming[0])) else bias
        outgoing = outgoing.contiguous()
    return Layer(
        incoming,
        biases,
        outgoing,
        None if bias is None else bias.double(),
        torch.ones(len(outgoing), dtype=torch.float64, device=outgoing.device),
        activation or no_activation,
        biased=bias_of(reader) is not None,
    )


def _reading(block: Located) -> UnitAxis:
    return next(unit for unit in block.units if unit.role == "reads")


def _others(block: Located) -> list[UnitAxis]:
    return [unit for unit in block.units if unit.role != "reads"]


def _neurons(model: nn.Module, block: Located) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
    """Return incoming rows and biases, scaled and with the batch norm in them."""
    weights: list[Tensor] = []
    biases: list[Tensor | None] = []
    for name in block.incoming:
        module = model.get_submodule(name)
        weight, scale, bias = matrix_of(module).double(), input_scale(module), bias_of(module)
        weights.append(weight if scale is None else weight * scale.double())
        biases.append(None if bias is None else bias.double())
    if block.norm is not None:
        norm: Any = model.get_submodule(block.norm)
        gain = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
        shift = norm.bias.detach().double() - gain * norm.running_mean.double()
        weights[0] = weights[0] * gain[:, None]
        biases[0] = shift if biases[0] is None else shift + gain * biases[0]
    return tuple(weights), tuple(biases)


def no_activation(*parts: Tensor) -> Tensor:
    """Refuse to be called: what a unit gives is no function of one row."""
    raise TypeError(
        "a layer of recorded objects (heads, channels with layers between) cannot be called on rows"
    )


def on_cpu(layer: Layer) -> Layer:
    """Return the layer with its tensors on the CPU, where fits run."""
    return replace(
        layer,
        incoming=tuple(w.cpu() for w in layer.incoming),
        biases=tuple(None if b is None else b.cpu() for b in layer.biases),
        outgoing=layer.outgoing.cpu(),
        outgoing_bias=None if layer.outgoing_bias is None else layer.outgoing_bias.cpu(),
        multiplicities=layer.multiplicities.cpu(),
    )


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
        As `read_layer` gives it.
    indices : Tensor (s,), optional
        The kept units, where they are kept as they were: a batch norm then keeps their statistics.
    inputs : Tensor (q, n_in), optional
        Of a block with a batch norm without `indices`: rows that give it new statistics.
    """
    before = _reading(block).width(tensor_of(model, _reading(block)))
    open_layers(model, block)
    counts = None if bool((layer.multiplicities == 1).all()) else layer.multiplicities
    if block.activation_only:
        rows = list(zip(_others(block), layer.incoming, strict=True))
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
        kept = [unit.rows(tensor_of(model, unit)) for unit in _others(block)]
        return [
            (unit, rows[indices.to(rows.device)]) for unit, rows in zip(_others(block), kept, strict=True)
        ]
    weights, biases = list(layer.incoming), list(layer.biases)
    norm: dict[str, Tensor] = {}
    if block.norm is not None:
        assert inputs is not None, "a batch norm needs the rows that new neurons see"
        norm, biases[0] = _renormalised(model.get_submodule(block.norm), weights[0], biases[0], inputs)
    found = []
    for unit in _others(block):
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
    unit = _reading(block)
    reader: Any = model.get_submodule(block.outgoing)
    old = tensor_of(model, unit)
    put_tensor(model, unit, unit.value_of_columns(layer.outgoing.to(old), old))
    if layer.outgoing_bias is not None:
        outputs = old.movedim(unit.axis, 1).shape[0]
        bias = layer.outgoing_bias.reshape(outputs, -1).sum(dim=1)
        like = getattr(reader, unit.tensor) if reader.bias is None else reader.bias
        reader.bias = nn.Parameter(bias.detach().to(like, copy=True), like.requires_grad)


def open_layers(model: nn.Module, block: Located) -> None:
    """Make a block's layers ready for another number of units, and for hooks, in place; see `Operator`."""
    for name in modules_of(block.units):
        module = model.get_submodule(name)
        operator = operator_of(module, block.operators)
        if operator is not None and operator.open is not None:
            operator.open(module)


def settle(model: nn.Module, block: Located, before: int, after: int) -> None:
    """Bring size attributes in line with tensors that have been replaced, and leave fused fast paths."""
    for name in modules_of(block.units):
        module = model.get_submodule(name)
        operator = operator_of(module, block.operators)
        for attribute, size in operator.sizes(module).items() if operator is not None else ():
            setattr(module, attribute, size)
        if operator is not None and isinstance(module, operator.weighted):
            leave_fast_path(model, name)
    rename_sizes(model, block, before, after)
