"""Attention heads in the record of a run: the layers that make and read them, and what stands against it.

A head is an object like a neuron: its slices of the query, key and value projections, and of the layer
that reads all heads. Heads that share keys and values are one object together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from jlab_compress.graph.op_names import AFFINE, ATTENTION_PRODUCTS, MOVES, PASSED, SPLITS
from jlab_compress.graph.parameter_uses import Uses
from jlab_compress.graph.residual import residual_of
from jlab_compress.graph.trace import Operation, Trace
from jlab_compress.graph.weights import input_value, owner_of
from jlab_compress.inspection.block import Block
from jlab_compress.inspection.locks import layer_problem
from jlab_compress.slim.operators import units_of
from jlab_compress.slim.units import UnitAxis, tensor_of

HEADS_OPT_IN = "attention heads are compressed only where widths name them"


class _LockedError(Exception):
    """Carries the reason why the heads of a call cannot be told apart."""


def find_heads(uses: Uses, taken: frozenset[str]) -> Mapping[int, Block]:
    """Return the attention calls of a recorded run as blocks, locked ones with the reason; see `Kind`."""
    found: dict[str, tuple[int, Block]] = {}
    for index, operation in enumerate(uses.trace.operations):
        try:
            block = _heads(uses, index, operation)
        except _LockedError as reason:
            block = _locked(uses, operation, str(reason))
        if block is None:
            continue
        known = found.get(block.name)
        if known is None:
            found[block.name] = (index, block)
        elif block.units and block.incoming != known[1].incoming:
            found[block.incoming[0]] = (index, block)
    return dict(found.values())


def _heads(uses: Uses, index: int, operation: Operation) -> Block | None:
    """Return the heads of a call, or None where it is no attention."""
    if operation.name == "multi_head_attention_forward":
        return _stock(uses, operation)
    if operation.name == "scaled_dot_product_attention":
        return _free(uses, index, operation.inputs[:3], index)
    by_hand = _by_hand(uses.trace, index) if operation.name == "softmax" else None
    return None if by_hand is None else _free(uses, index, *by_hand)


def _locked(uses: Uses, operation: Operation, reason: str) -> Block:
    """Return an attention call whose heads cannot be told apart."""
    module: Any = uses.model.get_submodule(operation.module)
    shape = uses.trace.shapes[operation.inputs[0]]
    width = int(getattr(module, "num_heads", shape[-3] if len(shape) > 3 else 1))
    return _block(uses, operation.module, (), width, locked=reason)


def _block(
    uses: Uses,
    name: str,
    units: tuple[UnitAxis, ...],
    width: int,
    *,
    macs: int = 0,
    output: int | None = None,
    locked: str | None,
) -> Block:
    """Return heads as a block; `output` is the recorded value that the outgoing layer gives."""
    model, trace = uses.model, uses.trace
    each = sum(tensor_of(model, unit).numel() for unit in units) // max(1, width)
    owned = sum(p.numel() for p in model.get_submodule(name).parameters())
    return Block(
        name=name,
        kind="attention",
        units=units,
        width=width,
        dimension=each or owned // max(1, width),
        parameters=each * width or owned,
        locked=locked,
        macs=macs // max(1, trace.rows) or None,
        residual=None if output is None else residual_of(model, trace, output),
        opt_in=HEADS_OPT_IN,
        noun="heads",
        activation_only=True,
    )


def _stock(uses: Uses, operation: Operation) -> Block:
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
    if len(turned) == 1 and turned[0].name in MOVES:
        output = turned[0].outputs[0]
    try:
        units = units_of(uses.model, (name,), f"{name}.out_proj", module.num_heads)
    except ValueError as unknown:
        raise _LockedError(reason or str(unknown)) from unknown
    return _block(uses, name, units, module.num_heads, macs=operation.macs, output=output, locked=reason)


def _free(uses: Uses, index: int, inputs: tuple[int, ...], core: int) -> Block:
    """Return the heads of an attention product written with torch calls, by the layers on either side."""
    trace = uses.trace
    sink = _reader(trace, trace.operations[core].outputs[0])
    sources = [
        _maker(trace, value, part) for value, part in zip(inputs, ("queries", "keys", "values"), strict=True)
    ]
    distinct = tuple(dict.fromkeys(sources))
    incoming, outgoing = tuple(owner_of(trace, s) for s in distinct), owner_of(trace, sink)
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
    return _block(
        uses,
        trace.operations[index].module or incoming[0],
        units_of(uses.model, incoming, outgoing, width, sections=sections),
        width,
        macs=_macs(trace, distinct, sink),
        output=trace.operations[sink].outputs[0],
        locked="it has one head only" if width == 1 else None,
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
        if operation.name not in PASSED | MOVES or not operation.outputs:
            raise _LockedError(f"`{operation.name}` stands between its heads and the layer that reads them")
        value = operation.outputs[0]


def _sections(trace: Trace, source: int, parts: int, width: int) -> int:
    """Return whether a fused projection holds its parts one after another, or head by head (one stretch)."""
    value = trace.operations[source].outputs[0]
    rows = trace.shapes[value][-1]
    while True:
        views = [trace.operations[i] for i in trace.consumers.get(value, [])]
        if len(views) != 1 or views[0].name not in SPLITS:
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
        product = next(
            (i for i, o in zip(readers, following, strict=True) if o.name in ATTENTION_PRODUCTS), None
        )
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
        if operation.name in ATTENTION_PRODUCTS and len(operation.inputs) >= 2:
            return index
        if operation.name not in AFFINE:
            waiting.extend(operation.inputs)
    return None
