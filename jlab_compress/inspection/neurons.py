"""Neurons and channels in the record of a run: units from the layers that make them to the one that reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from jlab_compress.graph.parameter_uses import Uses
from jlab_compress.graph.paths import Candidate, candidates
from jlab_compress.graph.residual import residual_of
from jlab_compress.graph.trace import Operation
from jlab_compress.graph.weights import owner_of
from jlab_compress.inspection.block import Block
from jlab_compress.inspection.locks import bare_parameter, lock_of, replay_problem, treating_layers
from jlab_compress.slim.attributes import fixing_field
from jlab_compress.slim.operators import units_of
from jlab_compress.slim.units import UnitAxis

FIXED_OPT_IN = "its width is the configuration's {}, so it is compressed only where widths name it"


def find_neurons(uses: Uses, taken: frozenset[str]) -> Mapping[int, Block]:
    """Return the blocks of neurons and channels, locked ones with the reason; see `Kind`."""
    readers: dict[int, list[Candidate]] = {}
    for candidate in candidates(uses.trace):
        for source in candidate.sources:
            readers.setdefault(source, []).append(candidate)
    found: dict[int, Block] = {}
    names = set[str]()
    for source in sorted(readers):
        group = readers[source]
        first = group[0].sources[0]
        name = owner_of(uses.trace, first)
        if owner_of(uses.trace, source) in taken or name in names or (first != source and len(group) == 1):
            continue
        names.add(name)
        found[source] = _block(uses, group)
    return found


def _block(uses: Uses, group: Sequence[Candidate]) -> Block:
    model, trace, candidate = uses.model, uses.trace, group[0]
    incoming = tuple(owner_of(trace, s) for s in candidate.sources)
    outgoing = owner_of(trace, candidate.sink)
    treating = treating_layers(trace, candidate)
    locked = lock_of(uses, group, incoming, outgoing)
    width = candidate.path.size // candidate.path.repeat
    owned = sum(_owned(model, name) for name in (*incoming, *treating)) + _owned(model, outgoing, bias=False)
    run = [trace.operations[s] for s in (*candidate.sources, *candidate.path.chain, candidate.sink)]
    conv, chained = run[0].name.startswith("conv"), bool(candidate.path.chain)
    between = candidate.function(trace)
    field = fixing_field(model, width)
    block = Block(
        name=incoming[0],
        kind="conv" if conv else "mlp" if len(incoming) == 1 else "gated-mlp",
        units=named_axes(incoming, outgoing)
        if locked
        else units_of(model, incoming, outgoing, width, treating=treating),
        width=width,
        dimension=owned // width,
        parameters=owned // width * width,
        locked=locked,
        macs=sum(o.macs for o in run) // max(1, trace.rows) or None,
        activation=None if chained else between,
        activation_name=between.name,
        dropout=any(_drops(trace.operations[step]) for step in candidate.steps),
        residual=None if conv or chained else residual_of(model, trace, run[-1].outputs[0]),
        opt_in=None if field is None else FIXED_OPT_IN.format(field),
        activation_only=chained,
    )
    return block if locked else replace(block, locked=replay_problem(uses, candidate, block, between))


def _drops(operation: Operation) -> bool:
    """Tell whether an operation is a dropout of any units; torch's own default is a half of them."""
    if "dropout" not in operation.name:
        return False
    chance = operation.args[1] if len(operation.args) > 1 else operation.kwargs.get("p", 0.5)
    return bool(chance > 0)


def named_axes(incoming: Sequence[str], outgoing: str) -> tuple[UnitAxis, ...]:
    """Return the axes of a locked block, which tell no more than which layers it is about."""
    reading = UnitAxis(outgoing, "weight", 1, "reads")
    return (*(UnitAxis(name, "weight", 0) for name in incoming), reading)


def _owned(model: nn.Module, name: str, *, bias: bool = True) -> int:
    """Return the size of a bare parameter, or of a layer's own parameters, with or without its bias."""
    bare = bare_parameter(model, name)
    if bare is not None:
        return bare.numel()
    named = model.get_submodule(name).named_parameters(recurse=False)
    return sum(p.numel() for key, p in named if bias or key != "bias")
