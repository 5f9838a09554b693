"""Pictures of a validation as SVG: no script, no fixed background, the same bytes for the same values."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.style
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from jlab_compress.core.cloud import Cloud
from jlab_compress.report import Figure
from jlab_compress.validation.measures.curve import HELD_OUT_LOSS, TRAINING_GAP, Curves, final
from jlab_compress.validation.measures.snapshot import Snapshot
from jlab_compress.validation.roles import FUNCTION, ORIGINAL, RANDOM, REORDERED, SLIM

INK = "#7f7f7f"  # the grey with about equal contrast on white and on black; the hues are as light
STYLES: dict[str, tuple[str, str, float]] = {
    ORIGINAL: ("#3d85c6", "-", 2.4),
    SLIM: ("#d9730d", "-", 1.6),
    RANDOM: ("#a35fcf", "--", 1.3),
    FUNCTION: ("#2e9e62", "-.", 1.3),
    REORDERED: (INK, ":", 1.6),
}
_LOOK = {
    "svg.hashsalt": "jlab-compress",
    "svg.fonttype": "path",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
} | {
    f"{name}color": INK
    for name in (
        "text.",
        "axes.edge",
        "axes.label",
        "axes.title",
        "xtick.",
        "ytick.",
        "xtick.label",
        "ytick.label",
    )
}
MOST_DOTS = 600
MOST_CLOUDS = 3


def pictures(curves: Curves, tolerance: float, before: Snapshot, after: Snapshot) -> tuple[Figure, ...]:
    """Draw a validation: losses, gaps, and the neurons of the first blocks before and after training."""
    blocks = list(before.clouds)[:MOST_CLOUDS]
    clouds = (plot_clouds(name, before.clouds[name], after.clouds[name]) for name in blocks)
    return (plot_losses(curves), plot_gaps(curves, tolerance), *clouds)


def plot_losses(curves: Curves) -> Figure:
    """Draw the loss of each model against the step, with the band of the original over batch orders.

    Held-out losses where there are any, else training losses smoothed over a tenth of the steps; lines
    are means over seeds.
    """
    held_out = bool(curves[0][SLIM].of(HELD_OUT_LOSS))
    kind = "held-out loss" if held_out else "training loss"
    with _canvas(1) as (canvas, (axes,)):
        for name in (name for name in curves[0] if name != REORDERED):
            steps, values = _loss_lines(curves, name, held_out)
            _line(axes, steps, values.mean(0), name)
        if REORDERED in curves[0]:
            steps, values = _loss_lines(curves, (ORIGINAL, REORDERED), held_out)
            axes.fill_between(
                steps,
                values.min(0),
                values.max(0),
                color=STYLES[ORIGINAL][0],
                alpha=0.25,
                lw=0,
                label="noise band",
            )
        axes.set(xlabel="step", ylabel=kind, title="Loss: do the curves lie in the band?")
        _log_if_wide(axes)
        _legend(canvas, axes)
        svg = _svg(canvas)
    alt = f"{kind.capitalize()} against the step for {', '.join(curves[0])}."
    return Figure("Loss curves", svg, alt)


def plot_gaps(curves: Curves, tolerance: float | None = None) -> Figure:
    """Draw the training gap of each model against the step: means over seeds, with the range for two.

    A thin line marks the tolerance below which a gap counts as none, a shade the steps that are judged.
    """
    names = [name for name in curves[0] if name != ORIGINAL]
    steps = np.array(curves[0][SLIM].recorded[1:])
    with _canvas(1) as (canvas, (axes,)):
        for name in names:
            values = np.array([run[name].of(TRAINING_GAP)[1:] for run in curves])
            label = "noise floor" if name == REORDERED else name
            _line(axes, steps, values.mean(0), name, label=label)
            if name in (SLIM, REORDERED):
                colour = STYLES[name][0]
                axes.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0)
        if tolerance:
            axes.axhline(tolerance, color=INK, lw=0.8, label="tolerance")
        axes.set(xlabel="step", ylabel="training gap", title="Training gap: is slim below the noise floor?")
        axes.set_yscale("log")
        axes.axvspan(steps[-1] / 2, steps[-1], color=INK, alpha=0.12, lw=0, label="judged")
        _legend(canvas, axes)
        svg = _svg(canvas)
    last = ", ".join(f"{name} {final(curves, name, TRAINING_GAP):.3g}" for name in names)
    return Figure("Training gap", svg, f"Training gap against the step; at the end: {last}.")


def plot_clouds(name: str, before: tuple[Cloud, Cloud], after: tuple[Cloud, Cloud]) -> Figure:
    """Draw a block's neurons in both models before and after training.

    Coordinates are the two leading principal ones of the original's cloud at that time; a circle's area
    grows with its multiplicity. Of more than 600 original neurons an even share is drawn.
    """
    with _canvas(2) as (canvas, panels):
        for axes, (wide, narrow), when in zip(panels, (before, after), ("before", "after"), strict=True):
            dots, circles = _leading_coordinates(wide, narrow)
            dots = dots[:: max(1, -(-len(dots) // MOST_DOTS))]
            axes.scatter(
                dots[:, 0], dots[:, 1], s=7, color=STYLES[ORIGINAL][0], alpha=0.9, lw=0, label=ORIGINAL
            )
            counts = narrow.multiplicities.double().cpu().numpy()
            areas = 5 + 60 * counts / counts.mean()
            axes.scatter(
                circles[:, 0],
                circles[:, 1],
                s=areas,
                facecolor="none",
                edgecolor=STYLES[SLIM][0],
                lw=1.2,
                label=SLIM,
            )
            axes.set(title=f"{when} training", xlabel="first coordinate")
        canvas.suptitle(f"Neurons of block {name}")
        panels[0].set_ylabel("second coordinate")
        _legend(canvas, panels[0])
        svg = _svg(canvas)
    sizes = f"{len(before[0].points)} neurons and {len(before[1].points)} weighted ones"
    return Figure(f"Neurons of block {name}", svg, f"Block {name}: {sizes}, before and after training.")


def _loss_lines(
    curves: Curves, names: str | tuple[str, ...], held_out: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    chosen = [run[name] for name in ((names,) if isinstance(names, str) else names) for run in curves]
    if held_out:
        return np.array(chosen[0].recorded, float), np.array([curve.of(HELD_OUT_LOSS) for curve in chosen])
    width = max(1, len(chosen[0].losses) // 10)
    window = np.ones(width) / width
    smooth = np.array([np.convolve(curve.losses, window, "valid") for curve in chosen])
    return np.arange(smooth.shape[1], dtype=np.float64) + width, np.asarray(smooth, np.float64)


def _leading_coordinates(wide: Cloud, narrow: Cloud) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = wide.points.detach().double().cpu()
    centre = points.mean(0)
    _, _, axes = torch.linalg.svd(points - centre, full_matrices=False)
    axes = axes[:2] * torch.where(axes[:2].sum(1, keepdim=True) < 0, -1.0, 1.0)  # svd leaves the sign open
    return _project(wide, centre, axes), _project(narrow, centre, axes)


def _project(cloud: Cloud, centre: torch.Tensor, axes: torch.Tensor) -> NDArray[np.float64]:
    flat = (cloud.points.detach().double().cpu() - centre) @ axes.T
    return np.asarray(torch.nn.functional.pad(flat, (0, 2 - flat.shape[1])).numpy(), dtype=np.float64)


def _line(
    axes: Axes, steps: NDArray[np.float64], values: NDArray[np.float64], name: str, label: str | None = None
) -> None:
    colour, dashes, width = STYLES[name]
    axes.plot(steps, values, color=colour, ls=dashes, lw=width, label=label or name)


def _legend(canvas: Canvas, axes: Axes) -> None:
    """Put the legend below the axes, where it hides no line."""
    canvas.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)


def _log_if_wide(axes: Axes) -> None:
    low, high = axes.dataLim.intervaly
    if low > 0 and high / low > 20:
        axes.set_yscale("log")


@contextmanager
def _canvas(panels: int) -> Iterator[tuple[Canvas, list[Axes]]]:
    with matplotlib.style.context(["default", _LOOK]):
        canvas = Canvas(figsize=(6.4 if panels == 1 else 8.4, 4.2), layout="constrained")
        canvas.patch.set_alpha(0)
        axes = [canvas.add_subplot(1, panels, number + 1, facecolor="none") for number in range(panels)]
        yield canvas, axes


def _svg(canvas: Canvas) -> str:
    buffer = io.StringIO()
    FigureCanvasSVG(canvas).print_svg(buffer, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()
