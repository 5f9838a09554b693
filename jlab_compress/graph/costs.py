"""What a model costs: multiply-adds, parameters and bytes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from jlab_compress.execution.calls import Call
from jlab_compress.execution.isolation import undisturbed
from jlab_compress.execution.splits import first_rows


def count_macs(model: nn.Module, call: Call) -> int:
    """Return the multiply-adds of a model for one row of a call.

    Matrix products, convolutions and attention products are counted, as torch's own counter does; norms,
    activations and recurrent layers are not. The model runs once, as it is, on the first eight rows.

    Examples
    --------
    >>> import torch
    >>> count_macs(nn.Linear(3, 5), Call((torch.zeros(2, 3),)))
    15
    """
    few = first_rows(call)
    with undisturbed(model), mac_counter() as counter:
        few(model)
    return macs_of(counter) // few.rows


def mac_counter() -> FlopCounterMode:
    """Return a context in which torch counts operations, those of the CPU's fused attention too."""
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={fused: _attention_flops})


def macs_of(counter: FlopCounterMode) -> int:
    """Return the multiply-adds that a counter has seen so far; a multiply-add is two operations."""
    return int(counter.get_total_flops()) // 2


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Return the operations of softmax(Q K^T) V for shapes (..., q, d), (..., k, d) and (..., k, v)."""
    return int(2 * query.numel() * key[-2] + 2 * query[:-1].numel() * key[-2] * value[-1])


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def count_bytes(model: nn.Module) -> int:
    """Return the bytes of all parameters and buffers, shared ones once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors)
