"""The report reads the same as text, HTML and JSON, and shows text as text."""

import json
import re
from dataclasses import dataclass, replace

import pytest

from jlab_compress.report import Chart, Figure, Report, Reported, Table, format_scalar

REPORT = Report(
    "A <b>title</b>",
    "One sentence & more.",
    {"width_before": 1024, "gap": float("nan")},
    tables=(Table("Blocks", ("name", "width"), (("<script>x</script>", 3), ("b", 12))),),
    figures=(Figure("f", "<svg xmlns='http://www.w3.org/2000/svg'/>", 'a "picture"'),),
    warnings=("careful <i>",),
    notes=("n",),
)


def test_html_escapes_every_text_and_holds_no_script():
    page = REPORT._repr_html_()
    assert "<script" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;x&lt;/script&gt;" in page
    assert 'alt="a &quot;picture&quot;"' in page
    assert "data:image/svg+xml;base64," in page


def test_pictures_come_after_the_first_table():
    more = Table("Long", ("n",), ((1,),))
    page = replace(REPORT, tables=(*REPORT.tables, more))._repr_html_()
    assert page.index("Blocks") < page.index("<img") < page.index("Long")


def test_a_warning_is_a_word_and_not_a_sign_or_a_colour():
    assert "Warning: careful <i>" in str(REPORT).splitlines()
    assert "<strong>Warning: </strong>careful &lt;i&gt;" in REPORT._repr_html_()


def test_text_aligns_numbers_right():
    lines = str(REPORT).splitlines()
    assert lines[0] == "A <b>title</b>"
    at = lines.index("Blocks")
    assert len({line.rfind(end) for line, end in [(lines[at + 2], "3"), (lines[at + 3], "2")]}) == 1


def test_json_is_strict_even_with_values_that_are_not_finite():
    data = json.loads(REPORT.to_json())
    assert data["facts"] == {"width_before": 1024, "gap": "nan"}
    assert data["tables"][0]["rows"] == [["<script>x</script>", 3], ["b", 12]]


def test_ragged_row_is_refused():
    with pytest.raises(ValueError, match="a row has 1 values for 2 columns"):
        Table("t", ("a", "b"), ((1,),))


def test_a_chart_names_columns_of_its_table():
    table = Table("t", ("step", "slim"), ((1, 0.5),), Chart("step", ("slim",)))
    assert table.to_dict()["chart"] == {"x": "step", "y": ["slim"], "by": None, "log": False}
    for chart in (Chart("epoch", ("slim",)), Chart("step", ("loss",)), Chart("step", ("slim",), by="block")):
        with pytest.raises(
            ValueError, match=r"its chart draws '(epoch|loss|block)', expected one of its columns: step, slim"
        ):
            replace(table, chart=chart)


def test_details_are_the_facts_that_are_there():
    report = Report("R", facts={"gap": 0.1, "sha256": "ab"}, details=("sha256", "opset"))
    assert report.to_dict()["details"] == ["sha256"]
    assert "sha256" in str(report), "text and HTML show every fact"
    assert "sha256" in report._repr_html_()


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (True, "yes"), (1234567, "1,234,567"), (0.123456, "0.1235"), (1e-9, "1e-09"), ("a", "a")],
)
def test_scalars_read_well(value, text):
    assert format_scalar(value) == text


def test_what_is_known_before_and_after_stands_side_by_side_in_html():
    page = Report(
        "R", facts={"bytes_before": 20, "gap": 0.5, "bytes_after": 10, "left_before": 1}
    )._repr_html_()
    rows = re.findall(r"<tr>(.*?)</tr>", page)
    told = [re.sub(r"<[^>]*>", "|", row).replace("||", "|").strip("|") for row in rows]
    assert told == ["before|after", "bytes|20|10", "gap|0.5", "left before|1"]


def test_a_result_shows_itself_as_its_report_and_not_as_a_list_of_fields():
    @dataclass(frozen=True, repr=False)
    class Held(Reported):
        report: Report
        kind = "held"

    class Made(Reported, tuple[int, ...]):
        __slots__ = ()
        kind = "made"

        @property
        def report(self) -> Report:
            return Report("Made", f"{len(self)} of them.")

    assert repr(Held(REPORT)) == str(REPORT)
    assert Held(REPORT)._repr_html_() == REPORT._repr_html_()
    assert str(Made((1, 2))) == "Made\n2 of them."
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'report'"):
        Held()
