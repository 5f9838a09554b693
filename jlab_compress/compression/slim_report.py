"""What a compression did, as a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from jlab_compress.compression.fits.evaluation import Evaluation
from jlab_compress.compression.joint.task import is_refined
from jlab_compress.compression.prepared import Prepared
from jlab_compress.execution.splits import first_rows
from jlab_compress.fitting.criteria import FUNCTION_ERROR_LIMIT, usability
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
UNKNOWN = "whether it trains like the original was not measured, see validate"


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
    off = _too_narrow(blocks, fits, gap)
    usable = usability(gap, _all_alike(fits.values()), unknown=UNKNOWN)
    counted = f"{len(blocks)} {'block' if len(blocks) == 1 else 'blocks'} made slimmer"
    return Report(
        "Compression",
        f"{usable.sentence} {counted}: {share:.0%} of the parameters, function gap {gap:.2g}.",
        {"usable": usable.answer, "blocks": len(blocks), **costs, "function_gap": gap},
        tables=(Table("Blocks", COLUMNS, tuple(_row(block, fits[block.name], off) for block in blocks)),),
        warnings=(*_warnings_jointly(blocks, fits, gap, off), *_warnings(blocks, fits, gap, off)),
        notes=(*notes, *gauge_notes(slim)),
        details=("blocks",),
    )


def _too_narrow(blocks: list[Block], fits: Mapping[str, Fit], gap: float) -> frozenset[str]:
    """Return the blocks that are not compressible to their widths: of a model that is far off, those as far.

    Of blocks that were refined jointly the model alone tells, as their own errors are from before.
    """
    if gap <= FUNCTION_ERROR_LIMIT:
        return frozenset()
    return frozenset(
        block.name
        for block in _narrower(blocks, fits)
        if is_refined(fits[block.name]) or not fits[block.name].function_error <= FUNCTION_ERROR_LIMIT
    )


def _narrower(blocks: list[Block], fits: Mapping[str, Fit]) -> list[Block]:
    """Return the blocks that became narrower; of the others there is nothing more to keep."""
    return [block for block in blocks if fits[block.name].layer.width < block.width]


def _all_alike(fits: Iterable[Fit]) -> bool | None:
    found = {fit.trains_alike for fit in fits}
    return False if False in found else None if None in found else True


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


def _row(block: Block, fit: Fit, off: frozenset[str]) -> tuple[Scalar, ...]:
    width = fit.layer.width
    macs = None if block.macs is None else block.macs * width // block.width
    sizes = (block.width, width, block.parameters, block.dimension * width, block.macs, macs)
    alike = fit.trains_alike and block.name not in off
    return (block.name, block.kind, *sizes, fit.method, fit.function_error, fit.kernel_error, alike)


def _warnings(blocks: list[Block], fits: Mapping[str, Fit], gap: float, off: frozenset[str]) -> list[str]:
    found = []
    for block in _narrower(blocks, fits):
        fit = fits[block.name]
        width = f"block {block.name}: at {fit.layer.width} of {block.width} {block.noun} it"
        if not is_refined(fit) and not fit.function_error <= FUNCTION_ERROR_LIMIT:
            verdict = f"so it is not compressible to that width; keep more {block.noun} or leave it out"
            if block.name not in off:
                verdict = f"though that of the whole model is {gap:.2g}; keep more {block.noun} to be safe"
            found.append(f"{width}s held-out function error is {fit.function_error:.2g}, {verdict}")
        if fit.trains_alike is False:
            found.append(f"{width} will not train like the original; keep more {block.noun}")
    return found


def _warnings_jointly(
    blocks: list[Block], fits: Mapping[str, Fit], gap: float, off: frozenset[str]
) -> list[str]:
    """Judge by the whole model what no error of a single block tells."""
    if gap <= FUNCTION_ERROR_LIMIT:
        return []
    names = [block.name for block in blocks if block.name in off and is_refined(fits[block.name])]
    if names:
        return [
            f"blocks refined jointly ({', '.join(names)}): the held-out function gap is {gap:.2g}, so they "
            "are not compressible to these widths; keep more neurons or leave some out"
        ]
    if off:
        return []
    return [
        f"all blocks together: the held-out function gap is {gap:.2g}, though no single block is as far off; "
        "keep more units or leave some blocks out"
    ]
