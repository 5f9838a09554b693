"""Aims: what a slim model is to have in common with its original, and how it is fitted for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from jlab_compress.compression.fits.activation_only import unit_start
from jlab_compress.compression.fits.evaluation import Evaluation, by_first_step, by_function_gap
from jlab_compress.compression.fits.forecasts import forecast_dynamics, forecast_function
from jlab_compress.compression.fits.network import share_stream
from jlab_compress.compression.fits.site import Site
from jlab_compress.compression.fits.starts import (
    baseline,
    dynamics_start,
    moments,
    moved_for_dynamics,
    moved_subset,
    subset,
    weighted_subset,
)
from jlab_compress.compression.joint.distillation import distill
from jlab_compress.compression.joint.kernel_matching import match_kernels
from jlab_compress.compression.joint.refinement import Outcome, Refinement
from jlab_compress.fitting.aims import activation_only as units
from jlab_compress.fitting.aims import baselines
from jlab_compress.fitting.aims.moments import fit_units_moments
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.forecast.forecast import Forecast

Fits = Mapping[str, Fit]
Start = Callable[[Site, int], Fit]
Refine = Callable[[Site, int, Fit], Fit]


class Forecasting(Protocol):
    """A forecast of the errors of a block's fits; see `forecast_function`."""

    def __call__(self, site: Site, widths: Sequence[int], *, kernel: bool = True) -> Forecast:
        """Return the expected errors at some widths."""


@dataclass(frozen=True)
class Aim:
    """What `preserve=` means: four stages that run in this order, and what people are told of them.

    Parameters
    ----------
    name : str
        As it stands in a plan and in `preserve=`.
    start : callable
        From (Site, number of units) to a Fit of one block: which units are kept, or put in their place.
    refine : callable
        From (Site, number of units, that Fit) to a Fit: moves the units of one block that is `alone`.
    joint : callable
        From (Refinement, fits by block) to an Outcome: moves all blocks of the slim model at once, in place.
    evaluate : callable
        From (Refinement, fits by block) to an Evaluation of the slim model on held-out rows.
    network_start : callable, optional
        Takes the place of `start` for blocks that are refined with the network around them only, see
        `network_blocks`.
    unit_start : callable, optional
        The same for activation-only blocks: attention heads, and channels with layers between. An aim
        without one refuses them.
    rivals : tuple of Aim
        Aims whose slim models are tried too where the joint stage has moved anything; `evaluate` decides.
    forecast : callable
        From (Site, widths) to the errors that its fits are expected to have.
    matches_training : bool
        Whether errors of the tangent kernel count as well as those of the outputs.
    label, help : str
        On screen: in a few words what is kept, and one sentence on when to choose it.

    Examples
    --------
    >>> from jlab_compress.fitting.aims.baselines import magnitude
    >>> largest = Aim("largest", lambda site, size: magnitude(site.layer, site.inputs, size))
    >>> largest.matches_training
    False
    """

    name: str
    start: Start
    refine: Refine = lambda site, size, fit: fit
    joint: Callable[[Refinement, Fits], Outcome] = lambda task, fits: Outcome(fits)
    evaluate: Callable[[Refinement, Fits], Evaluation] = by_function_gap
    network_start: Start | None = None
    unit_start: Start | None = None
    rivals: tuple[Aim, ...] = ()
    forecast: Forecasting = forecast_function
    matches_training: bool = False
    label: str = ""
    help: str = ""

    def start_for(self, site: Site) -> Start:
        """Return how to begin with a block.

        Raises
        ------
        ValueError
            If the block is activation-only and the aim has nothing for it.
        """
        if not site.block.activation_only:
            return (site.in_network and self.network_start) or self.start
        if self.unit_start is None:
            raise ValueError(
                "only a run of the model tells what its units give (attention heads, or channels with layers "
                f"between), for which {self.name!r} is not defined; choose another method or leave it out"
            )
        return self.unit_start


def distill_or_match(task: Refinement, fits: Fits) -> Outcome:
    """Refine all blocks for training: in a residual stream by distillation, elsewhere by NTK matching."""
    return distill(task, fits, kernels=True) if share_stream(task.blocks) else match_kernels(task, fits)


_REFIT = unit_start(units.fit_units_function, behind=False)
_BASELINES = (
    Aim("random", baseline(baselines.random_subset), unit_start=unit_start(units.random_units)),
    Aim("magnitude", baseline(baselines.magnitude), unit_start=unit_start(units.largest_units)),
    Aim("k-means", baseline(baselines.kmeans_merge)),
    Aim("greedy", baseline(baselines.greedy_refit), unit_start=_REFIT, label="greedy selection with refit"),
    Aim("interpolative", baseline(baselines.interpolative)),
    Aim("nnls", baseline(baselines.nnls_outputs), unit_start=unit_start(units.weighted_units)),
)
BASELINES: Mapping[str, Aim] = {aim.name: aim for aim in _BASELINES}

_AIMS = (
    Aim(
        "dynamics",
        dynamics_start,
        refine=moved_for_dynamics,
        joint=distill_or_match,
        evaluate=by_first_step,
        network_start=weighted_subset,
        unit_start=unit_start(units.fit_units_dynamics, kernels=True),
        forecast=forecast_dynamics,
        matches_training=True,
        label="outputs and training",
        help="Keeps outputs and tangent kernel, so that the slim model also trains like the original.",
    ),
    Aim(
        "function",
        subset,
        refine=moved_subset,
        joint=distill,
        unit_start=unit_start(units.fit_units_function, synthetic=True),
        rivals=(BASELINES["greedy"],),
        label="outputs only",
        help="Keeps outputs as well as they can be at a width, for a model that is only deployed.",
    ),
    Aim(
        "moments",
        moments,
        unit_start=unit_start(fit_units_moments),
        forecast=forecast_dynamics,
        label="parameter moments",
        help="Keeps moments of the parameters, for blocks with few inputs and outputs.",
    ),
)
# What `preserve=` takes by name; Python, magics and panels take their choices from here.
AIMS: Mapping[str, Aim] = {aim.name: aim for aim in _AIMS}


def read_aim(preserve: str | Aim) -> Aim:
    """Return the aim that a caller's `preserve` names, or the `Aim` itself.

    Raises
    ------
    ValueError
        If it is neither.

    Examples
    --------
    >>> read_aim("function").label
    'outputs only'
    """
    if isinstance(preserve, Aim):
        return preserve
    if preserve not in AIMS:
        raise ValueError(f"preserve: expected one of {sorted(AIMS)} or an Aim, got {preserve!r}")
    return AIMS[preserve]
