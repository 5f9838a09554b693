"""Compressions that take no time, for tests of everything but the quality of a fit."""

from jlab_compress.compression import compress as compression
from jlab_compress.compression.compress import compress_baseline
from jlab_compress.fitting.aims.baselines import kmeans_merge
from jlab_compress.fitting.aims.function import fit_function
from jlab_compress.fitting.effort import Effort
from jlab_compress.fitting.forecast.predict import predict_errors
from tests.models import rows

X = rows(120, 6)


def quick_fit(layer, inputs, size, *, seed, progress):
    for step in (1, 2):
        progress(step, 2)
    return kmeans_merge(layer, inputs, size, seed=seed)


def shorten(monkeypatch):
    monkeypatch.setattr(compression, "fit_dynamics", quick_fit)
    shorten_fits(monkeypatch, Effort(trial_steps=5, projection_evaluations=20), predict_errors, fit_function)


def shorten_fits(monkeypatch, effort, *fits):
    """Give fits another effort where none is passed."""
    for fit in fits:
        monkeypatch.setitem(fit.__kwdefaults__, "effort", effort)


def narrow(model, widths, x=X, **options):
    return compress_baseline(model, widths, calibration=x, method=options.pop("method", "greedy"), **options)
