"""The report of a validation: figures, tables and the conditions under which they hold."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from torch import nn

from jlab_compress.report import Chart, Figure, Report, Scalar, Table
from jlab_compress.slim.conversion import plan_of
from jlab_compress.validation.report.plots import SLIM, Curves, plot_gaps, plot_losses
from jlab_compress.validation.training.references import FUNCTION, RANDOM, REORDERED
from jlab_compress.validation.training.side_by_side import ORIGINAL, Curve
from jlab_compress.validation.verdict import Verdict

N_ROWS = 8  # of the tables against the step
INEXACT = {
    "LBFGS": "its history and line search add up all parameters, so no slim model can follow it exactly",
    "Muon": "it mixes the rows of a matrix, so no slim model can follow it exactly",
    "Adafactor": "its statistics run over the width, so only equal multiplicities can follow it exactly",
}
FACT_NAMES = {SLIM: "training_gap", REORDERED: "noise_floor", RANDOM: "training_gap_random"} | {
    FUNCTION: "training_gap_function_only"
}
RATIO = ("gap_to_floor", "gap_to_floor_low", "gap_to_floor_high")
DETAILS = (FACT_NAMES[RANDOM], FACT_NAMES[FUNCTION], *RATIO, "steps", "seeds")


def summarise(
    curves: Curves,
    verdict: Verdict,
    *,
    figures: tuple[Figure, ...] = (),
    tables: tuple[Table, ...] = (),
    warnings: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Report:
    """Return the report of a validation from its curves and verdict."""
    steps = len(curves[0][SLIM].losses)
    return Report(
        title="Does it train the same?",
        summary=f"{verdict.label.capitalize()} over steps {-(-steps // 2)} to {steps}: {verdict.reason}.",
        facts=_facts(curves, verdict, steps),
        tables=(models_table(curves), gaps_table(curves), losses_table(curves), *tables),
        figures=(plot_losses(curves), plot_gaps(curves, verdict.tolerance), *figures),
        warnings=(*_divergence(curves), *warnings),
        notes=(*notes, *_conditions(curves, steps, verdict.tolerance)),
        details=DETAILS,
    )


def models_table(curves: Curves) -> Table:
    """Return one row per model: gaps, losses and metric at the end, mean over seeds."""
    judged = bool(curves[0][SLIM].held_out_losses), bool(curves[0][SLIM].metrics)
    columns = ["model", "training gap", "function gap before", "function gap after", "final training loss"]
    columns += ["held-out loss"] * judged[0] + ["metric before", "metric after"] * judged[1]
    rows: list[tuple[Scalar, ...]] = []
    for name in curves[0]:
        runs = [run[name] for run in curves]
        row: list[Scalar] = [name]
        row += [fmean(c.training_gaps[-1] for c in runs) if name != ORIGINAL else None]
        row += [fmean(c.function_gaps[i] for c in runs) if name != ORIGINAL else None for i in (0, -1)]
        row += [fmean(tail_loss(c) for c in runs)]
        row += [fmean(c.held_out_losses[-1] for c in runs)] if judged[0] else []
        row += [fmean(c.metrics[i] for c in runs) for i in (0, -1)] if judged[1] else []
        rows.append(tuple(row))
    return Table(f"After {len(curves[0][SLIM].losses)} steps, mean over seeds", tuple(columns), tuple(rows))


def gaps_table(curves: Curves) -> Table:
    """Return the training gap of each model against the step, mean over seeds."""
    names = [name for name in curves[0] if name != ORIGINAL]
    title = "Training gap against the step, mean over seeds"
    return _by_step(curves, title, names, lambda curve, place: curve.training_gaps[place])


def losses_table(curves: Curves) -> Table:
    """Return the loss of each model against the step, mean over seeds: on held-out data if it was judged."""
    if curves[0][SLIM].held_out_losses:
        title = "Held-out loss against the step, mean over seeds"
        return _by_step(curves, title, list(curves[0]), lambda curve, place: curve.held_out_losses[place])
    title = "Training loss of the batches just before the step, mean over seeds"
    return _by_step(
        curves, title, list(curves[0]), lambda curve, place: tail_loss(curve, curve.recorded[place])
    )


def _by_step(curves: Curves, title: str, names: list[str], value: Callable[[Curve, int], float]) -> Table:
    recorded = curves[0][SLIM].recorded
    last = len(recorded) - 1
    places = sorted({1 + (last - 1) * i // (N_ROWS - 1) for i in range(N_ROWS)})
    rows = tuple(
        (recorded[place], *(fmean(value(run[name], place) for run in curves) for name in names))
        for place in places
    )
    return Table(title, ("step", *names), rows, Chart("step", tuple(names)))


def tail_loss(curve: Curve, step: int | None = None) -> float:
    """Return the mean training loss of the last tenth of the steps up to `step`, or up to the end."""
    losses = curve.losses[:step]
    return fmean(losses[-max(1, len(losses) // 10) :])


def _facts(curves: Curves, verdict: Verdict, steps: int) -> dict[str, Scalar]:
    facts: dict[str, Scalar] = {"verdict": verdict.label}
    facts["function_gap"] = curves[0][SLIM].function_gaps[0]
    for name, fact in FACT_NAMES.items():
        if name in curves[0]:
            facts[fact] = fmean(run[name].training_gaps[-1] for run in curves)
    facts["late_training_gap"] = fmean(verdict.gaps)
    facts |= zip(RATIO, (verdict.ratio, verdict.low, verdict.high), strict=True)
    if curves[0][SLIM].metrics:
        for name in (ORIGINAL, SLIM):
            facts[f"metric_{name}_before"] = fmean(run[name].metrics[0] for run in curves)
            facts[f"metric_{name}_after"] = fmean(run[name].metrics[-1] for run in curves)
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
