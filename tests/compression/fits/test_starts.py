"""Each start and refinement is the fit of the fitting floor on the rows that its block sees."""

import pytest
import torch
from torch import nn

from jlab_compress import prepare
from jlab_compress.compression.fits import starts
from jlab_compress.compression.fits.site import Site
from jlab_compress.fitting.aims.baselines import magnitude
from jlab_compress.fitting.aims.dynamics import fit_dynamics
from jlab_compress.fitting.aims.function import fit_function, fit_subset, fit_weighted_subset
from jlab_compress.fitting.aims.moments import fit_moments
from jlab_compress.fitting.fit_rows import FitRows
from tests.models import mlp
from tests.quick import FAST, X

NET = mlp(6, 40, 3, activation=nn.Tanh)
PREPARED = prepare(NET, X)
LAYER = Site(NET, NET, PREPARED.blocks[0], PREPARED.calls).layer


def site(**more):
    return Site(NET, NET, PREPARED.blocks[0], PREPARED.calls, seed=3, effort=FAST, **more)


def same(one, other):
    parts = [
        (*fit.layer.incoming, *fit.layer.biases, fit.layer.outgoing, fit.layer.multiplicities)
        for fit in (one, other)
    ]
    return (
        all(torch.equal(a, b) for a, b in zip(*parts, strict=True))
        and one.function_error == other.function_error
    )


def refined(start, refine):
    place = site()
    return refine(place, 8, start(place, 8))


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        (lambda: starts.subset(site(), 8), lambda: fit_subset(LAYER, FitRows(X), 8, seed=3)),
        (
            lambda: starts.weighted_subset(site(), 8),
            lambda: fit_weighted_subset(LAYER, FitRows(X), 8, seed=3),
        ),
        (lambda: starts.moments(site(), 20), lambda: fit_moments(LAYER, 20, inputs=X, seed=3)),
        (lambda: starts.baseline(magnitude)(site(), 8), lambda: magnitude(LAYER, X, 8, seed=3)),
        (
            lambda: refined(starts.subset, starts.moved_subset),
            lambda: fit_function(LAYER, FitRows(X), 8, seed=3, effort=FAST),
        ),
        (
            lambda: refined(starts.dynamics_start, starts.moved_for_dynamics),
            lambda: fit_dynamics(LAYER, X, 8, seed=3, effort=FAST),
        ),
    ],
    ids=["subset", "weighted subset", "moments", "baseline", "function", "dynamics"],
)
def test_a_stage_gives_the_bits_of_its_fit(fit, expected):
    assert same(fit(), expected())


def test_another_seed_gives_other_bits():
    place = Site(NET, NET, PREPARED.blocks[0], PREPARED.calls, seed=4, effort=FAST)
    assert not same(starts.subset(place, 8), starts.subset(site(), 8))


def test_steps_of_a_refinement_are_reported():
    seen = []
    place = site(step=lambda done, total: seen.append((done, total)))
    starts.moved_subset(place, 8, starts.subset(place, 8))
    assert seen
    assert all(0 < done <= total for done, total in seen)
