"""Which norm reads the residual stream that a block writes into."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from jlab_compress.graph.op_names import ADDITIONS, PASSED
from jlab_compress.graph.trace import Trace


@dataclass(frozen=True)
class Residual:
    """The norm that reads the sum of a block's output and the residual stream.

    Parameters
    ----------
    norm : str
        Dotted path of the norm module.
    last : bool
        Whether nothing else reads the sum (norm after the residual), so that only its result counts.
    """

    norm: str
    last: bool


def residual_of(model: nn.Module, trace: Trace, output: int) -> Residual | None:
    """Return the norm behind the residual sum that a layer's output value goes into, or None."""
    consumers = trace.consumers
    value = output
    while True:
        readers = consumers.get(value, [])
        if len(readers) != 1:
            return None
        operation = trace.operations[readers[0]]
        value = operation.outputs[0] if operation.outputs else -1
        if operation.name in ADDITIONS:
            break
        if operation.name not in PASSED or value < 0:
            return None
    modules = list(dict.fromkeys(trace.operations[i].module for i in consumers.get(value, [])))
    norms = [name for name in modules if "norm" in type(model.get_submodule(name)).__name__.lower()]
    return Residual(norms[0], len(modules) == 1) if norms else None
