"""What the first recorded run does not show: training mode, other inputs, and parts that no run reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.calls import Call, tensors_in
from jlab_compress.execution.isolation import copy_model, undisturbed
from jlab_compress.execution.splits import portions
from jlab_compress.graph.parameter_uses import Uses
from jlab_compress.graph.recorder import record
from jlab_compress.graph.steps import Steps, steps_of
from jlab_compress.graph.trace import Trace
from jlab_compress.inspection.block import Block
from jlab_compress.slim.units import modules_of

ROWS = 64  # that run at once
TRAINING = "in training mode"
STAY = (
    "Reached by no run that was looked at, in evaluation or training mode, so kept as they are: {}. Where "
    "they read or copy units of a block, as another head or an averaged copy does, they do not fit the slim "
    "model."
)
FAILS = "What runs in training mode alone was not looked at, as the model fails there on these inputs: {}."
Listed = Callable[[Trace], Sequence[Block]]


@dataclass(frozen=True)
class OtherRuns:
    """Runs that took another way than the first recorded one.

    Parameters
    ----------
    traces : tuple of (str, Trace)
        Their records, and when they ran in words.
    unreached : tuple of str
        Parameters that no run has read.
    notes : tuple of str
        What could not be looked at.
    """

    traces: tuple[tuple[str, Trace], ...]
    unreached: tuple[str, ...]
    notes: tuple[str, ...]


def other_runs(model: nn.Module, first: Call, calls: Sequence[Call], argument: str) -> OtherRuns:
    """Look at all calls in evaluation and in training mode, and record each run that takes another way.

    Parameters
    ----------
    model : nn.Module
        A copy; it ends as it was.
    first : Call
        What has been recorded in evaluation mode.
    calls : sequence of Call
        The whole calibration.
    argument : str
        Its name, for errors.

    Raises
    ------
    ValueError
        If the model fails on a call in evaluation mode, or answers it with NaN.

    Notes
    -----
    Cost: a copy of the model, and two runs over the calibration, of which nothing is kept.
    """
    runs = [_steps(model, first, training=False)]
    traces, notes = list[tuple[str, Trace]](), list[str]()
    later = [(number, call) for number, call in enumerate(calls) if number or call.rows > first.rows]
    pieces = [(number, piece) for number, call in later for piece in _pieces(call, first)]
    for number, piece in pieces:
        try:
            found = _steps(model, piece, training=False)
        except Exception as error:
            raise_lack_of_memory(error)
            raise ValueError(
                f"{argument} batch {number}: the model fails on it ({in_words(error)}); "
                "pass what its forward takes"
            ) from error
        _check(found, f"{argument} batch {number}")
        if _is_new(found, runs):
            traces.append((f"on {argument} batch {number}", _record(model, piece, training=False)))
        runs.append(replace(found, result=None))
    trained, twin = list[Steps](), copy_model(model)  # training may write into parameters
    try:
        for _, piece in [(0, first), *pieces]:
            found = _steps(twin, piece, training=True)
            if _is_new(found, trained):
                traces.append((TRAINING, _record(twin, piece, training=True)))
            trained.append(replace(found, result=None))
    except Exception as error:
        raise_lack_of_memory(error)
        notes.append(FAILS.format(in_words(error)))
    read = frozenset[str]().union(*(run.parameters for run in (*runs, *trained)))
    unreached = tuple(name for name, _ in model.named_parameters() if name not in read)
    return OtherRuns(tuple(traces), unreached, tuple(notes))


def locked_elsewhere(
    model: nn.Module, blocks: Sequence[Block], runs: OtherRuns, listed: Listed
) -> list[Block]:
    """Return the blocks, those locked that other runs make or read otherwise, and what is reached later."""
    others = [(when, Uses(model, trace), {b.name: b for b in listed(trace)}) for when, trace in runs.traces]
    found = []
    for block in blocks:
        reasons = ((when, _clash(block, uses, known.get(block.name))) for when, uses, known in others)
        reason = next((f"{when}: {words}" for when, words in reasons if words), None)
        found.append(replace(block, locked=block.locked or reason))
    known = {block.name for block in found}
    for when, _, more in others:
        late = [block for name, block in more.items() if name not in known]
        found += [replace(block, locked=block.locked or f"it is reached only {when}") for block in late]
        known |= {block.name for block in late}
    return found


def notes_on_runs(model: nn.Module, runs: OtherRuns) -> tuple[str, ...]:
    """Return what no run reaches, by the outermost modules, and what could not be looked at."""
    names = tuple(dict.fromkeys(unreached_parts(model, runs).values()))
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return (*runs.notes, *((STAY.format(shown),) if names else ()))


def unreached_parts(model: nn.Module, runs: OtherRuns) -> dict[str, str]:
    """Return the parameters that no run reaches, each with the outermost module of which none is reached."""
    reached = {name for name, _ in model.named_parameters()} - set(runs.unreached)
    used = {name[: i + 1] for name in reached for i, letter in enumerate(f"{name}.") if letter == "."}
    found = {}
    for name in runs.unreached:
        ends = [i + 1 for i, letter in enumerate(name) if letter == "."]
        found[name] = next((name[: end - 1] for end in ends if name[:end] not in used), name)
    return found


def _clash(block: Block, uses: Uses, other: Block | None) -> str | None:
    """Return what another run does otherwise with the units of a block, or None."""
    if block.locked is not None:
        return None
    if other is not None:
        if other.locked is None and set(other.units) != set(block.units):
            more = sorted(set(modules_of(other.units)) - set(modules_of(block.units)))
            return f"its units belong to other layers ({', '.join(more) or 'fewer'})"
        return other.locked
    names = {f"{unit.module}.{unit.tensor}".strip(".") for unit in block.units}
    run = names & set(uses.trace.parameters.values())
    if run:
        return "its layers are used in another way"
    return None if uses.trace.training else "nothing reaches it there, so it has too few rows to be fitted on"


def _pieces(call: Call, first: Call) -> list[Call]:
    """Return a call in portions, where the model takes fewer rows than a whole call has."""
    return portions(call, ROWS) if first.rows < call.rows or call.rows <= ROWS else [call]


def _steps(model: nn.Module, call: Call, *, training: bool) -> Steps:
    with undisturbed(model, training=training):
        return steps_of(model, call)


def _record(model: nn.Module, call: Call, *, training: bool) -> Trace:
    with undisturbed(model, training=training):
        return record(model, call, training=training)


def _is_new(found: Steps, runs: Sequence[Steps]) -> bool:
    return bool(found.pairs - frozenset().union(*(run.pairs for run in runs)))


def _check(found: Steps, where: str) -> None:
    floating = [t for t in tensors_in(found.result) if t.is_floating_point()]
    if any(bool(t.isnan().any()) for t in floating):
        raise ValueError(
            f"{where}: the model answers it with NaN, so nothing can be compared; look for what its forward "
            "was given, or leave those rows out"
        )
