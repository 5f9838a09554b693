"""Inputs that a model runs on: synthetic where it comes without any, and as few rows as it takes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.calls import Call
from jlab_compress.execution.isolation import let_hooks_act, undisturbed
from jlab_compress.execution.models import device_of
from jlab_compress.execution.outputs import outputs_of
from jlab_compress.execution.splits import first_rows
from jlab_compress.slim.layers import is_linear, matrix_of


def example_call(model: nn.Module) -> Call | None:
    """Return synthetic arguments on which the model runs, or None.

    Tried in order: `dummy_inputs` and the configuration of transformers models, then shapes that fit the
    first layer with parameters. Values are standard normal, or random indices for an embedding.
    """
    device = device_of(model)
    for call in _guesses(model):
        placed = call.to(device)
        try:
            with undisturbed(model), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                placed(model)
            return placed
        except Exception as error:
            raise_lack_of_memory(error)
    return None


def call_that_runs(model: nn.Module, call: Call, argument: str) -> Call:
    """Return the first rows of a call if the model takes them alone, else the whole call.

    Raises
    ------
    ValueError
        If the model fails on both.
    """
    small = first_rows(call)
    if fault_of(model, small) is None:
        return small
    fault = fault_of(model, call)
    if fault is None:
        return call
    raise ValueError(
        f"{argument}: the model fails on them ({in_words(fault)}); pass what its forward takes"
    ) from fault


def settle_hooks(model: nn.Module, call: Call) -> None:
    """Let those hooks of a working copy act that change what it answers to a call, in place."""
    let_hooks_act(model, lambda: _outcome(model, call))


def _outcome(model: nn.Module, call: Call) -> list[Tensor] | None:
    """Return a model's outputs on the first rows of a call, or on all of it; None where it fails on both."""
    for given in (first_rows(call), call):
        try:
            with undisturbed(model):
                return outputs_of(given(model))
        except Exception as error:
            raise_lack_of_memory(error)
    return None


def fault_of(model: nn.Module, call: Call) -> Exception | None:
    """Return what a model raises on a call, or None."""
    try:
        with undisturbed(model):
            call(model)
    except Exception as error:
        raise_lack_of_memory(error)
        return error
    return None


def _guesses(model: nn.Module) -> Iterator[Call]:
    yield from _transformers(model)
    for module in model.modules():
        shapes = _shapes(module)
        if isinstance(module, nn.Embedding):
            generator = torch.Generator().manual_seed(0)
            yield Call((torch.randint(module.num_embeddings, (2, 8), generator=generator),))
        for shape in shapes:
            yield Call((_normal(model, shape),))
            yield Call((_normal(model, shape), _normal(model, shape)))
        if shapes or isinstance(module, nn.Embedding):
            return


def _transformers(model: nn.Module) -> Iterator[Call]:
    config: Any = getattr(model, "config", None)
    if getattr(model, "main_input_name", None) == "pixel_values" and config is not None:
        side = getattr(config, "image_size", 32)
        sides = tuple(side) if isinstance(side, tuple | list) else (side, side)
        yield Call((), {"pixel_values": _normal(model, (2, getattr(config, "num_channels", 3), *sides))})
    dummy = getattr(model, "dummy_inputs", None)
    if isinstance(dummy, dict):
        yield Call((), dummy)


def _shapes(module: nn.Module) -> list[tuple[int, ...]]:
    if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
        return [(2, 7, module.self_attn.embed_dim)]
    if isinstance(module, nn.MultiheadAttention):
        return [(2, 7, module.embed_dim)]
    size = matrix_of(module).shape[1] if is_linear(module) else getattr(module, "in_features", None)
    if isinstance(size, int):
        return [(2, size), (2, 7, size), (2, 1, 28, 28), (2, 3, 32, 32)]
    if isinstance(module, nn.Conv1d):
        return [(2, module.in_channels, n) for n in (64, 256, 1024)]
    if isinstance(module, nn.Conv2d):
        return [(2, module.in_channels, n, n) for n in (32, 28, 8, 64, 224)]
    return []


def _normal(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def neighbours(model: nn.Module) -> list[tuple[str, str]]:
    """Return pairs of linear layers that stand one after the other and fit, by registration only."""
    leaves = [(name, m) for name, m in model.named_modules() if not list(m.children())]
    pairs = []
    previous: tuple[str, nn.Module] | None = None
    for name, module in leaves:
        if is_linear(module):
            if previous is not None and matrix_of(previous[1]).shape[0] == matrix_of(module).shape[1]:
                pairs.append((previous[0], name))
            previous = (name, module)
        elif list(module.parameters()):
            previous = None
    return pairs
