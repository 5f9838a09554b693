"""The tables against the step are drawn, and figures that a verdict rests on are details."""

from jlab_compress.report import Chart
from jlab_compress.validation.report.tables import gaps_table, losses_table, models_table, summarise
from jlab_compress.validation.training.side_by_side import Curve
from jlab_compress.validation.verdict import judge


def curve(gap):
    steps = (0, 1, 2, 5, 10)
    losses = tuple(1 / (1 + step) for step in range(10))
    gaps = tuple(gap * step for step in steps)
    return Curve(losses, steps, (), (), gaps, gaps, gaps)


RUNS = [
    {
        "original": curve(0.0),
        "slim": curve(0.1),
        "another batch order": curve(0.2),
        "random subset": curve(0.5),
    }
] * 2


def test_a_table_against_the_step_is_a_chart_with_a_line_for_each_model():
    others = ("slim", "another batch order", "random subset")
    assert gaps_table(RUNS).chart == Chart("step", others)
    assert losses_table(RUNS).chart == Chart("step", ("original", *others))
    assert models_table(RUNS).chart is None


def test_the_gap_against_the_step_is_the_mean_over_seeds():
    table = gaps_table([{"original": curve(0.0), "slim": curve(gap)} for gap in (0.1, 0.3)])
    assert [row[0] for row in table.rows] == [1, 2, 5, 10]
    assert [round(float(row[1] or 0), 12) for row in table.rows] == [0.2, 0.4, 1.0, 2.0]


def test_the_report_shows_the_gap_and_folds_what_it_is_held_against():
    sent = summarise(RUNS, judge((0.5, 0.6), (1.0, 1.2))).to_dict()
    assert sent["details"] == [
        "training_gap_random", "gap_to_floor", "gap_to_floor_low", "gap_to_floor_high", "steps", "seeds",
    ]  # fmt: skip
    assert {"verdict", "function_gap", "training_gap", "noise_floor"} <= set(sent["facts"]) - set(
        sent["details"]
    )
