"""Read the neurons of a block from its layers, and write other neurons in their place, on a copy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.fitting.layer import Activation, Layer
from jlab_compress.network.slim import WeightedConv1D, WeightedLayer, WeightedLinear, as_stock, as_weighted

# Names under which modules and configurations of the field store the width of their hidden layer.
_WIDTH_NAMES = ("intermediate_size", "d_ff", "ffn_dim", "n_inner", "dim_feedforward", "hidden_dim")


def is_conv1d(module: nn.Module) -> bool:
    """Return whether a module is the transformers library's linear layer with an (in, out) weight."""
    return isinstance(module, WeightedConv1D) or (
        type(module).__name__ == "Conv1D" and hasattr(module, "nf") and hasattr(module, "nx")
    )


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is a linear layer whose neurons can be read and replaced."""
    return type(module) is nn.Linear or isinstance(module, WeightedLinear) or is_conv1d(module)


def matrix_of(module: nn.Module) -> Tensor:
    """Return a linear layer's weight as (out, in), without multiplicities and without a graph."""
    stored: Any = module.weight
    weight: Tensor = stored.detach()
    return weight.T if is_conv1d(module) else weight


def bias_of(module: nn.Module) -> Tensor | None:
    """Return a linear layer's bias (out,) without a graph, or None."""
    bias: Any = module.bias
    return None if bias is None else bias.detach()


def input_scale(module: nn.Module) -> Tensor | None:
    """Return sqrt(c) of the neurons that a layer reads, or None where they are all single.

    Scaling inputs and weight columns by sqrt(c) turns sums over copies into plain sums, in the outputs
    and in the tangent kernel alike; so a fit need not know about the multiplicities in front of it.
    """
    counts = module.input_multiplicities if isinstance(module, WeightedLayer) else None
    return None if counts is None else counts.sqrt()


def read_layer(
    model: nn.Module,
    incoming: tuple[str, ...],
    outgoing: str,
    activation: Activation,
    dtype: torch.dtype = torch.float64,
) -> Layer:
    """Return the block's function as a `Layer` in float32 or float64.

    Inputs of the layer are the inputs of the module, scaled by `input_scale` where it is not None.
    """
    modules = [model.get_submodule(name) for name in incoming]
    reader = model.get_submodule(outgoing)
    weights, biases = [], []
    for module in modules:
        scale = input_scale(module)
        weight = matrix_of(module).to(dtype)
        weights.append(weight if scale is None else weight * scale.to(dtype))
        bias = bias_of(module)
        biases.append(None if bias is None else bias.to(dtype))
    bias = bias_of(reader)
    outputs = matrix_of(reader).to(dtype).T.contiguous()
    return Layer(
        tuple(weights),
        tuple(biases),
        outputs,
        None if bias is None else bias.to(dtype),
        torch.ones(outputs.shape[0], dtype=dtype, device=outputs.device),
        activation,
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


def write_layer(model: nn.Module, incoming: tuple[str, ...], outgoing: str, layer: Layer) -> None:
    """Put the neurons of `layer` in the place of a block's neurons, in place: pass a copy.

    The layers keep their classes where all multiplicities are one and become slim layers otherwise. New
    parameters have the old dtype, device and `requires_grad`; hooks and flags stay.
    """
    counts = None if bool((layer.multiplicities == 1).all()) else layer.multiplicities
    for name, weight, bias in zip(incoming, layer.incoming, layer.biases, strict=True):
        module = model.get_submodule(name)
        scale = input_scale(module)
        _set(module, weight if scale is None else weight / scale.to(weight), bias)
        _set_multiplicities(module, "output_multiplicities", counts)
    reader = model.get_submodule(outgoing)
    _set(reader, layer.outgoing.T, layer.outgoing_bias)
    _set_multiplicities(reader, "input_multiplicities", counts)
    if counts is not None:
        for name in (*incoming, outgoing):
            leave_fast_path(model, name)


def _set(module: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    old: Any = module.weight
    stored = (weight.T if is_conv1d(module) else weight).detach().to(old).contiguous()
    module.weight = nn.Parameter(stored, old.requires_grad)
    if bias is not None:
        flag = old.requires_grad if module.bias is None else bool(module.bias.requires_grad)
        module.bias = nn.Parameter(bias.detach().to(old, copy=True), flag)
    set_sizes(module)


def set_sizes(module: nn.Module) -> None:
    """Bring a linear layer's size attributes in line with its weight."""
    names = ("nx", "nf") if is_conv1d(module) else ("out_features", "in_features")
    weight: Any = module.weight
    for attribute, size in zip(names, weight.shape, strict=True):
        setattr(module, attribute, size)


def _set_multiplicities(module: nn.Module, name: str, counts: Tensor | None) -> None:
    if counts is None and not isinstance(module, WeightedLayer):
        return
    as_weighted(module)
    old: Any = module.weight
    setattr(module, name, None if counts is None else counts.detach().to(old, copy=True))
    if module.input_multiplicities is None and module.output_multiplicities is None:
        as_stock(module)


def parent_of(model: nn.Module, name: str) -> nn.Module:
    """Return the module that holds the one at a dotted path."""
    return model.get_submodule(name.rpartition(".")[0])


def leave_fast_path(model: nn.Module, name: str) -> None:
    """Keep `nn.TransformerEncoderLayer` from passing by the slim layers in it.

    In evaluation mode without gradients its fused kernel reads the weights of `linear1` and `linear2`
    itself and would miss the multiplicities.
    """
    parts = name.split(".")
    for end in range(len(parts)):
        module: Any = model.get_submodule(".".join(parts[:end]))
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False


def rename_widths(model: nn.Module, incoming: tuple[str, ...], before: int, after: int) -> None:
    """Keep width attributes of the module around a block at the true value."""
    parent = parent_of(model, incoming[0])
    for attribute in _WIDTH_NAMES:
        if vars(parent).get(attribute) == before:
            setattr(parent, attribute, after)


def rename_config(model: nn.Module, before: set[int], after: set[int]) -> None:
    """Write the common width of all blocks into the model's configuration, if it has one field for it.

    Only where every block went from one width to one other width; a configuration cannot say more.
    """
    config: Any = getattr(model, "config", None)
    if config is None or len(before) != 1 or len(after) != 1:
        return
    for attribute in _WIDTH_NAMES:
        if getattr(config, attribute, None) in before:
            setattr(config, attribute, next(iter(after)))
