"""What happens to units between two layers, replayed from the record as one function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from jlab_compress.errors import raise_lack_of_memory
from jlab_compress.graph.op_names import PASSED
from jlab_compress.graph.trace import Operation, Slot, Trace


class Pointwise:
    """A recorded chain of pointwise calls as one function of the pre-activations.

    Dropout and casts are left out, shapes are taken as they come, constants keep the values that they
    had in the recorded run.

    Parameters
    ----------
    operations : sequence of Operation
        In order.
    sources : tuple of int
        Value numbers of the pre-activations, in the order of the arguments.
    result : int
        Value number of what the next layer reads.
    constants : mapping of int to Tensor
        One-element values.

    Attributes
    ----------
    name : str
        The chain in words, such as "relu" or "silu, mul".
    arguments : int
        How many pre-activations it takes.
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        sources: tuple[int, ...],
        result: int,
        constants: Mapping[int, Tensor],
    ) -> None:
        read = {value for operation in operations for value in operation.inputs}
        self._operations = tuple(operations)
        self._sources = sources
        self._result = result
        self._constants = {value: constants[value] for value in read if value in constants}
        names = [o.name.strip("_") for o in operations if o.name not in PASSED]
        self.name = ", ".join(names) or "identity"
        self.arguments = len(sources)

    def __call__(self, *parts: Tensor) -> Tensor:
        """Return the activations for the pre-activations, each (q, n)."""
        values: dict[int, Tensor] = dict(zip(self._sources, parts, strict=True))
        for operation in self._operations:
            if operation.name in PASSED:
                values[operation.outputs[0]] = values[operation.inputs[0]]
                continue
            args = self._filled(operation.args, values, parts[0])
            kwargs = self._filled(operation.kwargs, values, parts[0])
            if operation.in_place:
                args = (args[0].clone(), *args[1:])
            values[operation.outputs[0]] = operation.function(*args, **kwargs)
        return values[self._result]

    def _filled(self, given: Any, values: dict[int, Tensor], like: Tensor) -> Any:
        if isinstance(given, Slot):
            return values[given.value] if given.value in values else self._constants[given.value].to(like)
        if isinstance(given, tuple):
            return tuple(self._filled(item, values, like) for item in given)
        if isinstance(given, dict):
            return {key: self._filled(item, values, like) for key, item in given.items()}
        return given


def pointwise(
    trace: Trace, sources: Sequence[int], steps: Sequence[int], passed: Sequence[int], result: int
) -> Pointwise:
    """Return a part of a record as one function.

    Parameters
    ----------
    trace : Trace
        The record.
    sources, steps : sequence of int
        The operations that make the pre-activations, and those that follow, by their index.
    passed : sequence of int
        Those of the latter that are left out.
    result : int
        Value number of what the function gives.
    """
    made = tuple(trace.operations[index].outputs[0] for index in sources)
    operations = [
        replace(trace.operations[index], name="passed") if index in passed else trace.operations[index]
        for index in steps
    ]
    return Pointwise(operations, made, result, trace.constants)


def mixing_problem(activation: Pointwise, width: int) -> str | None:
    """Return why a function is not pointwise over rows and neurons, or None where it is.

    Judged by values: dropping some rows and some neurons must not change the others.
    """
    generator = torch.Generator().manual_seed(0)
    parts = [
        torch.randn(6, width, generator=generator, dtype=torch.float64) for _ in range(activation.arguments)
    ]
    rows = torch.tensor([4, 1, 0])
    columns = torch.randperm(width, generator=generator)[: max(1, (2 * width) // 3)]
    chain = activation.name
    try:
        whole = activation(*parts)
        cut = activation(*[p[rows][:, columns] for p in parts])
    except Exception as error:
        raise_lack_of_memory(error)
        return f"what follows it ({chain}) works on all hidden units together, not on one at a time"
    expected = whole[rows][:, columns] if whole.shape == (6, width) else None
    if (
        expected is None
        or expected.shape != cut.shape
        or not torch.allclose(expected, cut, rtol=1e-9, atol=1e-12)
    ):
        return f"what follows it ({chain}) mixes its hidden units"
    return None
