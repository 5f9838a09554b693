"""The slim layer that computes most like the wide one, for models that are not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jlab_compress.fitting.effort import NORMAL, Effort
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.moving.readout import Readout, refine
from jlab_compress.fitting.moving.variable_projection import mixed_rows, project
from jlab_compress.fitting.row_split import Progress, Split, check_fit, counter, relative_error, split_rows
from jlab_compress.fitting.solvers.least_squares import greedy_columns, least_squares

FEWEST_EVALUATIONS = 20
POLISHED = "judged before a last fit on all calibration rows"


def fit_function(
    layer: Layer,
    inputs: Tensor,
    size: int,
    *,
    targets: Tensor | None = None,
    stream: Tensor | None = None,
    readout: Callable[[Tensor], Tensor] | None = None,
    made_up: int = 0,
    move: bool = True,
    seed: int = 0,
    effort: Effort = NORMAL,
    progress: Progress | None = None,
) -> Fit:
    """Fit `size` neurons to the layer's outputs; their training is not looked at.

    Neurons are chosen greedily and refitted, then all of them move: small layers by variable
    projection, large ones and those with something behind them by Adam. Moved nodes are kept only
    where they are better on held-out rows.

    Parameters
    ----------
    layer : Layer
        n neurons.
    inputs : Tensor (q, n_in)
        Calibration rows, as the slim network will see them.
    size : int
        Width s to keep.
    targets : Tensor (q, n_out), optional
        Outputs to reproduce at `inputs`; those of `layer` by default.
    stream : Tensor (q, n_out), optional
        What the network adds to the output (the residual stream); nothing by default.
    readout : callable, optional
        Row-wise map, such as the LayerNorm after the residual, through which outputs are compared:
        readout(stream + output) against readout(stream + targets).
    made_up : int
        How many of the last rows are made up: neurons move on them too, but they neither choose nor judge.
    move : bool
        Whether the chosen neurons move; otherwise they are chosen and refitted only.
    seed : int
        Seed of private generators: same seed, same bits.
    effort : Effort
        Evaluations, steps and mixed rows.
    progress : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    Fit
        Never worse on the held-out rows than greedy selection with refit. With a readout its
        function error is that of the readout.

    Raises
    ------
    ValueError
        If the size or the inputs cannot be used.
    """
    check_fit(layer, inputs, size)
    wide, x = layer.to(torch.float64), inputs.double()
    goal = Goal.make(wide, x, targets, Readout(stream, readout), made_up=made_up, seed=seed)
    fit_rows, all_rows = goal.split.fit, torch.arange(len(x) - made_up)
    start, indices = choose_and_refit(wide, x, size, goal)
    error = goal.held_out_error(start, x)
    if move:
        form: dict[str, Any] = {"free_targets": targets is None, "made_up": made_up, "seed": seed}
        mover = Mover.plan(wide, x, size, goal, **form, effort=effort, progress=progress)
        moved = mover(start, fit_rows, 0.6)
        moved_error = goal.held_out_error(moved, x)
        if moved_error < error:
            final = mover(moved, all_rows, 0.4)
            return Fit(final.to(layer.outgoing.dtype), None, "moved nodes", moved_error, notes=(POLISHED,))
    final = refit(start, x, goal, all_rows)
    return Fit(final.to(layer.outgoing.dtype), indices, "greedy + refit", error, notes=(POLISHED,))


@dataclass(frozen=True)
class Goal:
    """What a fit should reproduce, and where it is compared.

    Parameters
    ----------
    targets : Tensor (q, n_out)
        Wanted outputs.
    readout : Readout
        What stands behind them.
    split : Split
        Rows to fit on and rows to judge on.
    """

    targets: Tensor
    readout: Readout
    split: Split

    @staticmethod
    def make(
        layer: Layer, inputs: Tensor, targets: Tensor | None, readout: Readout, *, made_up: int, seed: int
    ) -> Goal:
        """Check the shapes and take the layer's own outputs where no targets are given."""
        wanted = layer(inputs) if targets is None else targets.double()
        shape = (len(inputs), layer.outgoing.shape[1])
        for name, value in (("targets", wanted), ("stream", readout.stream)):
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(
                    f"{name} must have shape {shape}, one row per input; got {tuple(value.shape)}"
                )
        return Goal(wanted, readout, split_rows(len(inputs) - made_up, seed))

    def held_out_error(self, slim: Layer, inputs: Tensor) -> float:
        """Return the relative error behind the readout on the held-out rows."""
        rows = self.split.held
        return relative_error(self.readout(slim(inputs[rows]), rows), self.readout(self.targets[rows], rows))


