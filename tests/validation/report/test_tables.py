"""What was measured is shown: a column each, charts against the step, details behind a verdict."""

import math
from dataclasses import replace

from jlab_compress.report import Chart
from jlab_compress.validation.measures.curve import MEASURES, Curve, Measure
from jlab_compress.validation.measures.snapshot import Snapshot
from jlab_compress.validation.measures.tangent_kernels import KernelMatch
from jlab_compress.validation.measures.transport import CloudDistance
from jlab_compress.validation.report.tables import models_table, parameter_tables, step_tables, summarise
from jlab_compress.validation.verdict import judge

STEPS = (0, 1, 2, 5, 10)


def curve(gap, **further):
    losses = tuple(1 / (1 + step) for step in range(10))
    gaps = tuple(gap * step for step in STEPS)
    values = {"training gap": gaps, "function gap": gaps, "training loss": (float("nan"), 4.0, 3.0, 2.0, 1.0)}
    return Curve(losses, STEPS, values | {name.replace("_", " "): taken for name, taken in further.items()})


RUNS = [
    {
        "original": curve(0.0),
        "slim": curve(0.1),
        "another batch order": curve(0.2),
        "random subset": curve(0.5),
    }
] * 2
MATCH = KernelMatch(0.9, 0.2)
SNAPSHOT = Snapshot({}, {"0": CloudDistance(0.5, 0.6)}, {"slim": MATCH})


def test_a_table_against_the_step_is_a_chart_with_a_line_for_each_model():
    others = ("slim", "another batch order", "random subset")
    gaps, losses = step_tables(RUNS)
    assert (gaps.title, gaps.chart) == (
        "Training gap against the step, mean over seeds", Chart("step", others),
    )  # fmt: skip
    assert losses.title == "Training loss of the batches just before the step, mean over seeds"
    assert losses.chart == Chart("step", ("original", *others))
    assert models_table(RUNS).chart is None


def test_the_gap_against_the_step_is_the_mean_over_seeds():
    table = step_tables([{"original": curve(0.0), "slim": curve(gap)} for gap in (0.1, 0.3)])[0]
    assert [row[0] for row in table.rows] == [1, 2, 5, 10]
    assert [round(float(row[1] or 0), 12) for row in table.rows] == [0.2, 0.4, 1.0, 2.0]


def test_the_table_of_models_has_what_was_taken_and_no_gap_of_the_original():
    table = models_table(RUNS)
    assert table.columns == (
        "model", "training gap", "function gap before", "function gap after", "training loss",
    )  # fmt: skip
    assert table.rows[0] == ("original", None, None, None, 1.0)
    assert table.rows[1] == ("slim", 1.0, 0.0, 1.0, 1.0)


def test_a_held_out_loss_takes_the_place_of_that_of_training():
    judged = [{name: curve(0.1, **{"held-out_loss": STEPS}) for name in ("original", "slim")}]
    assert models_table(judged).columns[-2:] == ("training loss", "held-out loss")
    assert [table.title for table in step_tables(judged)][1:] == [
        "Held-out loss against the step, mean over seeds"
    ]


def test_a_measure_is_one_row():
    made = Measure("largest output", lambda at: None, before=True, against_steps="Largest output")
    runs = [{name: curve(0.1, largest_output=STEPS) for name in ("original", "slim")}]
    assert "largest output before" not in models_table(runs).columns
    MEASURES.append(made)
    try:
        assert models_table(runs).columns[-2:] == ("largest output before", "largest output after")
        assert models_table(runs).rows[0][-2:] == (0, 10)
        assert step_tables(runs)[-1].title == "Largest output, mean over seeds"
    finally:
        MEASURES.remove(made)


def test_the_report_shows_the_gap_and_folds_what_it_is_held_against():
    sent = summarise(RUNS, judge((0.5, 0.6), (1.0, 1.2)), (SNAPSHOT, SNAPSHOT)).to_dict()
    assert sent["details"] == [
        "training_gap_random", "gap_to_floor", "gap_to_floor_low", "gap_to_floor_high", "steps", "seeds",
    ]  # fmt: skip
    assert {"verdict", "function_gap", "training_gap", "noise_floor"} <= set(sent["facts"]) - set(
        sent["details"]
    )


def test_parameters_stand_before_and_after_and_clouds_only_where_they_were_measured():
    clouds, kernels = parameter_tables(SNAPSHOT, SNAPSHOT)
    assert clouds.rows == (("0", 0.5, 0.5, 0.6, 0.6),)
    assert kernels.rows == (("slim", 0.9, 0.9, 0.2, 0.2),)
    unmeasured = Snapshot({}, {}, {"slim": MATCH})
    assert [table.title for table in parameter_tables(unmeasured, unmeasured)] == [kernels.title]


def test_a_model_that_diverged_is_warned_about():
    lost = [one | {"slim": replace(one["slim"], diverged_at=7)} for one in RUNS]
    report = summarise(lost, judge((math.inf, math.inf), (1.0, 1.2)), (SNAPSHOT, SNAPSHOT))
    assert report.warnings[0] == "The model 'slim' diverged at step 7, run 0; its gaps count as infinite."
