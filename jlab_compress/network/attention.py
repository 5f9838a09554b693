"""Attention heads: found and counted, so that a listing of blocks is honest about them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from jlab_compress.network.tracing import Trace

LOCKED = "attention heads cannot be compressed yet; hidden neurons and channels can"


@dataclass(frozen=True)
class Heads:
    """The heads of one attention call.

    Parameters
    ----------
    index : int
        The recorded operation.
    name : str
        Dotted path of the module that made the call.
    count : int
        Heads.
    parameters : int
        Of that module, all heads together.
    """

    index: int
    name: str
    count: int
    parameters: int


def heads_of(model: nn.Module, trace: Trace) -> list[Heads]:
    """Return the attention calls of a recorded run, each module once."""
    found: dict[str, Heads] = {}
    for index, operation in enumerate(trace.operations):
        module = model.get_submodule(operation.module)
        if operation.name == "multi_head_attention_forward":
            count = int(getattr(module, "num_heads", 1))
        elif operation.name == "scaled_dot_product_attention":
            shape = trace.shapes[operation.inputs[0]]
            count = shape[-3] if len(shape) > 3 else 1
        else:
            continue
        parameters = sum(p.numel() for p in module.parameters())
        found.setdefault(operation.module, Heads(index, operation.module, count, parameters))
    return list(found.values())
