"""What the report of a slim model must tell beside its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jlab_compress.compression.prepared import Prepared
from jlab_compress.fitting.fit import Fit
from jlab_compress.slim.attributes import drops_weights

AVERAGE = "in training mode the slim model computes like the original on average only."


def notes_on(prepared: Prepared, fits: Mapping[str, Fit], unsaid: Sequence[str] = ()) -> tuple[str, ...]:
    """Return what a reader must know of a slim model with these fits by block, whatever its aim.

    `unsaid` are blocks whose new width its configuration has no field for.
    """
    blocks = [block for block in prepared.blocks if block.name in fits]
    notes = _notes_of_fits(fits)
    if prepared.cut:
        notes.append(
            "The calibration holds more values per batch than the model takes; only the first were used."
        )
    if conv := [block.name for block in blocks if block.kind == "conv"]:
        notes.append(
            f"Errors of {', '.join(conv)} are those of what channels add at single positions, before pooling."
        )
    if not prepared.held:
        together = any(call.rows >= 4 for call in prepared.calls)
        why = "Calibration rows depend too much on one another" if together else "Too few calibration rows"
        notes.append(f"{why} to hold some out: the function gap is on rows that fits have seen.")
    heads = [block.name for block in blocks if block.kind == "attention"]
    if loose := [name for name in heads if drops_weights(prepared.original, name)]:
        notes.append(f"Dropout acts on attention weights of {', '.join(loose)}: {AVERAGE}")
    if dropped := [block.name for block in blocks if block.dropout]:
        notes.append(f"Dropout acts on hidden neurons of {', '.join(dropped)}: {AVERAGE}")
    if unsaid:
        notes.append(
            f"The configuration has no field for the new width of {', '.join(unsaid)}, so from_pretrained "
            "will refuse what save_pretrained writes; use jlab_compress.save and load."
        )
    return (*notes, *prepared.blocks.notes)


def _notes_of_fits(fits: Mapping[str, Fit]) -> list[str]:
    """Return the notes of all fits, each once with the names of its blocks."""
    names: dict[str, list[str]] = {}
    for name, fit in fits.items():
        for note in fit.notes:
            names.setdefault(note, []).append(name)
    return [f"block{'s' if len(of) > 1 else ''} {', '.join(of)}: {note}" for note, of in names.items()]
