"""One schema for everything the package has to say, shown as text, as HTML or as JSON.

A stage hands over a `Report`; how it looks is decided here and nowhere else. The HTML holds no
script and pictures are inline images, so a saved, untrusted or converted notebook shows it whole.
"""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, ClassVar

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Chart:
    """Which columns of a table are drawn as lines; what shows no pictures leaves it out.

    Parameters
    ----------
    x : str
        The column along the horizontal axis.
    y : tuple of str
        The columns along the vertical axis.
    by : str or None
        The column that names the line to which a row belongs. None makes each column of `y` one line.
    log : bool
        Whether `x` is on a logarithmic axis.
    """

    x: str
    y: tuple[str, ...]
    by: str | None = None
    log: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of plain values under named columns.

    Parameters
    ----------
    title : str
        What the rows are, as a caption.
    columns : tuple of str
        One name per column.
    rows : tuple of tuple
        Each as long as `columns`.
    chart : Chart or None
        How the rows are drawn, where they are.
    repeats : bool
        Whether the facts of the report hold the same values, so that a view that shows those before and
        after side by side can leave the table out.

    Raises
    ------
    ValueError
        If a row is not as long as `columns`, or the chart names a column that is not there.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Scalar, ...], ...]
    chart: Chart | None = None
    repeats: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}: a row has {len(row)} values for {len(self.columns)} columns; "
                    "give one value per column"
                )
        drawn = () if self.chart is None else (self.chart.x, *self.chart.y, self.chart.by or self.chart.x)
        for name in drawn:
            if name not in self.columns:
                raise ValueError(
                    f"table {self.title!r}: its chart draws {name!r}, expected one of its columns: "
                    f"{', '.join(self.columns)}"
                )

    def to_dict(self) -> dict[str, object]:
        """Return the table as plain JSON types."""
        chart = None if self.chart is None else {**asdict(self.chart), "y": list(self.chart.y)}
        return {
            "title": self.title,
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
            "chart": chart,
            "repeats": self.repeats,
        }


@dataclass(frozen=True)
class Figure:
    """A picture with the words that stand for it where it cannot be seen.

    Parameters
    ----------
    title : str
        Caption.
    svg : str
        The picture as one SVG document.
    alt : str
        What the picture shows, in one sentence.
    """

    title: str
    svg: str
    alt: str


@dataclass(frozen=True)
class Report:
    """What one stage found: a sentence, named figures, tables, pictures, warnings and notes.

    Parameters
    ----------
    title : str
        What was done.
    summary : str
        The result in one sentence.
    facts : mapping of str to scalar
        Named values, in the order in which they are shown; the keys are part of the JSON schema.
    tables, figures, warnings, notes : tuple
        Shown below the facts, in HTML the figures right after the first table; a warning asks for a
        decision, a note states a condition.
    details : tuple of str
        Keys of facts that are of interest when something is wrong; a view may fold them away.

    Examples
    --------
    >>> print(Report("Compression", "1 block made slimmer.", {"width_after": 64}))
    Compression
    1 block made slimmer.
      width after  64
    """

    title: str
    summary: str = ""
    facts: Mapping[str, Scalar] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return the report as plain JSON types; pictures are left out, their tables stay."""
        return {
            "title": self.title,
            "summary": self.summary,
            "facts": dict(self.facts),
            "details": [key for key in self.details if key in self.facts],
            "tables": [table.to_dict() for table in self.tables],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """Return `to_dict` as indented JSON; a value that is not finite becomes a string."""
        return json.dumps(_finite(self.to_dict()), indent=2, ensure_ascii=False, allow_nan=False)

    def __repr__(self) -> str:
        return render_text(self)

    def _repr_html_(self) -> str:
        return render_html(self)


class Reported:
    """A result that shows itself as its report: as text in a shell, as a card in a notebook.

    A class of results has a `report`, as a field or a property, and a `kind`, by which the panels know where
    to show it: "blocks", "sweep", "compression", "validation", "export" or "served".

    Examples
    --------
    >>> @dataclass(frozen=True, repr=False)
    ... class Measured(Reported):
    ...     report: Report
    ...     kind = "measure"
    >>> Measured(Report("Measured", "All is well."))
    Measured
    All is well.
    """

    __slots__ = ()
    kind: ClassVar[str]

    if TYPE_CHECKING:

        @property
        def report(self) -> Report:
            """What was found."""

    def __repr__(self) -> str:
        return render_text(self.report)

    def _repr_html_(self) -> str:
        return render_html(self.report)


def format_scalar(value: Scalar) -> str:
    """Return a value as it is read by a person: 4 significant digits, thousands apart, no `None`."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    return value


