"""The panel as a still picture: a table of blocks and their widths as bars."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from jlab_compress.report import Figure, Report, Table

MOST_BARS = 24
ROW, LABEL, LENGTH = 18, 150, 220


def width_bars(state: Mapping[str, Any]) -> Report:
    """Return a report on the first model of a state message: its blocks, and the widths as a picture."""
    models = state.get("models") or []
    if not models:
        return Report("Compress", "No torch model is alive.")
    model = models[0]
    blocks = model["blocks"] or []
    counted = f"{len(blocks)} block" + ("" if len(blocks) == 1 else "s")
    summary = f"{model['name']}: {model['class']}, {model['parameters']:,} parameters, {counted}."
    columns = ("block", "kind", "width", "parameters", "locked")
    rows = tuple(
        tuple(block[column if column != "block" else "name"] for column in columns) for block in blocks
    )
    figures = (Figure("Widths", bars(blocks), f"Bars: the widths of the blocks of {model['name']}."),)
    return Report(
        "Compress", summary, tables=(Table("Blocks", columns, rows),), figures=figures if rows else ()
    )


def bars(blocks: Sequence[Mapping[str, Any]]) -> str:
    """Return an SVG with one bar per block, for light and dark pages alike."""
    shown = blocks[:MOST_BARS]
    widest = max((block["width"] for block in shown), default=1) or 1
    parts = []
    for row, block in enumerate(shown):
        y = row * ROW
        length = LENGTH * block["width"] / widest
        name = html.escape(block["name"] if len(block["name"]) <= 22 else "…" + block["name"][-21:])
        parts.append(
            f'<text x="{LABEL - 6}" y="{y + 13}" text-anchor="end">{name}</text>'
            f'<rect x="{LABEL}" y="{y + 3}" width="{length:.1f}" height="{ROW - 6}" rx="2" fill="#4a90d9"/>'
            f'<text x="{LABEL + length + 5:.1f}" y="{y + 13}">{block["width"]:,}</text>'
        )
    size = f'width="{LABEL + LENGTH + 60}" height="{ROW * len(shown)}"'
    style = 'font-family="sans-serif" font-size="11" fill="#808080"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(parts)}</svg>'
