"""What a training gap is measured against: other models of the same width and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from jlab_compress.compression.fits.aim import Aim
from jlab_compress.compression.fits.aims import AIMS, BASELINES
from jlab_compress.compression.pipeline import Settings, shrink
from jlab_compress.compression.prepare import prepare
from jlab_compress.compression.prepared import Prepared
from jlab_compress.compression.widths.request import Resolved
from jlab_compress.execution.calls import tensors_in
from jlab_compress.execution.models import unwrapped
from jlab_compress.fitting.effort import Effort, EffortName, read_effort
from jlab_compress.slim.conversion import plan_of
from jlab_compress.slim.plan import BlockPlan
from jlab_compress.slim.units import length_in, modules_of, without
from jlab_compress.validation.roles import FUNCTION, RANDOM, REFERENCES, REORDERED

ROWS = 4096  # of the training inputs, at least, that the references are fitted on


@dataclass(frozen=True)
class References:
    """How the models are made that a slim one is measured against.

    Parameters
    ----------
    names : tuple of str
        Which; the original under another batch order needs no model of its own.
    widths : mapping of str to int
        Those of the slim model.
    prepared : Prepared or None
        The original, with what the references are fitted on; None where none is.
    effort : Effort
        For the fit of the function alone.
    source : str
        Where their calibration comes from, in words.
    left_out : str
        Which of those that were asked for cannot be made, and why; empty where all can.
    """

    names: tuple[str, ...]
    widths: Mapping[str, int]
    prepared: Prepared | None
    effort: Effort
    source: str
    left_out: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """How they are made, where that is not plain from their names, and what is left out."""
        if FUNCTION not in self.names:
            return (self.left_out,) if self.left_out else ()
        several = "greedy selection and least-squares refit, block by block"
        how = several if len(self.widths) > 1 else 'compress(..., preserve="function")'
        return (f"Function only: {how}, on {self.source}.",)

    def made(self, seed: int, known: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """Return slim models of the same widths that were made in other ways.

        Parameters
        ----------
        seed : int
            Draws the random subset.
        known : mapping of str to nn.Module
            Results of an earlier seed; the function-only model is fitted once.
        """
        made: dict[str, nn.Module] = {}
        if self.prepared is None:
            return made
        if RANDOM in self.names:
            made[RANDOM] = self._fitted(self.prepared, BASELINES["random"], seed)
        if FUNCTION in self.names:
            made[FUNCTION] = known.get(FUNCTION) or self._function_only(self.prepared, seed)
        return made

    def _function_only(self, prepared: Prepared, seed: int) -> nn.Module:
        """Fit outputs alone: with moved nodes for one block, by selection and refit for several."""
        return self._fitted(prepared, BASELINES["greedy"] if len(self.widths) > 1 else AIMS["function"], seed)

    def _fitted(self, prepared: Prepared, aim: Aim, seed: int) -> nn.Module:
        return shrink(prepared, Resolved(self.widths), aim, Settings(seed, self.effort)).model


def read_references(
    original: nn.Module | Prepared,
    slim: nn.Module,
    names: Sequence[str],
    *,
    inputs: Sequence[Any],
    seed: int,
    effort: EffortName | Effort,
) -> References:
    """Return how to make the references that were asked for.

    Parameters
    ----------
    original : nn.Module or Prepared
        A prepared one has calibration of its own.
    slim : nn.Module
        The widths come from its plan.
    names : sequence of str
        Some of `REFERENCES`.
    inputs : sequence of inputs
        Those of the training batches, to fit on where the original is not prepared.
    seed, effort
        As in `prepare` and `compress`.

    Raises
    ------
    ValueError
        If a reference is not known, and as `prepare`.
    """
    unknown = [name for name in names if name not in REFERENCES]
    if unknown:
        raise ValueError(f"references: {unknown[0]!r} is unknown; choose from {', '.join(REFERENCES)}")
    widths = {block.name: block.width_after for block in plan_of(slim).blocks}
    fitted = [name for name in names if name != REORDERED]
    prepared, source = None, "the calibration"
    if isinstance(original, Prepared):
        prepared = original
    elif fitted:
        prepared = prepare(original, list(_first_rows(inputs)), seed=seed)
        source = "the inputs of the training batches"
    reason = prepared and _unfit(prepared, widths)
    if reason and fitted:
        kept, words = tuple(name for name in names if name == REORDERED), ", ".join(fitted)
        return References(kept, widths, None, read_effort(effort), source, f"Left out ({words}): {reason}.")
    return References(tuple(names), widths, prepared, read_effort(effort), source)


def _unfit(prepared: Prepared, widths: Mapping[str, int]) -> str | None:
    """Return why slim models of these widths cannot be made of the original as it is now, or None."""
    found = {block.name: block for block in prepared.blocks}
    for name in widths:
        if name not in found:
            return f"block {name} is not found in the original; pass what prepare returned for it"
        if locked := found[name].locked:
            return f"block {name} of the original cannot be compressed as it is now: {locked}"
    return None


def _first_rows(inputs: Sequence[Any]) -> Sequence[Any]:
    """Return the first batches, until there are enough rows."""
    rows = 0
    for number, batch in enumerate(inputs, 1):
        rows += next((len(t) for t in tensors_in(batch) if t.ndim), 1)
        if rows >= ROWS:
            return inputs[:number]
    return inputs


def check_shared_plan(original: nn.Module, slim: nn.Module) -> None:
    """Refuse a pair of models of which the second is not a slim form of the first.

    Raises
    ------
    TypeError
        If one of them is no module.
    ValueError
        If `slim` has no plan, or a block of the plan is missing or of another width in `original`.
    """
    for name, model in (("original", original), ("slim", slim)):
        if not isinstance(model, nn.Module):
            raise TypeError(f"{name}: expected a torch.nn.Module, got {type(model).__name__}")
    for block in plan_of(slim).blocks:
        if block.gauge == "folded":
            raise ValueError(
                f"slim: block {block.name!r} is folded, which trains otherwise; pass the model before fold"
            )
        for model, side, width in (
            (original, "original", block.width_before),
            (slim, "slim", block.width_after),
        ):
            _check_width(unwrapped(model), side, block, width)
    _check_other_shapes(original, slim)


def _check_width(model: nn.Module, side: str, block: BlockPlan, width: int) -> None:
    layers = dict(model.named_modules(remove_duplicate=False))
    for unit in block.units:
        length = length_in(model, unit)
        if length != unit.length(width) and not without(layers.get(unit.module), unit):
            found = "no such layer" if length is None else length // unit.length(1)
            raise ValueError(
                f"{side}: block {block.name!r} should have {width} neurons by the slim model's plan, "
                f"found {found}; pass the model that the slim one was made from"
            )


def _check_other_shapes(original: nn.Module, slim: nn.Module) -> None:
    touched = {path for block in plan_of(slim).blocks for path in modules_of(block.units)}
    shapes = {name: p.shape for name, p in unwrapped(original).named_parameters()}
    for name, parameter in unwrapped(slim).named_parameters():
        if name.rpartition(".")[0] not in touched and shapes.get(name) != parameter.shape:
            raise ValueError(
                f"slim: parameter {name!r} of shape {tuple(parameter.shape)} has no equal in the original; "
                "pass the model that the slim one was made from"
            )
