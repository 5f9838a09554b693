"""The report of a validation: figures, tables and the conditions under which they hold."""

from __future__ import annotations

from statistics import fmean

from torch import nn

from jlab_compress.fitting.criteria import Usability, usability
from jlab_compress.report import Chart, Figure, Report, Scalar, Table
from jlab_compress.slim.conversion import plan_of
from jlab_compress.validation.measures.curve import (
    FUNCTION_GAP,
    HELD_OUT_LOSS,
    MEASURES,
    METRIC,
    TRAINING_GAP,
    TRAINING_LOSS,
    Curves,
    Measure,
    final,
)
from jlab_compress.validation.measures.snapshot import Snapshot
from jlab_compress.validation.roles import FUNCTION, ORIGINAL, RANDOM, REORDERED, SLIM
from jlab_compress.validation.verdict import ALIKE, CANNOT_TELL, DIFFERS, Verdict

UNKNOWN = "whether it trains like the original cannot be told from this run"
ALIKE_OF = {ALIKE: True, DIFFERS: False, CANNOT_TELL: None}
N_ROWS = 8  # of the tables against the step
INEXACT = {
    "LBFGS": "its history and line search add up all parameters, so no slim model trains exactly alike",
    "Muon": "it mixes the rows of a matrix, so no slim model trains exactly alike",
    "Adafactor": "its statistics run over the width, so only with equal multiplicities is training the same",
}
FACT_NAMES = {SLIM: "training_gap", REORDERED: "noise_floor", RANDOM: "training_gap_random"} | {
    FUNCTION: "training_gap_function_only"
}
RATIO = ("gap_to_floor", "gap_to_floor_low", "gap_to_floor_high")
DETAILS = (FACT_NAMES[RANDOM], FACT_NAMES[FUNCTION], *RATIO, "steps", "seeds")