def render_text(report: Report) -> str:
    """Return the report as aligned plain text."""
    lines = [report.title] + ([report.summary] if report.summary else [])
    keys = {key: _words(key) for key in report.facts}
    wide = max((len(words) for words in keys.values()), default=0)
    lines += [f"  {words:<{wide}}  {format_scalar(report.facts[key])}" for key, words in keys.items()]
    for table in report.tables:
        lines += ["", table.title, *_text_rows(table)]
    lines += [f"Warning: {warning}" for warning in report.warnings]
    lines += [f"* {note}" for note in report.notes]
    return "\n".join(lines)


def _text_rows(table: Table) -> list[str]:
    cells = [[_words(name) for name in table.columns]] + [
        [format_scalar(v) for v in row] for row in table.rows
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    numeric = [_is_numeric(table, i) for i in range(len(table.columns))]
    return [
        "  "
        + "  ".join(
            f"{cell:>{width}}" if right else f"{cell:<{width}}"
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in cells
    ]


def render_html(report: Report) -> str:
    """Return the report as one HTML card without scripts, readable on light and dark pages."""
    parts = [f'<h4 style="margin:0 0 4px 0">{html.escape(report.title)}</h4>']
    if report.summary:
        parts.append(f'<p style="margin:0 0 8px 0">{html.escape(report.summary)}</p>')
    parts += [_html_notice("Warning: ", text) for text in report.warnings]
    parts += _html_facts(report.facts)
    parts += [_html_table(table) for table in report.tables[:1]]
    parts += [_html_figure(figure) for figure in report.figures]
    parts += [_html_table(table) for table in report.tables[1:]]
    parts += [_html_notice("", text) for text in report.notes]
    return f'<div class="jlab-compress-report" style="max-width:960px">{"".join(parts)}</div>'


def _html_facts(facts: Mapping[str, Scalar]) -> list[str]:
    """Return the facts as tables: `x_before` and `x_after` side by side, then the others."""
    names = [key.removesuffix("_before") for key in facts if key.endswith("_before")]
    pairs = {name: (f"{name}_before", f"{name}_after") for name in names if f"{name}_after" in facts}
    told = {key for pair in pairs.values() for key in pair}
    head = '<tr><td></td><th scope="col">before</th><th scope="col">after</th></tr>' if pairs else ""
    tables = [
        head + "".join(_html_fact(name, *(facts[key] for key in pair)) for name, pair in pairs.items()),
        "".join(_html_fact(key, value) for key, value in facts.items() if key not in told),
    ]
    return [f'<table style="margin:0 0 8px 0">{rows}</table>' for rows in tables if rows]


def _html_fact(key: str, *values: Scalar) -> str:
    cells = (
        f'<td style="text-align:right;overflow-wrap:anywhere">{html.escape(format_scalar(value))}</td>'
        for value in values
    )
    style = "text-align:left;font-weight:normal;opacity:.75"
    return f'<tr><th scope="row" style="{style}">{html.escape(_words(key))}</th>{"".join(cells)}</tr>'


def _html_table(table: Table) -> str:
    numeric = [_is_numeric(table, i) for i in range(len(table.columns))]
    align = ["text-align:right" if right else "text-align:left" for right in numeric]
    head = "".join(
        f'<th scope="col" style="{style}">{html.escape(_words(name))}</th>'
        for name, style in zip(table.columns, align, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="{style}">{html.escape(format_scalar(value))}</td>'
            for value, style in zip(row, align, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<table style="margin:0 0 8px 0"><caption style="text-align:left;font-weight:bold">'
        f"{html.escape(table.title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _html_figure(figure: Figure) -> str:
    data = base64.b64encode(figure.svg.encode()).decode()
    return (
        f'<p style="margin:0 0 8px 0"><img alt="{html.escape(figure.alt)}" '
        f'title="{html.escape(figure.title)}" '
        f'style="max-width:100%" src="data:image/svg+xml;base64,{data}"></p>'
    )


def _html_notice(lead: str, text: str) -> str:
    return f'<p style="margin:0 0 4px 0"><strong>{lead}</strong>{html.escape(text)}</p>'


def _words(key: str) -> str:
    return key.replace("_", " ")


def _is_numeric(table: Table, column: int) -> bool:
    values = [row[column] for row in table.rows if row[column] is not None]
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
