"""What a training gap is measured against: other models of the same width and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from jlab_compress.compression.compress import compress, compress_baseline
from jlab_compress.execution.calls import tensors_in
from jlab_compress.execution.models import unwrapped
from jlab_compress.slim.conversion import plan_of

REORDERED = "another batch order"
RANDOM = "random subset"
FUNCTION = "function only"
REFERENCES = (REORDERED, RANDOM, FUNCTION)
ROWS = 4096  # of the training inputs, at least, that the references are fitted on


def build_references(
    original: nn.Module,
    slim: nn.Module,
    calibration: Sequence[Any],
    *,
    names: Sequence[str],
    seed: int,
    known: Mapping[str, nn.Module],
) -> dict[str, nn.Module]:
    """Return slim models of the same widths that were made in other ways.

    Parameters
    ----------
    original, slim : nn.Module
        The widths come from the plan of `slim`.
    calibration : sequence of inputs
        What the references are fitted on: the inputs of the training batches.
    names : sequence of str
        Which references; the original under another batch order needs no model of its own.
    seed : int
        Draws the random subset.
    known : mapping of str to nn.Module
        Results of an earlier seed; the function-only model is fitted once.
    """
    widths = {block.name: block.width_after for block in plan_of(slim).blocks}
    calibration = _first_rows(calibration)
    made: dict[str, nn.Module] = {}
    if RANDOM in names:
        made[RANDOM] = compress_baseline(
            original, widths, calibration=list(calibration), method="random", seed=seed
        ).model
    if FUNCTION in names:
        made[FUNCTION] = known.get(FUNCTION) or _function_only(original, widths, calibration, seed)
    return made


def _first_rows(calibration: Sequence[Any]) -> Sequence[Any]:
    rows = 0
    for number, inputs in enumerate(calibration, 1):
        rows += next((len(t) for t in tensors_in(inputs) if t.ndim), 1)
        if rows >= ROWS:
            return calibration[:number]
    return calibration


def reference_notes(slim: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Return how the references were made, where that is not plain from their names."""
    if FUNCTION not in names:
        return ()
    how = (
        "greedy selection and least-squares refit, block by block"
        if len(plan_of(slim).blocks) > 1
        else 'compress(..., preserve="function")'
    )
    return (f"Function only: {how}, on the inputs of the training batches.",)


def _function_only(
    original: nn.Module, widths: dict[str, int], calibration: Sequence[Any], seed: int
) -> nn.Module:
    """Fit outputs alone: with moved nodes for one block, by selection and refit, in seconds, for several."""
    if len(widths) > 1:
        return compress_baseline(
            original, widths, calibration=list(calibration), method="greedy", seed=seed
        ).model
    return compress(
        original, widths, calibration=list(calibration), preserve="function", seed=seed, progress=False
    ).model


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
            found = _width(model, block.incoming[0])
            if found != width:
                raise ValueError(
                    f"{side}: block {block.name!r} should have {width} neurons by the slim model's plan, "
                    f"found {found or 'no such layer'}; pass the model that the slim one was made from"
                )
    _check_other_shapes(original, slim)


def _width(model: nn.Module, path: str) -> int | None:
    """Return the number of neurons that a layer makes: its bias's, else its weight's leading size."""
    layer = dict(unwrapped(model).named_modules()).get(path)
    weight = getattr(layer, "weight", None)
    if weight is None:
        return None
    return int(getattr(layer, "nf", weight.shape[0]))


def _check_other_shapes(original: nn.Module, slim: nn.Module) -> None:
    touched = {path for block in plan_of(slim).blocks for path in (*block.incoming, block.outgoing)}
    shapes = {name: p.shape for name, p in unwrapped(original).named_parameters()}
    for name, parameter in unwrapped(slim).named_parameters():
        if name.rpartition(".")[0] not in touched and shapes.get(name) != parameter.shape:
            raise ValueError(
                f"slim: parameter {name!r} of shape {tuple(parameter.shape)} has no equal in the original; "
                "pass the model that the slim one was made from"
            )
