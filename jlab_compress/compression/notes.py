"""What the report of a slim model must tell beside its figures."""

from __future__ import annotations

from collections.abc import Mapping

from jlab_compress.compression.prepared import Prepared
from jlab_compress.fitting.fit import Fit
from jlab_compress.slim.attributes import drops_weights


def notes_on(prepared: Prepared, fits: Mapping[str, Fit]) -> tuple[str, ...]:
    """Return what a reader must know of a slim model with these fits by block, whatever its aim."""
    blocks = [block for block in prepared.blocks if block.name in fits]
    of_fits: dict[str, list[str]] = {}
    for block in blocks:
        for note in fits[block.name].notes:
            of_fits.setdefault(note, []).append(block.name)
    notes = [
        f"block{'s' if len(names) > 1 else ''} {', '.join(names)}: {note}" for note, names in of_fits.items()
    ]
    if prepared.cut:
        notes.append(
            "The calibration holds more values per batch than the model takes; only the first were used."
        )
    conv = [block.name for block in blocks if block.kind == "conv"]
    if conv:
        notes.append(
            f"Errors of {', '.join(conv)} are those of what channels add at single positions, before pooling."
        )
    if not prepared.held:
        notes.append(
            "Too few calibration rows to hold some out: the function gap is on rows that fits have seen."
        )
    heads = [block.name for block in blocks if block.kind == "attention"]
    loose = [name for name in heads if drops_weights(prepared.original, name)]
    if loose:
        notes.append(
            f"Dropout acts on attention weights of {', '.join(loose)}: in training mode the slim model "
            "computes like the original on average only."
        )
    dropped = [block.name for block in blocks if block.dropout]
    if dropped:
        notes.append(
            f"Dropout acts on hidden neurons of {', '.join(dropped)}: in training mode the slim model "
            "computes like the original on average only."
        )
    return tuple(notes)
