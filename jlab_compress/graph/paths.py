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

from jlab_compress.graph.recorder import AFFINE, Operation, Slot, Trace
from jlab_compress.graph.weights import axis_made, input_value, values_read, weight_value

# Calls that only change the shape around the neurons, or nothing at all outside training.
_SHAPES = {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "view_as"}
_IDENTITIES = {"dropout", "dropout1d", "alpha_dropout", "to", "type", "type_as", "float", "half", "bfloat16"}
# Calls that gather a channel's values over positions, and channels to one row of numbers.
_POOLS = {f"{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)}
_POOLS |= {"dropout2d", "dropout3d", "feature_dropout", "pad", "interpolate"}
_RANKS = {"conv1d": 3, "conv2d": 4, "conv3d": 5}
_GATHERS = _SHAPES | {"mean"}
_SLICES = {"__getitem__", "narrow", "index_select"}
_PARTS = {"chunk", "split", "tensor_split", "unbind", "glu", "cat", "concat", "concatenate"}
# Layers of other kinds, which end a block.
_FOREIGN = {f"conv_transpose{n}d" for n in (1, 2, 3)} | {"lstm", "gru", "rnn_tanh", "rnn_relu"}
_FOREIGN |= {f"{kind}_cell" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
ADDITIONS = {"add", "add_", "__add__", "__iadd__", "__radd__"}
RESIDUAL = "its outputs are added to a residual stream, which other layers share"
# Calls after which a neuron's values are what they were.
PASSED = _SHAPES | _IDENTITIES | {"double", "clone", "cpu", "cuda", "passed"}


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
        Entries along the value's axis of units.
    axis : int
        That axis: -1, or 1 for channels.
    repeat : int
        Consecutive entries that belong to one unit.
    passed : tuple of int
        Steps that are no function of single values: a batch norm, and pooling over positions.
    norm : int or None
        The batch norm among them.
    problem : str or None
        Why the value does not belong to single neurons any more.
    rank : int
        Axes of a convolution's output; 0 for a linear layer.
    chain : tuple of int
        Steps with numbers of their own for each unit: depthwise convolutions, and batch norms that are not
        directly after the layer.
    lost : bool
        Whether the axis of units is gone since a change of shape; then only plain steps are followed, to
        name the layer that the values reach.
    """

    sources: tuple[int, ...]
    size: int
    axis: int = -1
    repeat: int = 1
    steps: tuple[int, ...] = ()
    passed: tuple[int, ...] = ()
    norm: int | None = None
    problem: str | None = None
    rank: int = 0
    chain: tuple[int, ...] = ()
    lost: bool = False


@dataclass(frozen=True)
class Candidate:
    """Units of a path that reach the operation `sink`, which reads them as `value`."""

    path: Path
    sink: int
    value: int

    @property
    def sources(self) -> tuple[int, ...]:
        """Indices of the operations that made the units."""
        return self.path.sources

    @property
    def steps(self) -> tuple[int, ...]:
        """Indices of the operations in between."""
        return self.path.steps


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
            deeper = _deeper(trace, index, operation, paths.get(read))
            if deeper is not None:
                paths[operation.outputs[0]] = deeper
                continue
            if read in paths:
                found.append(Candidate(_into(trace, operation, paths[read]), index, read))
            output = operation.outputs[0]
            shape = trace.shapes[output]
            batched = _RANKS.get(operation.name) == len(shape)
            axis, rank = (1, len(shape)) if batched else (-1, 0)
            paths[output] = Path((index,), shape[axis], axis, rank=rank)
        elif values_read(trace, operation):
            found += [Candidate(paths[v], index, v) for v in values_read(trace, operation) if v in paths]
            output, axis = operation.outputs[0], axis_made(trace, operation)
            paths[output] = Path((index,), trace.shapes[output][axis], axis)
        else:
            read = operation.inputs[0] if operation.name in _FOREIGN and operation.inputs else -1
            if read in paths:
                problem = f"its units are read by `{operation.name}`, which cannot be compressed"
                found.append(Candidate(replace(paths[read], problem=problem), index, read))
            _follow(trace, index, operation, paths)
    return found


def _deeper(trace: Trace, index: int, operation: Operation, path: Path | None) -> Path | None:
    """Return the path behind a depthwise convolution, which treats each unit on its own; None for others."""
    weight = trace.shapes[weight_value(operation)]
    if path is None or path.problem is not None or path.axis != 1 or operation.name not in _RANKS:
        return None
    channels = trace.shapes[input_value(operation)][1]
    if path.size == 1 or channels != path.size or weight[1] != 1 or weight[0] % path.size:
        return None
    repeat = path.repeat * weight[0] // path.size
    path = _chained(path, index)
    return replace(path, size=weight[0], repeat=repeat, steps=(*path.steps, index))


def _chained(path: Path, index: int) -> Path:
    """Return the path with one more step that has numbers of its own for each unit, after its norm if any."""
    norm = () if path.norm is None else (path.norm,)
    return replace(path, passed=(*path.passed, index), norm=None, chain=(*path.chain, *norm, index))


def _into(trace: Trace, operation: Operation, path: Path) -> Path:
    """Return the path as it arrives at another layer, with the reason where that layer mixes up its units."""
    weight = trace.shapes[weight_value(operation)]
    wanted = -1 if operation.name in {"linear", "addmm"} else 1
    read = weight[0] if operation.name == "addmm" else weight[1]
    if path.problem is None and (path.axis != wanted or read != path.size):
        problem = f"its units are read in groups or along another axis by `{operation.name}`"
        return replace(path, problem=problem)
    return path


def _follow(trace: Trace, index: int, operation: Operation, paths: dict[int, Path]) -> None:
    inputs = [v for v in dict.fromkeys(operation.inputs) if v not in trace.constants]
    known = [paths[v] for v in inputs if v in paths and (len(inputs) == 1 or not paths[v].lost)]
    if not known:
        return
    normalised = operation.name == "batch_norm" and len(known) == 1
    strangers = 0 if normalised else len(inputs) - len(known)
    merged = _merged(trace, operation, known, strangers)
    merged = replace(merged, steps=tuple(sorted({*merged.steps, index})))
    if normalised:
        merged = _normalised(trace, index, merged)
    for value in operation.outputs:
        path = _carried(trace, operation, value, merged, index)
        if path is not None:
            paths[value] = path


def _carried(trace: Trace, operation: Operation, value: int, path: Path, index: int) -> Path | None:
    """Return the path of an output, or None where the units cannot be followed there."""
    shape, before = trace.shapes[value], trace.shapes[operation.inputs[0]]
    cut = operation.name in _SLICES and len(shape) == len(before) and shape[path.axis] < before[path.axis]
    if (operation.name in _PARTS and shape) or (cut and not path.lost):
        problem = f"its units are cut into parts or joined with others by `{operation.name}`"
        return replace(path, size=shape[path.axis], problem=path.problem or problem)
    if path.axis == 1 and operation.name in _GATHERS and len(shape) == 2 and shape[1] % path.size == 0:
        passed, repeat = (*path.passed, index), path.repeat * shape[1] // path.size
        return replace(path, size=shape[1], axis=-1, repeat=repeat, passed=passed)
    if path.axis == 1 and len(shape) == path.rank and operation.name in _POOLS:
        path = replace(path, passed=(*path.passed, index))
    fits = len(shape) == path.rank if path.axis == 1 else len(shape) >= -path.axis
    if path.lost or (fits and shape[path.axis] == path.size):
        return path
    alone = all(v in trace.constants for v in operation.inputs[1:])
    if path.problem is not None or not alone:
        return None
    spread = f"`{operation.name}` spreads its units over several axes"
    gone = f"its units cannot be followed through `{operation.name}`"
    return replace(path, lost=True, problem=spread if operation.name in _SHAPES else gone)


def _normalised(trace: Trace, index: int, path: Path) -> Path:
    before = [trace.operations[s].name for s in path.steps if s != index]
    if path.problem is None and (path.norm is not None or path.repeat != 1 or set(before) - PASSED):
        return _chained(path, index)
    return replace(path, passed=(*path.passed, index), norm=index)


def _merged(trace: Trace, operation: Operation, known: list[Path], strangers: int) -> Path:
    sources = tuple(sorted({s for path in known for s in path.sources}))
    steps = tuple(sorted({s for path in known for s in path.steps}))
    passed = tuple(sorted({s for path in known for s in path.passed}))
    chain = tuple(sorted({s for path in known for s in path.chain}))
    norms = {path.norm for path in known}
    problem = next((path.problem for path in known if path.problem), None)
    if problem is None and strangers:
        problem = _stranger(trace, operation)
    if problem is None and len({values_read(trace, trace.operations[s]) for s in sources}) > 1:
        joined = (
            f"its outputs are joined by `{operation.name}` with those of a layer that reads something else"
        )
        problem = RESIDUAL if operation.name in ADDITIONS else joined
    if problem is None and operation.name == "detach":
        problem = "the model cuts its gradient with `detach`"
    if problem is None and (len(norms) > 1 or len({(path.axis, path.repeat) for path in known}) > 1):
        problem = f"its units arrive at `{operation.name}` in more than one form"
    first = max(known, key=lambda path: path.size)
    return replace(first, sources=sources, steps=steps, passed=passed, chain=chain, problem=problem)


def _stranger(trace: Trace, operation: Operation) -> str:
    owner = next((trace.parameters[v] for v in operation.inputs if v in trace.parameters), None)
    if owner is not None:
        return f"`{operation.name}` has one parameter for each hidden unit ({owner})"
    if operation.name in ADDITIONS:
        return RESIDUAL
    return f"`{operation.name}` combines its hidden units with values that are not single units of this layer"


def pointwise(trace: Trace, candidate: Candidate) -> Pointwise:
    """Return the candidate's steps as one function."""
    sources = tuple(trace.operations[s].outputs[0] for s in candidate.sources)
    passed = candidate.path.passed
    operations = [
        replace(trace.operations[s], name="passed") if s in passed else trace.operations[s]
        for s in candidate.steps
    ]
    return Pointwise(operations, sources, candidate.value, trace.constants)


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
