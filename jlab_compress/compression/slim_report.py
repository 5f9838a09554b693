"""What a compression did, as a report."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from jlab_compress.compression.fits.evaluation import Evaluation
from jlab_compress.compression.joint.task import is_refined
from jlab_compress.compression.prepared import Prepared
from jlab_compress.execution.splits import first_rows
from jlab_compress.fitting.criteria import FUNCTION_ERROR_LIMIT
from jlab_compress.fitting.fit import Fit
from jlab_compress.graph.costs import count_bytes, count_macs, count_parameters
from jlab_compress.inspection.block import Block
from jlab_compress.report import Report, Scalar, Table
from jlab_compress.training.adam_rates import gauge_notes

COLUMNS = (
    "block",
    "kind",
    "width_before",
    "width_after",
    "parameters_before",
    "parameters_after",
    "macs_before",
    "macs_after",
    "method",
    "function_error",
    "kernel_error",
    "trains alike",
)


def summarise(prepared: Prepared, slim: nn.Module, evaluation: Evaluation, notes: tuple[str, ...]) -> Report:
    """Return the report of a compression.

    Parameters
    ----------
    prepared : Prepared
        The model before.
    slim : nn.Module
        And after.
    evaluation : Evaluation
        What became of its blocks.
    notes : tuple of str
        Conditions to state.
    """
    original, fits, gap = prepared.original, evaluation.fits, evaluation.function_gap
    blocks = [block for block in prepared.blocks if block.name in fits]
    call = first_rows(prepared.calls[0])
    before, after = count_parameters(original), count_parameters(slim)
    facts: dict[str, Scalar] = {
        "blocks": len(blocks),
        "parameters_before": before,
        "parameters_after": after,
        "macs_before": count_macs(original, call),
        "macs_after": count_macs(slim, call),
        "bytes_before": count_bytes(original),
        "bytes_after": count_bytes(slim),
        "function_gap": gap,
    }
    rows = tuple(_row(block, fits[block.name]) for block in blocks)
    summary = (
        f"{len(blocks)} {'block' if len(blocks) == 1 else 'blocks'} made slimmer: "
        f"{after / max(1, before):.0%} of the parameters, function gap {gap:.2g}."
    )
    notes = (*notes, *gauge_notes(slim))
    warnings = tuple(w for block in blocks for w in _warnings(block, fits[block.name]))
    warnings = (*_warnings_jointly(blocks, fits, gap), *warnings)
    return Report(
        "Compression",
        summary,
        facts,
        tables=(Table("Blocks", COLUMNS, rows),),
        warnings=warnings,
        notes=notes,
        details=("blocks",),
    )


def _row(block: Block, fit: Fit) -> tuple[Scalar, ...]:
    width = fit.layer.width
    macs = None if block.macs is None else block.macs * width // block.width
    sizes = (block.width, width, block.parameters, block.dimension * width, block.macs, macs)
    errors = (fit.function_error, fit.kernel_error, fit.trains_alike)
    return (block.name, block.kind, *sizes, fit.method, *errors)


def _warnings(block: Block, fit: Fit) -> list[str]:
    if fit.layer.width == block.width:
        return []  # judged jointly with blocks that became narrower; there is nothing more to keep
    width = f"block {block.name}: at {fit.layer.width} of {block.width} {block.noun}"
    found = []
    if not is_refined(fit) and not fit.function_error <= FUNCTION_ERROR_LIMIT:
        found.append(
            f"{width} its held-out function error is {fit.function_error:.2g}, so it is not compressible to "
            f"that width; keep more {block.noun} or leave it out"
        )
    if fit.trains_alike is False:
        found.append(f"{width} it will not train like the original; keep more {block.noun}")
    return found


def _warnings_jointly(blocks: list[Block], fits: Mapping[str, Fit], gap: float) -> list[str]:
    """Judge blocks that were refined jointly by the whole model: their own errors are from before."""
    names = [block.name for block in blocks if is_refined(fits[block.name])]
    if not names or gap <= FUNCTION_ERROR_LIMIT:
        return []
    return [
        f"blocks refined jointly ({', '.join(names)}): the held-out function gap is {gap:.2g}, so they are "
        "not compressible to these widths; keep more neurons or leave some out"
    ]
