"""The record of one run of a model, as values: each torch call, what it read and what it gave.

A tensor that passes through a call gets a new value number, also when it was changed in place, so the record
reads like a list of assignments, each value assigned once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from jlab_compress.graph.op_names import SAME_NUMBERS


@dataclass(frozen=True)
class Slot:
    """The place of a tensor in the recorded arguments of a call."""

    value: int


@dataclass(frozen=True)
class Operation:
    """One torch call.

    Parameters
    ----------
    function : callable
        What was called.
    name : str
        Its short name, such as "linear" or "gelu".
    module : str
        Dotted path of the module whose forward was running.
    args, kwargs
        The arguments, with a `Slot` in the place of each tensor.
    inputs, outputs : tuple of int
        Value numbers.
    in_place : bool
        Whether an input tensor itself came back.
    macs : int
        Its multiply-adds in the recorded run.
    """

    function: Any
    name: str
    module: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    in_place: bool
    macs: int = 0


@dataclass(frozen=True)
class Trace:
    """The record of one run.

    Parameters
    ----------
    operations : tuple of Operation
        In the order in which they ran.
    shapes : mapping of int to torch.Size
        Of each value.
    parameters : mapping of int to str
        Values that are a parameter, with its first dotted name.
    constants : mapping of int to Tensor
        Values with one element that do not depend on the model's inputs.
    snapshots : mapping of int to Tensor
        Copies of the values that enter or leave a linear or convolution layer.
    results : frozenset of int
        Values that the model returned.
    rows : int
        Leading dimension of the model's first input.
    training : bool
        Whether it is of a run in training mode, where values are drawn or normalised by the batch.
    """

    operations: tuple[Operation, ...]
    shapes: Mapping[int, torch.Size]
    parameters: Mapping[int, str]
    constants: Mapping[int, Tensor]
    snapshots: Mapping[int, Tensor]
    results: frozenset[int]
    rows: int
    training: bool = False

    @cached_property
    def consumers(self) -> dict[int, list[int]]:
        """Per value, the indices of the operations that read it."""
        found: dict[int, list[int]] = {}
        for index, operation in enumerate(self.operations):
            for value in dict.fromkeys(operation.inputs):
                found.setdefault(value, []).append(index)
        return found

    @cached_property
    def makers(self) -> dict[int, int]:
        """Per value, the index of the operation that gave it; parameters and inputs have none."""
        return {value: index for index, o in enumerate(self.operations) for value in o.outputs}

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """Dotted paths of the modules that called torch themselves, in that order."""
        return tuple(dict.fromkeys(operation.module for operation in self.operations))

    @cached_property
    def weights(self) -> dict[int, str]:
        """Values that are a parameter, or a part of one, with its name."""
        found = dict(self.parameters)
        for operation in self.operations:
            if operation.name in SAME_NUMBERS and operation.inputs and operation.inputs[0] in found:
                found |= dict.fromkeys(operation.outputs, found[operation.inputs[0]])
        return found
