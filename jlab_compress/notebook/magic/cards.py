"""Cards for any torch module, for those who ask: `%config Compress.cards = True`.

Results of the package (blocks, compressions, validations, exports) show themselves without this.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from jlab_compress.graph.costs import count_bytes
from jlab_compress.notebook.kernel.block_cache import recall_blocks
from jlab_compress.report import Report, Scalar, Table, render_html, render_text

ROWS = 60


def show_cards(shell: Any, wanted: bool) -> None:
    """Show modules as cards in this shell, or as torch shows them.

    Parameters
    ----------
    shell : InteractiveShell
        Its text and HTML formatters are changed.
    wanted : bool
        False takes back what an earlier call with True did.
    """
    for kind, printer in (("text/html", _html), ("text/plain", _text)):
        formatter = shell.display_formatter.formatters[kind]
        if wanted:
            formatter.for_type(nn.Module, printer)
        elif formatter.for_type(nn.Module) is printer:
            formatter.pop(nn.Module)


def module_report(model: nn.Module) -> Report:
    """Return the card of a module: its size, its state and its blocks.

    Parameters
    ----------
    model : nn.Module
        Never changed; its blocks are found on copies, once per shape.

    Returns
    -------
    Report
        Blocks that cannot be read, or not at once, are left out with a note; of many the first are shown.

    Examples
    --------
    >>> print(module_report(nn.ReLU()))
    ReLU
    A module without parameters.
    """
    name, parameters = type(model).__name__, list(model.parameters())
    if not parameters:
        return Report(name, "A module without parameters.")
    if any(is_lazy(p) for p in parameters):
        return Report(name, "Some parameters have no shape yet; run the model once.")
    facts: dict[str, Scalar] = {
        "parameters": sum(p.numel() for p in parameters),
        "bytes": count_bytes(model),
        "dtype": _listed({str(p.dtype).removeprefix("torch.") for p in parameters}),
        "device": _listed({str(p.device) for p in parameters}),
        "mode": "training" if model.training else "evaluation",
    }
    blocks = recall_blocks(model)
    if isinstance(blocks, str):
        return Report(name, facts=facts, notes=(f"The blocks cannot be read: {blocks}",))
    if blocks is None:
        return Report(name, facts=facts, notes=("A large model: `%compress inspect` lists its blocks.",))
    report = blocks.report
    tables = tuple(Table(t.title, t.columns, t.rows[:ROWS]) for t in report.tables)
    left = sum(max(len(t.rows) - ROWS, 0) for t in report.tables)
    more = (f"{left:,} more blocks: `jlab_compress.find_blocks` shows all.",) if left else ()
    return Report(name, report.summary, facts, tables, notes=(*report.notes, *more))


def _html(model: nn.Module) -> str:
    return render_html(module_report(model))


def _text(model: nn.Module, printer: Any, cycle: bool) -> None:
    nested = len(printer.stack) > 1
    printer.text(repr(model) if nested else render_text(module_report(model)))


def _listed(values: set[str]) -> str:
    return ", ".join(sorted(values))
