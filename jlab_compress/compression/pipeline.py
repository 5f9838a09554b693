"""From a prepared model to a slim one: fit block after block, refine all of them jointly, evaluate."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from jlab_compress.compression.fits.aim import Aim
from jlab_compress.compression.fits.evaluation import Evaluation
from jlab_compress.compression.fits.exact import exact_fit
from jlab_compress.compression.fits.site import Site, naming
from jlab_compress.compression.joint.task import Outcome, Refinement, is_refined, network_blocks, share_stream
from jlab_compress.compression.notes import notes_on
from jlab_compress.compression.plain import check_plain, plain_gauge
from jlab_compress.compression.prepared import Prepared
from jlab_compress.compression.slim_report import summarise
from jlab_compress.compression.widths.request import Resolved
from jlab_compress.execution.isolation import give_back_hooks
from jlab_compress.execution.progress import Progress, Step, follow
from jlab_compress.execution.snapshot import Snapshot
from jlab_compress.fitting.effort import NORMAL, Effort
from jlab_compress.fitting.fit import Fit
from jlab_compress.inspection.block import Block
from jlab_compress.report import Report, Reported
from jlab_compress.slim.attributes import rename_config
from jlab_compress.slim.conversion import attach_plan
from jlab_compress.slim.plan import BlockPlan, Plan
from jlab_compress.slim.surgery import write_layer
from jlab_compress.surroundings import random_states_kept

KEPT = "{} was kept: its function gap on held-out rows is {:.2g}, that of the jointly refined blocks {:.2g}."


@dataclass(frozen=True)
class Settings:
    """How a model is made slim, whatever the aim.

    Parameters
    ----------
    seed : int
        Of all draws.
    effort : Effort
        Budgets of fits and refinements.
    plain : bool
        Whether multiplicities go into the parameters.
    progress : bool or callable
        As in `compress`.
    """

    seed: int = 0
    effort: Effort = NORMAL
    plain: bool = False
    progress: Progress = False


@dataclass(frozen=True)
class Narrowed:
    """What became of a copy of a model by one aim.

    Parameters
    ----------
    plan : Plan
        What was done to each block.
    evaluation : Evaluation
        On held-out rows.
    notes : tuple of str
        On the joint refinement and the evaluation.
    """

    plan: Plan
    evaluation: Evaluation
    notes: tuple[str, ...]

    @property
    def refined(self) -> bool:
        """Whether blocks were refined jointly."""
        return any(is_refined(fit) for fit in self.evaluation.fits.values())

    def instead_of(self, other: Narrowed, label: str) -> Narrowed:
        """Return the same with a note on why it was taken and not the other."""
        gaps = (self.evaluation.function_gap, other.evaluation.function_gap)
        return replace(self, notes=(KEPT.format(label.capitalize(), *gaps), *self.notes))


@dataclass
class Finished:
    """What is done of a compression: filled on the way, and read where the rest is interrupted.

    Parameters
    ----------
    fits : dict of str to Fit
        Of blocks that are done, by name.
    counts : dict of str to tuple of float
        The multiplicities that they were fitted with.
    joint : (nn.Module, Snapshot, Outcome) or None
        The slim model, what it was once all blocks had been refined jointly, and their fits then.
    """

    fits: dict[str, Fit] = field(default_factory=dict)
    counts: dict[str, tuple[float, ...]] = field(default_factory=dict)
    joint: tuple[nn.Module, Snapshot, Outcome] | None = None


@dataclass(frozen=True, repr=False)
class Compression(Reported):
    """A slim model, how it was made, and what is known about it.

    Parameters
    ----------
    model : nn.Module
        The slim model: a new module that runs and trains in place of the original.
    plan : Plan
        Also stored in the model; see `plan_of`.
    report : Report
        Widths, costs, errors on held-out rows and whether the slim model is expected to train alike.
    """

    kind = "compression"

    model: nn.Module
    plan: Plan
    report: Report


@random_states_kept()
def shrink(
    prepared: Prepared,
    wanted: Resolved,
    aim: Aim,
    settings: Settings,
    finished: Finished | None = None,
) -> Compression:
    """Return the best slim model by an aim, or by one of its alternatives where blocks were refined jointly.

    Parameters
    ----------
    prepared : Prepared
        The model; its copy of the original stays as it is.
    wanted : Resolved
        A width for each block to compress.
    aim : Aim
        What to keep.
    settings : Settings
        How.
    finished : Finished, optional
        Gets the fits of blocks as they are done; those that it has already are not made again.

    Raises
    ------
    ValueError
        If a block cannot be fitted to its width.
    """
    widths = wanted.widths
    if settings.plain:
        check_plain(prepared.blocks.named(name) for name in widths)
    slim = prepared.copied()
    untouched = Snapshot.of(slim)
    best = narrow(prepared, slim, widths, aim, settings, finished)
    for alternative in aim.alternatives if best.refined else ():
        kept = Snapshot.of(slim)
        untouched.put_back()
        with follow(settings.progress, f"{alternative.label}, to compare") as step:
            other = narrow(prepared, slim, widths, alternative, replace(settings, progress=False))
            step(1, 1)
        if other.evaluation.loss < best.evaluation.loss:
            best = other.instead_of(best, alternative.label)
        else:
            kept.put_back()
    attach_plan(slim, best.plan)
    unsaid = rename_config(slim, best.plan.blocks)
    notes = (*best.notes, *notes_on(prepared, best.evaluation.fits, unsaid), *wanted.notes)
    report = summarise(prepared, slim, best.evaluation, notes)
    give_back_hooks(slim)
    return Compression(slim, best.plan, report)


def narrow(
    prepared: Prepared,
    slim: nn.Module,
    widths: Mapping[str, int],
    aim: Aim,
    settings: Settings,
    finished: Finished | None = None,
) -> Narrowed:
    """Give a copy of the prepared model fewer units, in place: block after block, then all blocks jointly.

    A block is fitted to what reaches it in the slim model so far. Parameters are those of `shrink`, with the
    copy and the widths by block name.
    """
    task, done = task_of(prepared, slim, widths, settings), finished or Finished()
    for number, block in enumerate(task.blocks, 1):
        name, size = block.name, widths[block.name]
        label = f"block {name}: {number} of {len(task.blocks)}"
        with follow(settings.progress, name, label) as step, naming(block):
            site = site_of(task, block, step, follows_slim=number > 1)
            if name not in done.fits:
                exact = exact_fit(site.layer, size)
                fit = exact or aim.start_for(site)(site, size)
                fit = aim.refine(site, size, fit) if site.alone and exact is None else fit
                aim.check_fit(fit, size)
                done.counts[name] = tuple(fit.layer.multiplicities.tolist())
                done.fits[name] = replace(fit, layer=plain_gauge(fit.layer)) if settings.plain else fit
            put(site, done.fits[name])
    outcome = aim.joint(task, done.fits)
    done.joint = slim, Snapshot.of(slim), outcome
    evaluation = aim.evaluate(task, outcome.fits)
    plan = plan_of_fits(task.blocks, evaluation.fits, done, aim, settings)
    return Narrowed(plan, evaluation, (*outcome.notes, *evaluation.notes))


def task_of(prepared: Prepared, slim: nn.Module, names: Container[str], settings: Settings) -> Refinement:
    """Return all that the stages of an aim work on, with the named blocks in the order in which they run."""
    return Refinement(
        original=prepared.original,
        slim=slim,
        blocks=tuple(block for block in prepared.blocks if block.name in names),
        running=prepared.trace.modules,
        fit=prepared.fit,
        held=prepared.held,
        seed=settings.seed,
        effort=settings.effort,
        progress=settings.progress,
    )


def site_of(task: Refinement, block: Block, step: Step, *, follows_slim: bool) -> Site:
    """Return what a fit of one block may look at."""
    return Site(
        original=task.original,
        slim=task.slim,
        block=block,
        calls=task.fit,
        follows_slim=follows_slim,
        shares_stream=share_stream(task.blocks),
        in_network=block.name in network_blocks(task),
        seed=task.seed,
        effort=task.effort,
        step=step,
    )


def put(site: Site, fit: Fit) -> None:
    """Put the units of a fit in the place of the block's, in the slim model."""
    block = site.block
    inputs = site.inputs if block.norm is not None and fit.indices is None else None
    write_layer(site.slim, block, fit.layer, indices=fit.indices, inputs=inputs)


def plan_of_fits(
    blocks: Sequence[Block], fits: Mapping[str, Fit], done: Finished, aim: Aim, settings: Settings
) -> Plan:
    """Return what was done to some blocks."""
    plans = [plan_block(b, fits[b.name], done.counts[b.name], settings.plain) for b in blocks]
    return Plan(tuple(plans), aim.name, settings.seed)


def plan_block(block: Block, fit: Fit, counts: tuple[float, ...], plain: bool) -> BlockPlan:
    """Return what was done to a block, with its multiplicities where no layer holds them."""
    rescaled = plain and set(counts) != {1.0}
    return BlockPlan(
        name=block.name,
        kind=block.kind,
        units=block.units,
        width_before=block.width,
        width_after=fit.layer.width,
        method=fit.method,
        gauge="plain" if rescaled else "weighted",
        indices=None if fit.indices is None else tuple(fit.indices.tolist()),
        multiplicities=counts if rescaled else None,
        activation_only=block.activation_only,
    )
