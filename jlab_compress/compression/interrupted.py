"""What there is of a compression that was interrupted: blocks that are done, and the way on from them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import nn

from jlab_compress.compression.fits.aim import Aim
from jlab_compress.compression.fits.evaluation import by_function_gap
from jlab_compress.compression.fits.site import unheard
from jlab_compress.compression.joint.task import is_refined
from jlab_compress.compression.notes import notes_on
from jlab_compress.compression.pipeline import (
    Compression,
    Finished,
    Settings,
    plan_of_fits,
    put,
    shrink,
    site_of,
    task_of,
)
from jlab_compress.compression.prepared import Prepared
from jlab_compress.compression.slim_report import summarise
from jlab_compress.compression.widths.request import Resolved
from jlab_compress.execution.isolation import give_back_hooks
from jlab_compress.execution.progress import Progress
from jlab_compress.fitting.fit import Fit
from jlab_compress.slim.attributes import rename_config
from jlab_compress.slim.conversion import attach_plan
from jlab_compress.surroundings import shielded

NOTE = "{}; jlab_compress.last_interrupted() has the slim model so far, and its resume() goes on from there"
ALONE = "Blocks were fitted one by one; they were neither refined jointly nor compared with other fits."
JOINTLY = "The slim model was not compared with other fits, nor was it looked at whether it trains alike."


@dataclass(frozen=True)
class Work:
    """A compression and what is done of it.

    Parameters
    ----------
    prepared : Prepared
        The model, with its calibration.
    wanted : Resolved
        A width for each block to compress.
    aim : Aim
        What to keep.
    settings : Settings
        How.
    finished : Finished
        Filled as blocks are done.
    """

    prepared: Prepared
    wanted: Resolved
    aim: Aim
    settings: Settings
    finished: Finished = field(default_factory=Finished)

    @property
    def how_far(self) -> str:
        """How far it came, in words."""
        done, every = len(self.finished.fits), len(self.wanted.widths)
        if not done:
            return "Stopped: nothing was made"
        blocks = f"{done} of {every} {'block is' if every == 1 else 'blocks are'} slim"
        if done < every:
            return f"Stopped at {100 * done // every} %: {blocks}"
        if self.finished.joint is None:
            return f"Stopped before the joint refinement was done: {blocks}"
        refined = any(is_refined(fit) for fit in self.finished.joint[2].fits.values())
        return f"Stopped at the last checks: {blocks}{', refined jointly' if refined else ''}"

    @cached_property
    def so_far(self) -> Interrupted:
        """The slim model so far, evaluated on held-out rows; blocks that were not done keep their width."""
        prepared, done = self.prepared, self.finished
        fits: Mapping[str, Fit] = done.fits
        notes: tuple[str, ...] = (ALONE,)
        if done.joint is None:
            slim = prepared.copied()
            task = task_of(prepared, slim, fits, self.settings)
            for number, block in enumerate(task.blocks, 1):
                put(site_of(task, block, unheard, follows_slim=number > 1), fits[block.name])
        else:
            slim, state, outcome = done.joint
            state.put_back()
            fits, notes = outcome.fits, (*outcome.notes, JOINTLY)
            task = task_of(prepared, slim, fits, self.settings)
        evaluation = by_function_gap(task, fits)
        plan = plan_of_fits(task.blocks, fits, done, self.aim, self.settings)
        attach_plan(slim, plan)
        unsaid = rename_config(slim, plan.blocks)
        report = summarise(
            prepared, slim, evaluation, (*notes, *notes_on(prepared, fits, unsaid), *self.wanted.notes)
        )
        give_back_hooks(slim)
        named = replace(report, title="Interrupted compression", summary=f"{self.how_far}. {report.summary}")
        return Interrupted(slim, plan, named, self)


@dataclass(frozen=True, repr=False)
class Interrupted(Compression):
    """The best slim model so far of a compression that was interrupted, and the way on.

    Parameters
    ----------
    model, plan, report
        As of a `Compression`; the report says how far it came, and its function gap is that on held-out rows.
        Blocks that were not done have their full width.
    work : Work
        What was to be done.
    """

    work: Work

    @shielded()
    def resume(self, *, progress: Progress = True) -> Compression:
        """Go on where the compression was interrupted, and return what it would have returned.

        Blocks that are done are not fitted again; a joint refinement begins anew. The result has the same
        bits as without the interrupt. It may be interrupted, and resumed, again.

        Parameters
        ----------
        progress : bool or callable
            As in `compress`.

        Raises
        ------
        ValueError
            If the model has changed since.
        """
        done = Finished(dict(self.work.finished.fits), dict(self.work.finished.counts))
        settings = replace(self.work.settings, progress=progress)
        work = replace(self.work, settings=settings, finished=done)
        work.prepared.as_it_was()
        forget_interrupted()
        with kept(work):
            return shrink(work.prepared, work.wanted, work.aim, settings, done)


# At most one, with who says that its model is gone.
_latest: list[tuple[Work, weakref.ref[nn.Module] | None]] = []


@shielded()
def last_interrupted() -> Interrupted | None:
    """Return the slim model that an interrupted `compress` or `compress_baseline` had so far, and the way on.

    It is kept, with a copy of the original and the calibration, until the next of these calls begins or the
    original is gone; what is returned is the caller's.

    Returns
    -------
    Interrupted or None
        A `Compression` whose report says how far it came, with `resume()`. None where no call was
        interrupted, or it was before the first block was done. Costs a copy of the model and one run over
        the held-out rows at the first call.

    Examples
    --------
    >>> import torch
    >>> from jlab_compress import compress
    >>> def stop(block, done, every):
    ...     if block == "2":
    ...         raise KeyboardInterrupt
    >>> net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 1))
    >>> try:
    ...     compress(net, 8, calibration=torch.randn(60, 4), effort="quick", progress=stop)
    ... except KeyboardInterrupt:
    ...     print(last_interrupted().report.summary.split(".")[0])
    Stopped at 50 %: 1 of 2 blocks are slim
    """
    return _latest[0][0].so_far if _latest else None


def forget_interrupted() -> None:
    """Let go of what an earlier interrupted compression had so far."""
    _latest.clear()


@contextmanager
def kept(work: Work) -> Iterator[None]:
    """Keep what is done of a compression for `last_interrupted`, where it is interrupted."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if work.finished.fits:
            _remember(work)
        stop.add_note(NOTE.format(work.how_far) if work.finished.fits else work.how_far)
        raise


def _remember(work: Work) -> None:
    """Keep what is done, but no bar or function of the caller's, until the model is gone."""
    source = work.prepared.source()
    gone = None if source is None else weakref.ref(source, _forget)
    _latest[:] = [(replace(work, settings=replace(work.settings, progress=False)), gone)]


def _forget(gone: weakref.ref[nn.Module]) -> None:
    if _latest and _latest[0][1] is gone:
        _latest.clear()
