"""In which floating-point types a model computes, and how far off that allows a written form of it to be."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from jlab_compress.deployment.program.signature import Signature
from jlab_compress.execution.calls import tensors_in
from jlab_compress.execution.isolation import inference

# Relative to the outputs: several roundings of the type; a float64 graph keeps some constants in float32.
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}


class _Types(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the floating-point types of all that is computed while it is on."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.found |= {t.dtype for t in tensors_in(result) if t.is_floating_point()}
        return result


def types_of(model: nn.Module, signature: Signature) -> frozenset[torch.dtype]:
    """Return the floating-point types in which a model computes on an example.

    Examples
    --------
    >>> from jlab_compress.deployment.program.signature import read_signature
    >>> net = nn.Sequential(nn.Linear(3, 2).half())
    >>> types_of(net, read_signature(net, torch.ones(2, 3).half()))
    frozenset({torch.float16})
    """
    with inference(), _Types() as seen:
        signature.call.hand_to(model)
    return frozenset(seen.found)


def tolerance_of(types: frozenset[torch.dtype]) -> float:
    """Return how far off outputs may be: as the coarsest of the types allows.

    Examples
    --------
    >>> tolerance_of(frozenset({torch.float32, torch.float16})), tolerance_of(frozenset())
    (0.01, 1e-05)
    """
    return max((TOLERANCES.get(each, 5e-2) for each in types), default=1e-5)


def in_words_of(types: frozenset[torch.dtype]) -> str:
    """Return the names of types for a sentence.

    Examples
    --------
    >>> in_words_of(frozenset({torch.float32, torch.float16}))
    'float16 and float32'
    """
    return " and ".join(sorted(str(each).removeprefix("torch.") for each in types)) or "float32"
