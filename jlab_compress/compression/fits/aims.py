"""Aims: what a slim model is to have in common with its original, and how it is fitted for that."""

from __future__ import annotations

from collections.abc import Mapping

from jlab_compress.compression.fits.activation_only import unit_start
from jlab_compress.compression.fits.aim import Aim
from jlab_compress.compression.fits.evaluation import by_first_step
from jlab_compress.compression.fits.forecasts import forecast_dynamics
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
from jlab_compress.compression.joint.task import Outcome, Refinement, share_stream
from jlab_compress.fitting.aims import activation_only as units
from jlab_compress.fitting.aims import baselines
from jlab_compress.fitting.aims.moments import fit_units_moments
from jlab_compress.fitting.fit import Fit


def distill_or_match(task: Refinement, fits: Mapping[str, Fit]) -> Outcome:
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
        alternatives=(BASELINES["greedy"],),
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
    if not isinstance(preserve, str) or preserve not in AIMS:
        raise ValueError(f"preserve: expected one of {sorted(AIMS)} or an Aim, got {preserve!r}")
    return AIMS[preserve]
