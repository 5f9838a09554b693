"""Which layers make hidden neurons, which layer reads them, and what happens in between.

Reads a `Trace`. Every value that depends on the units of one layer (or of several that read the same
input) neuron by neuron carries a `Path`; where a path arrives at another layer, there is a candidate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from jlab_compress.graph.op_names import (
    ADDITIONS,
    AFFINE,
    CONV_RANKS,
    CUTS,
    FOREIGN,
    GATHERS,
    PASSED,
    POOLS,
    SHAPES,
    SLICES,
)
from jlab_compress.graph.pointwise import Pointwise, pointwise
from jlab_compress.graph.trace import Operation, Trace
from jlab_compress.graph.weights import axis_made, input_value, values_read, weight_value

RESIDUAL = "its outputs are added to a residual stream, which other layers share"


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

    def function(self, trace: Trace) -> Pointwise:
        """Return what happens to the units on the way, as one function of the pre-activations."""
        return pointwise(trace, self.sources, self.steps, self.path.passed, self.value)


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
            batched = CONV_RANKS.get(operation.name) == len(shape)
            axis, rank = (1, len(shape)) if batched else (-1, 0)
            paths[output] = Path((index,), shape[axis], axis, rank=rank)
        elif values_read(trace, operation):
            found += [Candidate(paths[v], index, v) for v in values_read(trace, operation) if v in paths]
            output, axis = operation.outputs[0], axis_made(trace, operation)
            paths[output] = Path((index,), trace.shapes[output][axis], axis)
        else:
            read = operation.inputs[0] if operation.name in FOREIGN and operation.inputs else -1
            if read in paths:
                problem = f"its units are read by `{operation.name}`, which cannot be compressed"
                found.append(Candidate(replace(paths[read], problem=problem), index, read))
            _follow(trace, index, operation, paths)
    return found


def _deeper(trace: Trace, index: int, operation: Operation, path: Path | None) -> Path | None:
    """Return the path behind a depthwise convolution, which treats each unit on its own; None for others."""
    weight = trace.shapes[weight_value(operation)]
    if path is None or path.problem is not None or path.axis != 1 or operation.name not in CONV_RANKS:
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
    cut = operation.name in SLICES and len(shape) == len(before) and shape[path.axis] < before[path.axis]
    if (operation.name in CUTS and shape) or (cut and not path.lost):
        problem = f"its units are cut into parts or joined with others by `{operation.name}`"
        return replace(path, size=shape[path.axis], problem=path.problem or problem)
    if path.axis == 1 and operation.name in GATHERS and len(shape) == 2 and shape[1] % path.size == 0:
        passed, repeat = (*path.passed, index), path.repeat * shape[1] // path.size
        return replace(path, size=shape[1], axis=-1, repeat=repeat, passed=passed)
    if path.axis == 1 and len(shape) == path.rank and operation.name in POOLS:
        path = replace(path, passed=(*path.passed, index))
    fits = len(shape) == path.rank if path.axis == 1 else len(shape) >= -path.axis
    if path.lost or (fits and shape[path.axis] == path.size):
        return path
    alone = all(v in trace.constants for v in operation.inputs[1:])
    if path.problem is not None or not alone:
        return None
    spread = f"`{operation.name}` spreads its units over several axes"
    gone = f"its units cannot be followed through `{operation.name}`"
    return replace(path, lost=True, problem=spread if operation.name in SHAPES else gone)


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
