"""A report says what was measured, warns of what is large, and names sizes before and after."""

from dataclasses import replace
from pathlib import Path

import pytest

from jlab_compress.deployment.onnx.costs import Latency
from jlab_compress.deployment.onnx.export_report import Costs, ExportReport
from jlab_compress.deployment.onnx.form import Form, Port
from jlab_compress.deployment.program.parity import Parity
from jlab_compress.slim.plan import BlockPlan, Plan

FORM = Form(18, 8, (Port("x", "float32", ("batch", 8)),), (Port("y", "float32", ("batch",)),), {})
PARITY = (
    Parity("batch 1", 1e-7, 2e-7, 3e-7),
    Parity("batch 64", 4e-7, 5e-7, 1e-7),
    Parity("batch 2, sequence 9 (the model refuses this size)", None, None, None),
)
PLAN = Plan((BlockPlan("0", "mlp", (), 10, 6, "kept", "weighted"),))
MADE = ExportReport(
    path=Path("m.onnx"),
    precision="float32",
    parity=PARITY,
    float32_parity=PARITY,
    n_parameters=100,
    macs=90,
    n_bytes=1000,
    sha256="abc",
    form=FORM,
    plan=PLAN,
    costs=None,
    facts={"function_gap": 0.1},
    tolerance=1e-5,
    told=("Outputs were held to 1e-05.",),
)
COSTS = Costs((2000, 1000), (200, 100), (180, 90), (Latency(1, "1", (4.0, 2.0)),), (None, 50))


def test_the_largest_differences_are_over_all_sizes_and_the_gap_at_the_largest_batch():
    assert (MADE.max_abs_diff, MADE.max_rel_diff, MADE.max_gap, MADE.gap) == (4e-7, 5e-7, 3e-7, 1e-7)


def test_without_the_original_there_is_only_after():
    facts = MADE.report.facts
    told = {name for name in facts if name.endswith(("_before", "_after"))}
    assert told == {"onnx_bytes_after", "parameters_after", "macs_after"}
    assert facts["function_gap"] == 0.1
    assert [table.title for table in MADE.report.tables] == [
        "The file against the model", "Inputs and outputs", "Blocks",
    ]  # fmt: skip


def test_with_the_original_every_cost_stands_before_and_after():
    report = replace(MADE, costs=COSTS).report
    assert (report.facts["macs_before"], report.facts["macs_after"]) == (180, 90)
    assert (report.facts["latency_ms_before"], report.facts["latency_ms_after"]) == (4.0, 2.0)
    sizes, latency = report.tables[:2]
    assert sizes.rows[0] == ("bytes of the file", 2000, 1000, 2.0)
    assert sizes.rows[-1][-1] is None  # a memory that could not be read has no ratio
    assert latency.rows == ((1, "1", 4.0, 2.0, 2.0, 2.0),)


def test_what_the_outputs_were_held_to_is_told():
    assert MADE.report.notes[0] == "Outputs were held to 1e-05."
    assert not MADE.is_converted
    assert replace(MADE, parity=PARITY[:1]).is_converted


def test_a_size_that_was_not_compared_is_said():
    assert MADE.report.warnings == (
        "Not compared at batch 2, sequence 9 (the model refuses this size).",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("precision", "gap", "rel", "words"),
    [
        ("int8", 0.2, 0.3, "int8 moves the outputs by 20.0% of their norm at batch 64"),
        ("float32", 1e-6, 1e-4, "Single values are up to 1.0e-04 of the largest off"),
    ],
)
def test_what_is_large_is_warned_about(precision, gap, rel, words):
    worse = (PARITY[0], Parity("batch 64", 0.0, rel, gap))
    exact = worse if precision == "float32" else PARITY
    warnings = replace(MADE, precision=precision, parity=worse, float32_parity=exact).report.warnings
    assert len(warnings) == 1
    assert warnings[0].startswith(words)
