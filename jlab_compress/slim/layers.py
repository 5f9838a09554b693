"""Read the units of layers: weights as matrices, biases, multiplicities, and a whole block as a `Layer`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.fitting.layer import Activation, Layer
from jlab_compress.slim.operators import is_conv1d, operator_of
from jlab_compress.slim.units import Located, UnitAxis, stored_tensor, tensor_of
from jlab_compress.slim.weighted import WeightedLayer, WeightedLinear, is_conv


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is a linear layer whose neurons can be read and replaced."""
    return type(module) is nn.Linear or isinstance(module, WeightedLinear) or is_conv1d(module)


def matrix_of(module: nn.Module) -> Tensor:
    """Return a layer's weight with one row per unit, (out, in), without multiplicities or a graph.

    A row of a convolution is its filter, flattened.
    """
    operator = operator_of(module)
    axis = 0 if operator is None else operator.makes.get("weight", 0)
    return stored_tensor(module, "weight").detach().movedim(axis, 0).flatten(1)


def columns_of(module: nn.Module, repeat: int = 1) -> Tensor:
    """Return a layer's weight with one row for each neuron that it reads, (in, ...).

    `repeat` consecutive inputs of a linear layer belong to one neuron; its row holds all their columns.
    """
    operator = operator_of(module)
    axis = 1 if operator is None else operator.reads.get("weight", 1)
    return UnitAxis("", "weight", axis, "reads", each=repeat).columns(
        stored_tensor(module, "weight").detach()
    )


def bias_of(module: nn.Module) -> Tensor | None:
    """Return a layer's bias (out,) without a graph, or None."""
    bias: Any = module.bias
    return None if bias is None else bias.detach()


def input_scale(module: nn.Module) -> Tensor | None:
    """Return sqrt(c) for each column of `matrix_of`, or None where all neurons that it reads are single.

    Scaling inputs and weight columns by sqrt(c) turns sums over copies into plain sums, in the outputs
    and in the tangent kernel alike; so a fit need not know about the multiplicities in front of it.
    """
    counts = module.input_multiplicities if isinstance(module, WeightedLayer) else None
    if counts is None:
        return None
    return counts.sqrt().repeat_interleave(matrix_of(module).shape[1] // len(counts))


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
    reading = block.reading_axis
    outgoing = reading.columns(tensor_of(model, reading).double())
    bias = bias_of(reader)
    activation = None if block.activation_only else activation
    if activation is None:
        incoming = tuple(unit.rows(tensor_of(model, unit).double()) for unit in block.making_axes)
        biases: tuple[Tensor | None, ...] = (None,) * len(incoming)
    else:
        incoming, biases = _neurons(model, block)
        bias = None if adds_to_bias(model, block) else bias
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


def adds_to_bias(model: nn.Module, block: Located) -> bool:
    """Tell whether the `Layer` of a block leaves the bias of its reader out, so that its own comes on top.

    Channels add up over positions, so what one gives at a single position has no part in it.
    """
    return not block.activation_only and is_conv(model.get_submodule(block.incoming[0]))


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
        "layer: heads, and channels that further layers treat, cannot be called on rows; run the model "
        "to see what they give"
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
