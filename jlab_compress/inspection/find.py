"""Which blocks of a model can be compressed, and why the others cannot.

A block is found by running the model once and following the values of each layer's units to the next
layer; it is confirmed by running it with the hidden neurons permuted, and with some of them split in two
copies of half the outgoing weight. What a reading of the code could miss (a statistic over the width, a
fixed reshape, a second reader) shows in these runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from jlab_compress.execution.calls import Call
from jlab_compress.execution.inputs import read_batches
from jlab_compress.execution.isolation import copy_model, undisturbed
from jlab_compress.execution.models import check_model
from jlab_compress.execution.splits import first_rows
from jlab_compress.graph.parameter_uses import Uses
from jlab_compress.graph.paths import Candidate, candidates, pointwise
from jlab_compress.graph.recorder import Trace, record
from jlab_compress.graph.weights import owner_of
from jlab_compress.inspection.block import Block, Blocks
from jlab_compress.inspection.confirm import confirmed
from jlab_compress.inspection.examples import call_that_runs, example_call, fault_of
from jlab_compress.inspection.heads import Heads, heads_of
from jlab_compress.inspection.locks import bare_parameter, chain_of, lock_of, norm_of
from jlab_compress.inspection.residual import residual_of
from jlab_compress.inspection.unrecorded import Unseen, unconfirmed_layers, unseen_layers
from jlab_compress.slim.attributes import fixing_field
from jlab_compress.slim.recorded import read_recorded

HEADS_APART = "attention heads are compressed only where widths name them"
FIXED_APART = "its width is the configuration's {}, so it is compressed only where widths name it"


def find_blocks(model: nn.Module, example_inputs: Any = None) -> Blocks:
    """List a model's blocks of hidden neurons, each confirmed or locked with the reason.

    The model runs on copies only: its parameters, buffers, flags, hooks and the random states stay.

    Parameters
    ----------
    model : nn.Module
        Any module, in training or evaluation mode, on any device.
    example_inputs : Tensor, tuple, mapping or None
        What one forward call takes; at most 8 rows are used. None makes up inputs from the first layer, or
        from `dummy_inputs`; where the model does not run on them, every block is locked.

    Returns
    -------
    Blocks
        A tuple of `Block`.

    Raises
    ------
    TypeError
        If the model is no torch module.
    ValueError
        If the model fails on the example, or cannot be copied.

    Notes
    -----
    Costs a trial run, a recorded one and, as a rule, three more for all blocks together; where they fail,
    halves of them run again. Confirmed means: equal outputs on the example to rounding. A unit that does not
    touch the outputs there (a zero outgoing weight) is confirmed by the recorded calls only.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> [(block.name, block.width, block.dimension, block.locked) for block in find_blocks(net)]
    [('0', 16, 7, None)]
    """
    check_model(model)
    copied = copy_model(model)
    if example_inputs is None:
        call = example_call(copied)
        if call is None:
            return Blocks(_plain(u) for u in [*unconfirmed_layers(copied), *unseen_layers(copied)])
        return _recorded(copied, call)[1]
    calls, _ = read_batches(copied, example_inputs, "example_inputs")
    return _recorded(copied, call_that_runs(copied, calls[0], "example_inputs"))[1]


def blocks_on(model: nn.Module, calls: Sequence[Call]) -> tuple[Trace, Blocks]:
    """Return a recorded run and what `find_blocks` does, for calibration that has been read.

    Parameters
    ----------
    model : nn.Module
        A copy; it ends as it was.
    calls : sequence of Call
        The calibration; the first rows of its first call are used.

    Raises
    ------
    ValueError
        If the model fails on the first call, or it holds one row without a leading dimension.
    """
    call = call_that_runs(model, calls[0], "calibration")
    flat = all(t.dim() == 1 and t.is_floating_point() for t in call.tensors) and call.rows > 1
    if flat and fault_of(model, first_rows(call, call.rows // 2)) is not None:
        raise ValueError(
            f"calibration: its first batch is one row of {call.rows} features, expected rows in the "
            "leading dimension; pass torch.stack(rows)"
        )
    return _recorded(model, call)


def _recorded(model: nn.Module, call: Call) -> tuple[Trace, Blocks]:
    with undisturbed(model):
        trace = record(model, call)
    return trace, Blocks(confirmed(model, call, _listed(model, trace)))


def _listed(model: nn.Module, trace: Trace) -> list[Block]:
    readers: dict[int, list[Candidate]] = {}
    for candidate in candidates(trace):
        for source in candidate.sources:
            readers.setdefault(source, []).append(candidate)
    uses, names = Uses(model, trace), set[str]()
    attention = heads_of(uses)
    found = {heads.index: _attention(model, trace, heads) for heads in attention}
    projections = {source for heads in attention for source in heads.sources}
    for source in sorted(readers):
        group = readers[source]
        if source in projections or (group[0].sources[0] != source and len(group) == 1):
            continue
        name = owner_of(trace, group[0].sources[0])
        if name not in names:
            names.add(name)
            found[source] = _block(uses, group)
    unseen = [_plain(u) for u in unseen_layers(model) if u.name not in names]
    return [found[index] for index in sorted(found)] + unseen


def _plain(unseen: Unseen) -> Block:
    place, size = ((unseen.name,), unseen.outgoing or unseen.name), unseen.width * unseen.dimension
    return Block(unseen.name, unseen.kind, unseen.width, unseen.dimension, size, unseen.locked, *place)


def _attention(model: nn.Module, trace: Trace, heads: Heads) -> Block:
    each = 0
    if heads.incoming:
        layer = read_recorded(model, heads, heads.width)
        each = sum(rows.shape[1] for rows in (*layer.incoming, layer.outgoing))
    owned = sum(p.numel() for p in model.get_submodule(heads.name).parameters())
    return Block(
        name=heads.name,
        kind="attention",
        width=heads.width,
        dimension=each or owned // max(1, heads.width),
        parameters=each * heads.width or owned,
        locked=heads.locked,
        incoming=heads.incoming or (heads.name,),
        outgoing=heads.outgoing or heads.name,
        macs=heads.macs // max(1, trace.rows) or None,
        residual=None if heads.output is None else residual_of(model, trace, heads.output),
        repeat=heads.repeat,
        sections=heads.sections,
        apart=HEADS_APART,
    )


def _block(uses: Uses, group: list[Candidate]) -> Block:
    model, trace, candidate = uses.model, uses.trace, group[0]
    sources = [trace.operations[s] for s in candidate.sources]
    incoming = tuple(owner_of(trace, s) for s in candidate.sources)
    outgoing = owner_of(trace, candidate.sink)
    width = candidate.path.size // candidate.path.repeat
    norm = norm_of(trace, candidate)
    chain = chain_of(trace, candidate)
    own = (*incoming, *([norm] if norm else []), *chain)
    owned = sum(_owned(model, name) for name in own) + _owned(model, outgoing, bias=False)
    conv = sources[0].name.startswith("conv")
    reader = trace.operations[candidate.sink]
    treating = [trace.operations[index] for index in candidate.path.chain]
    macs = sum(o.macs for o in (*sources, *treating, reader))
    field = fixing_field(model, width)
    return Block(
        name=incoming[0],
        kind="conv" if conv else "mlp" if len(incoming) == 1 else "gated-mlp",
        width=width,
        dimension=owned // width,
        parameters=owned // width * width,
        locked=lock_of(uses, group, incoming, outgoing),
        incoming=incoming,
        outgoing=outgoing,
        macs=macs // max(1, trace.rows) or None,
        activation=pointwise(trace, candidate),
        residual=None if conv or chain else residual_of(model, trace, reader.outputs[0]),
        norm=norm,
        repeat=candidate.path.repeat,
        chain=chain,
        apart=None if field is None else FIXED_APART.format(field),
    )


def _owned(model: nn.Module, name: str, *, bias: bool = True) -> int:
    """Return the size of a bare parameter, or of a layer's own parameters, with or without its bias."""
    bare = bare_parameter(model, name)
    if bare is not None:
        return bare.numel()
    named = model.get_submodule(name).named_parameters(recurse=False)
    return sum(p.numel() for key, p in named if bias or key != "bias")
