"""Compressions that take no time, for tests of everything but the quality of a fit."""

from jlab_compress.compression import compress as compression
from jlab_compress.compression.compress import compress_baseline
from jlab_compress.fitting.aims import function
from jlab_compress.fitting.aims.baselines import kmeans_merge
from jlab_compress.fitting.forecast import predict as forecast
from tests.models import rows

X = rows(120, 6)


def quick_fit(layer, inputs, size, *, seed, progress):
    for step in (1, 2):
        progress(step, 2)
    return kmeans_merge(layer, inputs, size, seed=seed)


def shorten(monkeypatch):
    monkeypatch.setattr(compression, "fit_dynamics", quick_fit)
    monkeypatch.setattr(forecast, "TRIAL_STEPS", 5)
    monkeypatch.setattr(function, "MOST_EVALUATIONS", 20)


def narrow(model, widths, x=X, **options):
    return compress_baseline(model, widths, calibration=x, method=options.pop("method", "greedy"), **options)
