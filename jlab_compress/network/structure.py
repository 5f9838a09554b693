"""Which layers make hidden neurons, which layer reads them, and what happens in between.

Reads a `Trace`. Every value that depends on the units of one layer (or of several that read the same
input) neuron by neuron carries a `Path`; where a path arrives at another layer, there is a candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from jlab_compress.network.tracing import AFFINE, Operation, Slot, Trace

# Calls that only change the shape around the neurons, or nothing at all outside training.
_SHAPES = {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "view_as"}
_IDENTITIES = {"dropout", "dropout1d", "alpha_dropout", "to", "type", "type_as", "float", "half", "bfloat16"}
_PARTS = {"chunk", "split", "tensor_split", "unbind", "glu", "cat", "concat", "concatenate"}
# Calls after which a neuron's values are what they were.
PASSED = _SHAPES | _IDENTITIES | {"double", "clone", "cpu", "cuda"}


@dataclass(frozen=True)
class Path:
    """How a value came from the units of one or more layers.

    Parameters
    ----------
    sources : tuple of int
        Indices of the operations that made the units.
    steps : tuple of int
        Indices of the operations since then, in order.
    size : int
        Entries along the value's last axis, one for each unit.
    problem : str or None
        Why the value does not belong to single neurons any more.
    """

    sources: tuple[int, ...]
    size: int
    steps: tuple[int, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Candidate:
    """Units of `sources` that reach the operation `sink` along `steps`."""

    sources: tuple[int, ...]
    steps: tuple[int, ...]
    sink: int
    problem: str | None


class Pointwise:
    """A recorded chain of pointwise calls as one function of the pre-activations.

    Dropout and casts are left out, shapes are taken as they come, constants keep the values that they
    had in the recorded run.

    Parameters
    ----------
    operations : list of Operation
        In order.
    sources : tuple of int
        Value numbers of the pre-activations, in the order of the arguments.
    result : int
        Value number of what the next layer reads.
    constants : mapping of int to Tensor
        One-element values.
    """

    def __init__(
        self,
        operations: list[Operation],
        sources: tuple[int, ...],
        result: int,
        constants: Mapping[int, Tensor],
    ) -> None:
        self.operations = operations
        self.sources = sources
        self.result = result
        self.constants = dict(constants)

    @property
    def name(self) -> str:
        """The chain in words, such as "relu" or "silu, mul"."""
        names = [o.name.strip("_") for o in self.operations if o.name not in PASSED]
        return ", ".join(names) or "identity"

    def __call__(self, *parts: Tensor) -> Tensor:
        """Return the activations for the pre-activations, each (q, n)."""
        values: dict[int, Tensor] = dict(zip(self.sources, parts, strict=True))
        for operation in self.operations:
            if operation.name in PASSED:
                values[operation.outputs[0]] = values[operation.inputs[0]]
                continue
            args = self._filled(operation.args, values, parts[0])
            kwargs = self._filled(operation.kwargs, values, parts[0])
            if operation.in_place:
                args = (args[0].clone(), *args[1:])
            values[operation.outputs[0]] = operation.function(*args, **kwargs)
        return values[self.result]

    def _filled(self, given: Any, values: dict[int, Tensor], like: Tensor) -> Any:
        if isinstance(given, Slot):
            return values[given.value] if given.value in values else self.constants[given.value].to(like)
        if isinstance(given, tuple):
            return tuple(self._filled(item, values, like) for item in given)
        if isinstance(given, dict):
            return {key: self._filled(item, values, like) for key, item in given.items()}
        return given


def candidates(trace: Trace) -> list[Candidate]:
    """Return every way from units of a layer to another layer, also the hopeless ones with the reason."""
    paths: dict[int, Path] = {}
    found = []
    for index, operation in enumerate(trace.operations):
        if operation.name in AFFINE:
            read = input_value(operation)
            if read in paths:
                path = paths[read]
                found.append(Candidate(path.sources, path.steps, index, path.problem))
            output = operation.outputs[0]
            paths[output] = Path((index,), trace.shapes[output][-1])
        else:
            _follow(trace, index, operation, paths)
    return found


def input_value(operation: Operation) -> int:
    """Return the value that a linear or convolution call reads."""
    if operation.name == "addmm":
        return int(operation.args[1].value)
    slot = operation.args[0] if operation.args else operation.kwargs["input"]
    return int(slot.value)


def weight_value(operation: Operation) -> int:
    """Return the value that a linear or convolution call takes as its weight."""
    place = 2 if operation.name == "addmm" else 1
    slot = operation.args[place] if len(operation.args) > place else operation.kwargs["weight"]
    return int(slot.value)


def _follow(trace: Trace, index: int, operation: Operation, paths: dict[int, Path]) -> None:
    inputs = [v for v in dict.fromkeys(operation.inputs) if v not in trace.constants]
    known = [paths[v] for v in inputs if v in paths]
    if not known:
        return
    merged = _merged(trace, operation, known, strangers=len(inputs) - len(known))
    merged = replace(merged, steps=tuple(sorted({*merged.steps, index})))
    parts = operation.name in _PARTS
    for value in operation.outputs:
        size = trace.shapes[value][-1] if trace.shapes[value] else 0
        if parts and size:
            problem = f"its units are cut into parts or joined with others by `{operation.name}`"
            paths[value] = replace(merged, size=size, problem=merged.problem or problem)
        elif size == merged.size:
            paths[value] = merged


def _merged(trace: Trace, operation: Operation, known: list[Path], strangers: int) -> Path:
    sources = tuple(sorted({s for path in known for s in path.sources}))
    steps = tuple(sorted({s for path in known for s in path.steps}))
    problem = next((path.problem for path in known if path.problem), None)
    if problem is None and strangers:
        problem = _stranger(trace, operation)
    if problem is None and len({input_value(trace.operations[s]) for s in sources}) > 1:
        problem = (
            f"its outputs are joined by `{operation.name}` with those of a layer that reads something else"
        )
    if problem is None and operation.name == "detach":
        problem = "the model cuts its gradient with `detach`"
    return Path(sources, max(path.size for path in known), steps, problem)


def _stranger(trace: Trace, operation: Operation) -> str:
    owner = next((trace.parameters[v] for v in operation.inputs if v in trace.parameters), None)
    if owner is not None:
        return f"`{operation.name}` has one parameter for each hidden unit ({owner})"
    if operation.name in {"add", "add_", "__add__", "__iadd__", "__radd__"}:
        return "its outputs are added to a residual stream, which other layers share"
    return f"`{operation.name}` combines its hidden units with values that are not single units of this layer"


def pointwise(trace: Trace, candidate: Candidate) -> Pointwise:
    """Return the candidate's steps as one function."""
    sources = tuple(trace.operations[s].outputs[0] for s in candidate.sources)
    operations = [trace.operations[s] for s in candidate.steps]
    result = input_value(trace.operations[candidate.sink])
    return Pointwise(operations, sources, result, trace.constants)


