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
    fits, gap = evaluation.fits, evaluation.function_gap
    blocks = [block for block in prepared.blocks if block.name in fits]
    costs = _costs(prepared, slim)
    share = costs["parameters_after"] / max(1, costs["parameters_before"])
    warnings = tuple(w for block in blocks for w in _warnings(block, fits[block.name]))
    return Report(
        "Compression",
        f"{len(blocks)} {'block' if len(blocks) == 1 else 'blocks'} made slimmer: {share:.0%} of the "
        f"parameters, function gap {gap:.2g}.",
        {"blocks": len(blocks), **costs, "function_gap": gap},
        tables=(Table("Blocks", COLUMNS, tuple(_row(block, fits[block.name]) for block in blocks)),),
        warnings=(*_warnings_jointly(blocks, fits, gap), *warnings),
        notes=(*notes, *gauge_notes(slim)),
        details=("blocks",),
    )


def _costs(prepared: Prepared, slim: nn.Module) -> dict[str, int]:
    original, call = prepared.original, first_rows(prepared.calls[0])
    return {
        "parameters_before": count_parameters(original),
        "parameters_after": count_parameters(slim),
        "macs_before": count_macs(original, call),
        "macs_after": count_macs(slim, call),
        "bytes_before": count_bytes(original),
        "bytes_after": count_bytes(slim),
    }


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
