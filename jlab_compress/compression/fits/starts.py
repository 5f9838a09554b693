"""How each aim begins with a block of neurons, and how it refines one whose own outputs say all."""

from __future__ import annotations

from collections.abc import Callable

from jlab_compress.compression.fits.site import Site
from jlab_compress.fitting.aims.dynamics import fit_start, move_start
from jlab_compress.fitting.aims.function import fit_subset, fit_weighted_subset, move_subset
from jlab_compress.fitting.aims.moments import fit_moments
from jlab_compress.fitting.fit import Fit


def subset(site: Site, size: int) -> Fit:
    """Choose neurons and refit what they write; see `fit_subset`."""
    return fit_subset(site.layer, site.rows, size, seed=site.seed)


def moved_subset(site: Site, size: int, fit: Fit) -> Fit:
    """Move the neurons of `subset` for the outputs; see `move_subset`."""
    return move_subset(site.layer, site.rows, fit, seed=site.seed, effort=site.effort, progress=site.step)


def weighted_subset(site: Site, size: int) -> Fit:
    """Choose neurons and refit what they write, each counted n / s times; see `fit_weighted_subset`."""
    return fit_weighted_subset(site.layer, site.rows, size, seed=site.seed)


def dynamics_start(site: Site, size: int) -> Fit:
    """Choose a weighted subset of neurons that reproduces the outputs or is fair; see `fit_start`."""
    return fit_start(site.layer, site.inputs, size, seed=site.seed)


def moved_for_dynamics(site: Site, size: int, fit: Fit) -> Fit:
    """Move the neurons of `dynamics_start` for outputs and tangent kernel; see `move_start`."""
    return move_start(
        site.layer, site.inputs, size, fit, seed=site.seed, effort=site.effort, progress=site.step
    )


def moments(site: Site, size: int) -> Fit:
    """Keep the moments of a block's parameters; see `fit_moments`."""
    return fit_moments(site.layer, size, inputs=site.inputs, seed=site.seed)


def baseline(fit: Callable[..., Fit]) -> Callable[[Site, int], Fit]:
    """Return a start by a plain method of the field, from (layer, inputs, size) and a seed to a Fit."""
    return lambda site, size: fit(site.layer, site.inputs, size, seed=site.seed)