def summarise(
    curves: Curves,
    verdict: Verdict,
    snapshots: tuple[Snapshot, Snapshot],
    *,
    figures: tuple[Figure, ...] = (),
    warnings: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Report:
    """Return the report of a validation from its curves, its verdict and the parameters before and after."""
    steps = len(curves[0][SLIM].losses)
    usable = usability(curves[0][SLIM].of(FUNCTION_GAP)[0], ALIKE_OF[verdict.label], unknown=UNKNOWN)
    judged = f"{verdict.label.capitalize()} over steps {-(-steps // 2)} to {steps}"
    return Report(
        title="Does it train the same?",
        summary=f"{_headline(curves, usable)} {judged}: {verdict.reason}.",
        facts={"usable": usable.answer, **_facts(curves, verdict, steps)},
        tables=(models_table(curves), *step_tables(curves), *parameter_tables(*snapshots)),
        figures=figures,
        warnings=(*_divergence(curves), *warnings),
        notes=(*notes, *_conditions(curves, steps, verdict.tolerance)),
        details=DETAILS,
    )


def _headline(curves: Curves, usable: Usability) -> str:
    if usable.answer != "no":
        return usable.sentence
    return f"{usable.sentence} After training they are off by {final(curves, SLIM, FUNCTION_GAP):.2g}."


def models_table(curves: Curves) -> Table:
    """Return one row per model with every measure that was taken, mean over seeds."""
    shown = [
        (measure, place, f"{measure.name}{when}")
        for measure in MEASURES
        if curves[0][SLIM].of(measure)
        for place, when in _moments(measure)
    ]
    rows = tuple(
        (name, *(_mean(curves, name, measure, place) for measure, place, _ in shown)) for name in curves[0]
    )
    columns = ("model", *(column for _, _, column in shown))
    return Table(f"After {len(curves[0][SLIM].losses)} steps, mean over seeds", columns, rows)


def _moments(measure: Measure) -> list[tuple[int, str]]:
    """Return the places among the recorded steps that the table of models shows, each with its word."""
    both = measure.before and measure.after
    found = [(0, " before")] if measure.before else []
    return found + ([(-1, " after" if both else "")] if measure.after else [])


def _mean(curves: Curves, name: str, measure: Measure, place: int) -> float | None:
    if name == ORIGINAL and not measure.of_original:
        return None
    return fmean(run[name].of(measure)[place] for run in curves)


def step_tables(curves: Curves) -> tuple[Table, ...]:
    """Return each measure that has such a table against the step, mean over seeds.

    The loss is that on held-out data where it was taken, else that of training.
    """
    taken = [m for m in MEASURES if m.against_steps and curves[0][SLIM].of(m)]
    if HELD_OUT_LOSS in taken:
        taken.remove(TRAINING_LOSS)
    return tuple(_by_step(curves, measure) for measure in taken)


def _by_step(curves: Curves, measure: Measure) -> Table:
    recorded = curves[0][SLIM].recorded
    names = [name for name in curves[0] if name != ORIGINAL or measure.of_original]
    last = len(recorded) - 1
    places = sorted({1 + (last - 1) * i // (N_ROWS - 1) for i in range(N_ROWS)})
    rows = tuple(
        (recorded[place], *(fmean(run[name].of(measure)[place] for run in curves) for name in names))
        for place in places
    )
    title = f"{measure.against_steps}, mean over seeds"
    return Table(title, ("step", *names), rows, Chart("step", tuple(names)))


def parameter_tables(before: Snapshot, after: Snapshot) -> tuple[Table, ...]:
    """Return the distances of the neuron clouds and the match of the tangent kernels, side by side."""
    clouds: list[tuple[Scalar, ...]] = []
    for name, start in before.distances.items():
        end = after.distances[name]
        clouds.append((name, start.exact, end.exact, start.sinkhorn, end.sinkhorn))
    kernels: list[tuple[Scalar, ...]] = [
        (name, start.alignment, after.kernels[name].alignment, start.error, after.kernels[name].error)
        for name, start in before.kernels.items()
    ]
    title = "Neuron clouds, slim to original, over the original's spread"
    distances = Table(title, ("block", *_twice("Wasserstein", "Sinkhorn")), tuple(clouds))
    title = "Tangent kernel against the original's"
    match = Table(title, ("model", *_twice("alignment", "error")), tuple(kernels))
    return (distances, match) if clouds else (match,)


def _twice(*columns: str) -> list[str]:
    return [f"{column} {when}" for column in columns for when in ("before", "after")]


def _facts(curves: Curves, verdict: Verdict, steps: int) -> dict[str, Scalar]:
    facts: dict[str, Scalar] = {"verdict": verdict.label}
    facts["function_gap"] = curves[0][SLIM].of(FUNCTION_GAP)[0]
    for name, fact in FACT_NAMES.items():
        if name in curves[0]:
            facts[fact] = final(curves, name, TRAINING_GAP)
    facts["late_training_gap"] = fmean(verdict.gaps)
    facts |= zip(RATIO, (verdict.ratio, verdict.low, verdict.high), strict=True)
    if curves[0][SLIM].of(METRIC):
        for name in (ORIGINAL, SLIM):
            facts[f"metric_{name}_before"] = _mean(curves, name, METRIC, 0)
            facts[f"metric_{name}_after"] = _mean(curves, name, METRIC, -1)
    return facts | {"steps": steps, "seeds": len(curves)}


def _divergence(curves: Curves) -> tuple[str, ...]:
    return tuple(
        f"The model {name!r} diverged at step {curve.diverged_at}, run {number}; its gaps count as infinite."
        for number, run in enumerate(curves)
        for name, curve in run.items()
        if curve.diverged_at is not None
    )


def _conditions(curves: Curves, steps: int, tolerance: float) -> tuple[str, ...]:
    notes = [
        f"Each model trained for {steps} steps on the same batches in the same order, with the same random "
        "state at each step. Training gap: ||(f_slim,t - f_slim,0) - (f_t - f_0)|| / ||f_t - f_0|| on "
        "held-out inputs.",
        f"The verdict compares medians over the later half of the steps, {-(-steps // 2)} to {steps}, seed "
        "by seed; earlier steps have a noise floor of their own, in the table and the picture of the gap.",
        f"Tolerance: a training gap up to {tolerance:.2g} counts as none, also where the noise floor is "
        "lower; it is the thin line in that picture.",
    ]
    if REORDERED in curves[0]:
        notes.append(
            "Noise floor: the training gap of the original itself when it sees the batches in another order. "
            "The interval is Student's 80 % interval of the mean log ratio of gap to floor over the seeds."
        )
    return tuple(notes)


def condition_notes(slim: nn.Module, optimizer: str) -> tuple[str, ...]:
    """Return what cannot be exact in the training of this slim model by an optimizer of this class."""
    notes = [f"{optimizer}: {INEXACT[optimizer]}."] if optimizer in INEXACT else []
    plain = [block.name for block in plan_of(slim).blocks if block.gauge == "plain"]
    if plain:
        notes.append(
            f"Plain gauge ({', '.join(plain)}): rates of Adam and its kin are multiplied by sqrt(n / s) on "
            "the slim model, decoupled weight decay divided by it (adam_rate_factors); SGD needs nothing."
        )
    drops = [n for n, m in slim.named_modules() if isinstance(m, nn.Dropout) and m.p > 0]
    if drops:
        notes.append(
            f"Dropout is on ({', '.join(drops[:4])}{', ...' if len(drops) > 4 else ''}): inside a slim block "
            "it drops c copies at once, so training is equal in the mean only, not step by step."
        )
    return tuple(notes)
