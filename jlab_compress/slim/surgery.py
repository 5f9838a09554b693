"""Read the neurons of a block from its layers, and write other neurons in their place, on a copy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from jlab_compress.fitting.layer import Activation, Layer
from jlab_compress.slim.attributes import leave_fast_path
from jlab_compress.slim.conversion import as_stock, as_weighted
from jlab_compress.slim.weighted import (
    WeightedConv1D,
    WeightedConv1d,
    WeightedConv2d,
    WeightedConv3d,
    WeightedLayer,
    WeightedLinear,
)

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_WEIGHTED = (WeightedConv1d, WeightedConv2d, WeightedConv3d)


def is_conv1d(module: nn.Module) -> bool:
    """Return whether a module is the transformers library's linear layer with an (in, out) weight."""
    return isinstance(module, WeightedConv1D) or (
        type(module).__name__ == "Conv1D" and hasattr(module, "nf") and hasattr(module, "nx")
    )


def is_conv(module: nn.Module) -> bool:
    """Return whether a module is a convolution whose channels can be read and replaced."""
    conv: Any = module
    if type(module) not in CONVOLUTIONS and not isinstance(module, _WEIGHTED):
        return False
    return bool(conv.groups == 1 and conv.padding_mode == "zeros" and isinstance(conv.padding, tuple))


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is a linear layer whose neurons can be read and replaced."""
    return type(module) is nn.Linear or isinstance(module, WeightedLinear) or is_conv1d(module)


def matrix_of(module: nn.Module) -> Tensor:
    """Return a layer's weight with one row per unit, (out, in), without multiplicities or a graph.

    A row of a convolution is its filter, flattened.
    """
    stored: Any = module.weight
    weight: Tensor = stored.detach()
    return weight.T if is_conv1d(module) else weight.flatten(1)


def columns_of(module: nn.Module, repeat: int = 1) -> Tensor:
    """Return a layer's weight with one row for each neuron that it reads, (in, ...).

    `repeat` consecutive inputs of a linear layer belong to one neuron; its row holds all their columns.
    """
    if is_conv(module):
        stored: Any = module.weight
        return cast(Tensor, stored.detach().transpose(0, 1).flatten(1))
    matrix = matrix_of(module)
    return matrix.reshape(len(matrix), -1, repeat).transpose(0, 1).flatten(1)


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


def read_layer(
    model: nn.Module,
    incoming: tuple[str, ...],
    outgoing: str,
    activation: Activation,
    *,
    norm: str | None = None,
    repeat: int = 1,
    dtype: torch.dtype = torch.float64,
) -> Layer:
    """Return the block's function as a `Layer` in float32 or float64.

    Its inputs are those of the module (of a convolution: the patches under its filter), scaled by
    `input_scale` where that is not None. A batch norm is taken as in evaluation mode, as part of the
    incoming rows. Of channels the outputs are the contributions to the next layer, before they are summed
    over positions, so there is no output bias.
    """
    modules = [model.get_submodule(name) for name in incoming]
    reader = model.get_submodule(outgoing)
    weights: list[Tensor] = []
    biases: list[Tensor | None] = []
    for module in modules:
        scale = input_scale(module)
        weight = matrix_of(module).to(dtype)
        weights.append(weight if scale is None else weight * scale.to(dtype))
        bias = bias_of(module)
        biases.append(None if bias is None else bias.to(dtype))
    if norm is not None:
        gain, shift = _affine(model.get_submodule(norm), dtype)
        weights[0] = weights[0] * gain[:, None]
        biases[0] = shift if biases[0] is None else shift + gain * biases[0]
    bias = None if is_conv(modules[0]) else bias_of(reader)
    outputs = columns_of(reader, repeat).to(dtype).contiguous()
    return Layer(
        tuple(weights),
        tuple(biases),
        outputs,
        None if bias is None else bias.to(dtype),
        torch.ones(outputs.shape[0], dtype=dtype, device=outputs.device),
        activation,
        biased=bias_of(reader) is not None,
    )


def _affine(norm: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    gain = norm.weight.detach().to(dtype) / (norm.running_var.to(dtype) + norm.eps).sqrt()
    return gain, norm.bias.detach().to(dtype) - gain * norm.running_mean.to(dtype)


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
    incoming: tuple[str, ...],
    outgoing: str,
    layer: Layer,
    *,
    norm: str | None = None,
    repeat: int = 1,
    indices: Tensor | None = None,
    inputs: Tensor | None = None,
) -> None:
    """Put the neurons of `layer` in the place of a block's neurons, in place: pass a copy.

    The layers keep their classes where all multiplicities are one and become slim layers otherwise. New
    parameters have the old dtype, device and `requires_grad`; hooks and flags stay. A batch norm keeps the
    statistics of the neurons at `indices`; without them it gets those of `inputs`.
    """
    counts = None if bool((layer.multiplicities == 1).all()) else layer.multiplicities
    weights, biases = list(layer.incoming), list(layer.biases)
    if norm is not None:
        maker, module = model.get_submodule(incoming[0]), model.get_submodule(norm)
        if indices is None:
            weights[0], biases[0] = _renormalise(module, weights[0], biases[0], inputs, maker)
        else:
            weights[0], biases[0] = _select_norm(module, maker, indices)
        set_multiplicities(module, "output_multiplicities", counts)
    for name, weight, bias in zip(incoming, weights, biases, strict=True):
        module = model.get_submodule(name)
        scale = None if norm is not None and indices is not None else input_scale(module)
        _set(module, weight if scale is None else weight / scale.to(weight), bias)
        set_multiplicities(module, "output_multiplicities", counts)
    reader = model.get_submodule(outgoing)
    set_columns(reader, layer.outgoing, repeat)
    set_bias(reader, _gained(reader, layer.outgoing_bias))
    each = None if counts is None else counts.repeat_interleave(repeat)
    set_multiplicities(reader, "input_multiplicities", each)
    if counts is not None:
        for name in (*incoming, outgoing):
            leave_fast_path(model, name)


def _select_norm(norm: Any, maker: nn.Module, indices: Tensor) -> tuple[Tensor, Tensor | None]:
    """Keep some units of a batch norm; return the raw rows of the layer in front of it."""
    at = indices.to(norm.weight.device)
    for name in ("weight", "bias"):
        old = getattr(norm, name)
        setattr(norm, name, nn.Parameter(old.detach()[at], old.requires_grad))
    norm.running_mean, norm.running_var = norm.running_mean[at], norm.running_var[at]
    norm.num_features = len(at)
    bias = bias_of(maker)
    return matrix_of(maker)[at], None if bias is None else bias[at]


def _renormalise(
    norm: Any, weight: Tensor, bias: Tensor | None, inputs: Tensor | None, maker: nn.Module
) -> tuple[Tensor, Tensor | None]:
    """Give a batch norm the statistics of new units, and the scale and shift that undo them."""
    assert inputs is not None
    values = inputs.to(weight) @ weight.T
    mean, variance = values.mean(dim=0), values.var(dim=0, unbiased=False)
    shift = mean if bias is None else mean + bias
    old = norm.weight
    for name, value in (("weight", (variance + norm.eps).sqrt()), ("bias", shift)):
        setattr(norm, name, nn.Parameter(value.to(old), getattr(norm, name).requires_grad))
    norm.running_mean, norm.running_var = mean.to(norm.running_mean), variance.to(norm.running_var)
    norm.num_features = len(mean)
    return weight, None if bias_of(maker) is None else torch.zeros_like(mean)


def _set(module: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    old: Any = module.weight
    rows = weight.T if is_conv1d(module) else weight.reshape(len(weight), -1, *old.shape[2:])
    module.weight = nn.Parameter(rows.detach().to(old).contiguous(), old.requires_grad)
    set_bias(module, bias)
    set_sizes(module)


def set_columns(module: nn.Module, columns: Tensor, repeat: int) -> None:
    """Write what `columns_of` reads."""
    old: Any = module.weight
    if is_conv(module):
        stored = columns.reshape(len(columns), old.shape[0], *old.shape[2:]).transpose(0, 1)
    else:
        stored = columns.reshape(len(columns), -1, repeat).transpose(0, 1).flatten(1)
        stored = stored.T if is_conv1d(module) else stored
    module.weight = nn.Parameter(stored.detach().to(old).contiguous(), old.requires_grad)
    set_sizes(module)


def _gained(module: nn.Module, bias: Tensor | None) -> Tensor | None:
    """Return the bias of a reader, one number per output, from one per row of `columns_of`."""
    weight: Any = module.weight
    outputs = weight.shape[1 if is_conv1d(module) else 0]
    return None if bias is None else bias.reshape(outputs, -1).sum(dim=1)


def set_bias(module: nn.Module, bias: Tensor | None) -> None:
    """Give a layer a new bias (out,); None leaves the old one."""
    if bias is not None:
        old: Any = module.weight if module.bias is None else module.bias
        module.bias = nn.Parameter(bias.detach().to(old, copy=True), old.requires_grad)


def set_sizes(module: nn.Module) -> None:
    """Bring a layer's size attributes in line with its weight."""
    weight: Any = module.weight
    names = ["nx", "nf"] if is_conv1d(module) else ["out_features", "in_features"]
    if isinstance(module, nn.modules.conv._ConvNd):
        names = ["out_channels", "in_channels"]
        if module.groups > 1:
            module.in_channels = module.groups = weight.shape[0] * module.in_channels // module.out_channels
            names = ["out_channels"]
    if weight.dim() == 1:
        names = ["num_features"]
    for attribute, size in zip(names, weight.shape[: len(names)], strict=True):
        setattr(module, attribute, size)


def set_multiplicities(module: nn.Module, name: str, counts: Tensor | None) -> None:
    """Give a layer multiplicities on one side, or take them away; its class follows."""
    if counts is None and not isinstance(module, WeightedLayer):
        return
    as_weighted(module)
    old: Any = module.weight
    setattr(module, name, None if counts is None else counts.detach().to(old, copy=True))
    if module.input_multiplicities is None and module.output_multiplicities is None:
        as_stock(module)