def mixing_problem(activation: Pointwise, width: int) -> str | None:
    """Return why a function is not pointwise over rows and neurons, or None where it is.

    Judged by values: dropping some rows and some neurons must not change the others.
    """
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(6, width, generator=generator, dtype=torch.float64) for _ in activation.sources]
    rows = torch.tensor([4, 1, 0])
    columns = torch.randperm(width, generator=generator)[: max(1, (2 * width) // 3)]
    chain = activation.name
    try:
        whole = activation(*parts)
        cut = activation(*[p[rows][:, columns] for p in parts])
    except Exception:
        return f"what follows it ({chain}) works on all hidden units together, not on one at a time"
    expected = whole[rows][:, columns] if whole.shape == (6, width) else None
    if (
        expected is None
        or expected.shape != cut.shape
        or not torch.allclose(expected, cut, rtol=1e-9, atol=1e-12)
    ):
        return f"what follows it ({chain}) mixes its hidden units"
    return None


def is_homogeneous(activation: Any) -> bool:
    """Return whether act(t a) = t act(a) for t > 0, judged by values; needed for the plain gauge."""
    if isinstance(activation, Pointwise) and len(activation.sources) > 1:
        return False
    a = torch.linspace(-3, 3, 61, dtype=torch.float64)[:, None]
    return all(torch.allclose(activation(t * a), t * activation(a), rtol=1e-9) for t in (0.3, 2.5, 40.0))
