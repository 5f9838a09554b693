"""Attention heads in the record of a run: the layers that make and read them, and what stands against it.

A head is an object like a neuron: its slices of the query, key and value projections, and of the layer
that reads all heads. Heads that share keys and values are one object together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from jlab_compress.graph.parameter_uses import Uses
from jlab_compress.graph.paths import PASSED
from jlab_compress.graph.recorder import AFFINE, Operation, Trace
from jlab_compress.graph.weights import input_value, owner_of
from jlab_compress.inspection.locks import layer_problem

_PRODUCTS = {"matmul", "bmm", "baddbmm", "__matmul__", "einsum"}
_MOVES = {"transpose", "permute", "swapaxes", "swapdims", "movedim", "__get__"}
_VIEWS = {"view", "reshape", "unflatten"}


@dataclass(frozen=True)
class Heads:
    """The heads of one attention call.

    Parameters
    ----------
    index : int
        The recorded operation.
    name : str
        Dotted path of the module that made the call.
    width : int
        Heads n; heads with common keys and values count as one.
    incoming : tuple of str
        Dotted paths of the layers that make queries, keys and values; the attention module itself where it
        is an `nn.MultiheadAttention`.
    sections : tuple of int
        For each of them, into how many stretches its rows fall, each with all heads in turn.
    outgoing : str
        Dotted path of the layer that reads all heads.
    repeat : int
        Inputs of that layer which belong to one head.
    macs : int
        Multiply-adds in the recorded run, of the layers and of the products between them.
    sources : tuple of int
        Recorded operations of the incoming layers.
    output : int or None
        The recorded value that the outgoing layer gives.
    chain : tuple of str
        Always empty; channels have one.
    locked : str or None
        Why the heads cannot be replaced, as far as one run tells.
    """

    index: int
    name: str
    width: int = 0
    incoming: tuple[str, ...] = ()
    sections: tuple[int, ...] = ()
    outgoing: str = ""
    repeat: int = 1
    macs: int = 0
    sources: tuple[int, ...] = ()
    output: int | None = None
    chain: tuple[str, ...] = ()
    locked: str | None = None


class _LockedError(Exception):
    """Carries the reason why the heads of a call cannot be told apart."""


def heads_of(uses: Uses) -> list[Heads]:
    """Return the attention calls of a recorded run, each with its layers or the reason against it."""
    found: dict[str, Heads] = {}
    for index, operation in enumerate(uses.trace.operations):
        try:
            if operation.name == "multi_head_attention_forward":
                heads = _stock(uses, index)
            elif operation.name == "scaled_dot_product_attention":
                heads = _free(uses, index, operation.inputs[:3], index)
            elif operation.name == "softmax":
                by_hand = _by_hand(uses.trace, index)
                if by_hand is None:
                    continue
                heads = _free(uses, index, *by_hand)
            else:
                continue
        except _LockedError as reason:
            heads = Heads(index, operation.module, _count(uses, operation), locked=str(reason))
        known = found.get(heads.name)
        if known is None:
            found[heads.name] = heads
        elif heads.incoming and heads.incoming != known.incoming:
            found[heads.incoming[0]] = heads
    return list(found.values())


def _count(uses: Uses, operation: Operation) -> int:
    module: Any = uses.model.get_submodule(operation.module)
    shape = uses.trace.shapes[operation.inputs[0]]
    return int(getattr(module, "num_heads", shape[-3] if len(shape) > 3 else 1))


def _stock(uses: Uses, index: int) -> Heads:
    operation = uses.trace.operations[index]
    name = operation.module
    module: Any = uses.model.get_submodule(name)
    if type(module) is not nn.MultiheadAttention:
        raise _LockedError(f"{name} is a {type(module).__name__}, not a plain nn.MultiheadAttention")
    weights = [p for key, p in module._parameters.items() if p is not None and "weight" in key]
    calls = [o for o in uses.trace.operations if o.module == name and o.name == operation.name]
    reason = None
    if module.bias_k is not None or module.add_zero_attn:
        reason = f"{name} adds keys and values of its own (add_bias_kv or add_zero_attn)"
    elif len(calls) > 1:
        reason = f"{name} runs {len(calls)} times in one forward call"
    elif any(len(uses.holders(p)) > 1 for p in (*weights, module.out_proj.weight)):
        reason = f"{name} shares its weights with another module"
    elif nn.utils.parametrize.is_parametrized(module) or nn.utils.parametrize.is_parametrized(
        module.out_proj
    ):
        reason = f"the weights of {name} are computed by a parametrization; remove it first"
    elif module.num_heads == 1:
        reason = "it has one head only"
    output = operation.outputs[0]
    turned = [uses.trace.operations[i] for i in uses.trace.consumers.get(output, [])]
    if len(turned) == 1 and turned[0].name in _MOVES:
        output = turned[0].outputs[0]
    return Heads(
        index,
        name,
        module.num_heads,
        (name,),
        (3,),
        f"{name}.out_proj",
        module.head_dim,
        operation.macs,
        output=output,
        locked=reason,
    )


def _free(uses: Uses, index: int, inputs: tuple[int, ...], core: int) -> Heads:
    """Return the heads of an attention product written with torch calls, by the layers on either side."""
    trace = uses.trace
    operation = trace.operations[index]
    sink = _reader(trace, trace.operations[core].outputs[0])
    sources = [
        _maker(trace, value, part) for value, part in zip(inputs, ("queries", "keys", "values"), strict=True)
    ]
    distinct = tuple(dict.fromkeys(sources))
    incoming = tuple(owner_of(trace, s) for s in distinct)
    outgoing = owner_of(trace, sink)
    for name in (*incoming, outgoing):
        problem = layer_problem(uses, name)
        if problem is not None:
            raise _LockedError(problem)
    size, read = trace.shapes[inputs[2]][-1], trace.shapes[input_value(trace.operations[sink])][-1]
    rows = {s: trace.shapes[trace.operations[s].outputs[0]][-1] for s in distinct}
    width = rows[sources[2]] // (size * sources.count(sources[2]))
    each = {s: rows[s] % (sources.count(s) * max(1, width)) for s in distinct}
    if width < 1 or read % width or any(each.values()):
        raise _LockedError(
            "its queries, keys, values and outputs do not fall into equal parts, one for each head"
        )
    sections = tuple(_sections(trace, s, sources.count(s), width) for s in distinct)
    macs = _macs(trace, distinct, sink)
    reason = "it has one head only" if width == 1 else None
    name = operation.module or incoming[0]
    output = trace.operations[sink].outputs[0]
    return Heads(
        index, name, width, incoming, sections, outgoing, read // width, macs, distinct, output, (), reason
    )


def _macs(trace: Trace, sources: tuple[int, ...], sink: int) -> int:
    """Return the multiply-adds of some layers, of the one that reads them, and of all between."""
    made = {v: i for i, o in enumerate(trace.operations) for v in o.outputs}
    waiting, found = list(trace.operations[sink].inputs), {sink, *sources}
    while waiting:
        index = made.get(waiting.pop())
        if index is None or index in found or trace.operations[index].name in AFFINE:
            continue
        found.add(index)
        waiting.extend(trace.operations[index].inputs)
    return sum(trace.operations[index].macs for index in found)


def _maker(trace: Trace, value: int, part: str) -> int:
    """Return the one linear layer that a value comes from."""
    made = {v: i for i, o in enumerate(trace.operations) for v in o.outputs}
    waiting, seen, found = [value], set[int](), set[int]()
    while waiting:
        index = made.get(waiting.pop())
        if index is None or index in seen:
            continue
        seen.add(index)
        operation = trace.operations[index]
        if operation.name in AFFINE:
            found.add(index)
        else:
            waiting.extend(operation.inputs)
    if len(found) != 1:
        raise _LockedError(f"its {part} come from {len(found)} linear layers, not from one")
    return found.pop()


def _reader(trace: Trace, value: int) -> int:
    """Return the one linear layer that reads a value, through changes of shape only."""
    while True:
        readers = trace.consumers.get(value, [])
        if len(readers) != 1 or value in trace.results:
            raise _LockedError("what its heads give is read in more than one place, or returned")
        operation = trace.operations[readers[0]]
        if operation.name in AFFINE and input_value(operation) == value:
            return readers[0]
        if operation.name not in PASSED | _MOVES or not operation.outputs:
            raise _LockedError(f"`{operation.name}` stands between its heads and the layer that reads them")
        value = operation.outputs[0]


def _sections(trace: Trace, source: int, parts: int, width: int) -> int:
    """Return whether a fused projection holds its parts one after another, or head by head (one stretch)."""
    value = trace.operations[source].outputs[0]
    rows = trace.shapes[value][-1]
    while True:
        views = [trace.operations[i] for i in trace.consumers.get(value, [])]
        if len(views) != 1 or views[0].name not in _VIEWS:
            return parts
        value = views[0].outputs[0]
        shape = trace.shapes[value]
        if shape[-1] != rows:
            split = next((i for i in range(len(shape)) if shape[i:].numel() == rows), 0)
            return 1 if shape[split] == width != parts else parts


def _by_hand(trace: Trace, index: int) -> tuple[tuple[int, ...], int] | None:
    """Return queries, keys, values and the last product around a softmax, or None for other softmaxes."""
    scores = _before(trace, trace.operations[index].inputs[0])
    value, cut = trace.operations[index].outputs[0], False
    while scores is not None:
        readers = trace.consumers.get(value, [])
        following = [trace.operations[i] for i in readers]
        product = next((i for i, o in zip(readers, following, strict=True) if o.name in _PRODUCTS), None)
        if product is not None and cut:
            raise _LockedError("its attention weights are cut into parts before the values are read")
        if product is not None:
            values = [v for v in trace.operations[product].inputs if v != value]
            made = [*trace.operations[scores].inputs[-2:], *values[-1:]]
            return (tuple(made), product) if len(made) == 3 else None
        passed = next((o for o in following if o.name in {*PASSED, "__getitem__"} and o.outputs), None)
        if passed is None:
            return None
        cut = cut or passed.name == "__getitem__"
        value = passed.outputs[0]
    return None


def _before(trace: Trace, value: int) -> int | None:
    """Return the last product of two recorded values before a value, through calls on single scores."""
    made = {v: i for i, o in enumerate(trace.operations) for v in o.outputs}
    waiting, seen = [value], set[int]()
    while waiting:
        index = made.get(waiting.pop(0))
        if index is None or index in seen:
            continue
        seen.add(index)
        operation = trace.operations[index]
        if operation.name in _PRODUCTS and len(operation.inputs) >= 2:
            return index
        if operation.name not in AFFINE:
            waiting.extend(operation.inputs)
    return None
