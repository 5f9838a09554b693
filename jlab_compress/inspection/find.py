"""Which blocks of a model can be compressed, and why the others cannot.

A block is found by running the model once and following the values of each layer's units to the next
layer; it is confirmed by running it with the hidden neurons permuted, and with some of them split in two
copies of half the outgoing weight. What a reading of the code could miss (a statistic over the width, a
fixed reshape, a second reader) shows in these runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from jlab_compress.execution.calls import Call
from jlab_compress.execution.inputs import read_batches
from jlab_compress.execution.isolation import undisturbed, working_copy
from jlab_compress.execution.models import check_model, check_values
from jlab_compress.execution.splits import first_rows, told_apart
from jlab_compress.graph.parameter_uses import Uses
from jlab_compress.graph.recorder import record
from jlab_compress.graph.trace import Trace
from jlab_compress.inspection.block import Block, Blocks
from jlab_compress.inspection.confirm import confirmed
from jlab_compress.inspection.examples import call_that_runs, example_call, fault_of, settle_hooks
from jlab_compress.inspection.heads import find_heads
from jlab_compress.inspection.kinds import Kind
from jlab_compress.inspection.neurons import find_neurons
from jlab_compress.inspection.other_runs import locked_elsewhere, notes_on_runs, other_runs, unreached_parts
from jlab_compress.inspection.pointers import pointer_problem, pointers_in
from jlab_compress.inspection.repeats import repetition
from jlab_compress.inspection.unrecorded import (
    closed_parts,
    unconfirmed_layers,
    unreached_layers,
    unseen_layers,
)
from jlab_compress.surroundings import shielded

KINDS = (Kind(find_heads), Kind(find_neurons))


@shielded()
def find_blocks(
    model: nn.Module, example_inputs: Any = None, *, limit: int | None = None, kinds: Sequence[Kind] = ()
) -> Blocks:
    """List a model's blocks of hidden neurons, each confirmed or locked with the reason.

    The model runs on copies only: its parameters, buffers, flags, hooks and the random states stay.

    Parameters
    ----------
    model : nn.Module
        Any module, in training or evaluation mode, on any device.
    example_inputs : Tensor, tuple, mapping or None
        What one forward call takes, or a list or loader of such batches: all are looked at, in evaluation and
        in training mode; blocks are confirmed on the first 8 rows. None makes up inputs from the first layer,
        or from `dummy_inputs`; where the model does not run on them, every block is locked.
    limit : int
        How many batches of a loader to read.
    kinds : sequence of Kind
        Kinds of blocks besides neurons, channels and heads; they are looked for first.

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
    Costs two copies of the model, two runs over all inputs and, as a rule, ten on the first rows; where
    blocks fail, halves of them run again. Confirmed means: equal outputs on the example to rounding. A unit
    that does not touch the outputs there (a zero outgoing weight) is confirmed by the recorded calls only.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> [(block.name, block.width, block.dimension, block.locked) for block in find_blocks(net)]
    [('0', 16, 7, None)]
    """
    check_model(model)
    copied = working_copy(model)
    if example_inputs is None:
        call = example_call(copied)
        if call is None:
            return Blocks([*unconfirmed_layers(copied), *unseen_layers(copied), *closed_parts(copied)])
        settle_hooks(copied, call)
        return _recorded(copied, call, [call], kinds, "example_inputs")[1]
    check_values(model)
    calls, _ = read_batches(copied, example_inputs, "example_inputs", limit)
    settle_hooks(copied, calls[0])
    calls = told_apart(copied, calls)
    call = call_that_runs(copied, calls[0], "example_inputs")
    return _recorded(copied, call, calls, kinds, "example_inputs")[1]


def blocks_on(model: nn.Module, calls: Sequence[Call], *, kinds: Sequence[Kind] = ()) -> tuple[Trace, Blocks]:
    """Return a recorded run and what `find_blocks` does, for calibration that has been read.

    Parameters
    ----------
    model : nn.Module
        A copy; it ends as it was.
    calls : sequence of Call
        The calibration; the first rows of its first call are used.
    kinds : sequence of Kind
        Kinds of blocks besides neurons, channels and heads.

    Raises
    ------
    ValueError
        If the model fails on the first call, or it holds one row without a leading dimension.
    """
    settle_hooks(model, calls[0])
    call = call_that_runs(model, calls[0], "calibration")
    flat = all(t.dim() == 1 and t.is_floating_point() for t in call.tensors) and call.rows > 1
    if flat and fault_of(model, first_rows(replace(call, whole=frozenset()), call.rows // 2)) is not None:
        raise ValueError(
            f"calibration: its first batch is one row of {call.rows} features, expected rows in the "
            "leading dimension; pass torch.stack(rows)"
        )
    return _recorded(model, call, calls, kinds, "calibration")


def _recorded(
    model: nn.Module, call: Call, calls: Sequence[Call], kinds: Sequence[Kind], argument: str
) -> tuple[Trace, Blocks]:
    """Return the record of a call, and the blocks as all calls show them."""
    with undisturbed(model):
        trace = record(model, call)
    listed, again = _listed(model, trace, kinds), repetition(model, call)
    if again.fault is not None:
        return trace, Blocks([replace(block, locked=block.locked or again.fault) for block in listed])
    others = other_runs(model, call, calls, argument)
    listed = locked_elsewhere(model, listed, others, lambda other: _listed(model, other, kinds))
    notes = () if again.note is None else (again.note,)
    known = {block.name for block in listed}
    listed += [b for b in unreached_layers(model, unreached_parts(model, others)) if b.name not in known]
    blocks = confirmed(model, call, listed, again.outputs)
    return trace, Blocks(blocks, (*notes, *notes_on_runs(model, others)))


def _listed(model: nn.Module, trace: Trace, kinds: Sequence[Kind]) -> list[Block]:
    """Return the blocks of all kinds, in the order in which they run, and what no record shows."""
    if not isinstance(kinds, Sequence) or not all(isinstance(kind, Kind) for kind in kinds):
        raise TypeError(f"kinds: expected a list of Kind, got {kinds!r}")
    uses, found = Uses(model, trace), dict[int, Block]()
    operators = tuple(row for kind in kinds for row in kind.operators)
    for kind in (*kinds, *KINDS):
        made = [unit for b in found.values() for unit in b.units if unit.role == "makes"]
        taken = frozenset({name for unit in made for name in (unit.module, unit.name)})
        for index, block in kind.find(uses, taken).items():
            found.setdefault(index, replace(block, operators=operators))
    blocks = [found[index] for index in sorted(found)]
    pointers = pointers_in(model)
    blocks = [
        replace(block, locked=pointer_problem(uses, block, pointers)) if block.locked is None else block
        for block in blocks
    ]
    names = {block.name for block in blocks}
    unseen = (block for block in unseen_layers(model) if block.name not in names)
    return [*blocks, *unseen, *closed_parts(model)]