def choose_and_refit(layer: Layer, inputs: Tensor, size: int, goal: Goal) -> tuple[Layer, Tensor]:
    """Choose neurons greedily and refit outgoing weights and bias in the metric of the readout."""
    rows = goal.split.fit
    hidden, wanted = layer.hidden(inputs[rows]), goal.targets[rows]
    importance = goal.readout.importance(wanted, rows)
    row_weights = importance.mean(dim=1)
    metric = (importance / row_weights[:, None]).mean(dim=0).sqrt()
    root = (row_weights / row_weights.mean()).sqrt()[:, None]
    share = float(layer.biased)
    centred = [(t - share * (root**2 * t).mean(dim=0)) * root for t in (hidden, wanted)]
    indices = greedy_columns(centred[0], centred[1] * metric, size).sort().values
    return refit(layer.select(indices), inputs, goal, rows), indices


def refit(layer: Layer, inputs: Tensor, goal: Goal, rows: Tensor) -> Layer:
    """Refit the outgoing weights and the bias of `layer` on `rows`, weighted as the readout does."""
    wanted = goal.targets[rows]
    weights = goal.readout.importance(wanted, rows).mean(dim=1)
    hidden = layer.hidden(inputs[rows])
    return layer.with_outgoing(*least_squares(hidden, wanted, intercept=layer.biased, weights=weights))


@dataclass(frozen=True)
class Mover:
    """How chosen neurons are moved: variable projection where it is affordable, Adam elsewhere.

    Parameters
    ----------
    layer, inputs, goal
        The wide layer, all calibration rows and what should be reproduced there.
    evaluations : int
        Evaluations of the projected loss; 0 chooses Adam.
    made_up : int
        How many of the last rows are made up.
    n_mixed : int
        Rows between calibration rows that are fitted too; 0 where targets are known at rows only.
    seed : int
        Seed of mixed rows and minibatches.
    count : callable
        Called after every step.
    steps : int
        Adam steps in all.
    """

    layer: Layer
    inputs: Tensor
    goal: Goal
    evaluations: int
    made_up: int
    n_mixed: int
    seed: int
    count: Callable[[], None]
    steps: int

    @staticmethod
    def plan(
        layer: Layer,
        inputs: Tensor,
        size: int,
        goal: Goal,
        *,
        free_targets: bool,
        made_up: int,
        seed: int,
        effort: Effort,
        progress: Progress | None,
    ) -> Mover:
        """Choose the method by its cost; the number of steps depends on shapes alone, never on the clock."""
        n_mixed = effort.mixed_rows if free_targets else 0
        n_in, n_out = layer.incoming[0].shape[1], layer.outgoing.shape[1]
        per_row = size * (2 * size + 6 * n_in * len(layer.incoming) + 4 * n_out)
        dear = int(effort.projection_flops / (per_row * (len(inputs) + n_mixed)))
        affordable = min(effort.projection_evaluations, dear)
        projected = goal.readout.transform is None and affordable >= FEWEST_EVALUATIONS
        count = counter(progress, affordable if projected else effort.readout_steps)
        evaluations = affordable if projected else 0
        steps = effort.readout_steps
        return Mover(layer, inputs, goal, evaluations, made_up, n_mixed, seed, count, steps)

    def __call__(self, start: Layer, rows: Tensor, share: float) -> Layer:
        """Move the neurons of `start` on `rows` and the made-up ones with this share of all steps."""
        rows = torch.cat([rows, torch.arange(len(self.inputs) - self.made_up, len(self.inputs))])
        return self.project(start, rows, share) if self.evaluations else self.refine(start, rows, share)

    def project(self, start: Layer, rows: Tensor, share: float) -> Layer:
        """Variable projection on calibration rows and mixed ones, and a last refit on calibration rows."""
        x, wanted = self.inputs[rows], self.goal.targets[rows]
        if self.n_mixed:
            extra = mixed_rows(x, self.n_mixed, self.seed)
            x, wanted = torch.cat([x, extra]), torch.cat([wanted, self.layer(extra)])
        moved = project(start, x, wanted, steps=int(share * self.evaluations), progress=self.count)
        return refit(moved, self.inputs, self.goal, rows)

    def refine(self, start: Layer, rows: Tensor, share: float) -> Layer:
        """Adam on all parameters in float32, against what stands behind the wanted outputs."""
        stream = self.goal.readout.stream
        behind = Readout(None if stream is None else stream[rows].float(), self.goal.readout.transform)
        aim = self.goal.readout(self.goal.targets[rows], rows).float()
        moved = refine(
            start.to(torch.float32),
            self.inputs[rows].float(),
            aim,
            behind,
            steps=int(share * self.steps),
            seed=self.seed,
            progress=self.count,
        )
        return moved.to(torch.float64)
