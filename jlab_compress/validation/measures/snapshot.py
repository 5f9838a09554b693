"""What the parameters say: neuron clouds and tangent kernels, before and after training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from jlab_compress.core.cloud import Cloud
from jlab_compress.report import Figure, Scalar, Table
from jlab_compress.validation.measures.tangent_kernels import KernelMatch, match_kernels
from jlab_compress.validation.measures.transport import CloudDistance, cloud_distance, neuron_clouds
from jlab_compress.validation.report.plots import SLIM, plot_clouds
from jlab_compress.validation.training.references import REORDERED
from jlab_compress.validation.training.side_by_side import ORIGINAL

MOST_PICTURES = 3


@dataclass(frozen=True)
class Snapshot:
    """Parameters at one moment of a run.

    Parameters
    ----------
    clouds : mapping of str to (Cloud, Cloud)
        Per block name the neurons of the original and of the slim model.
    distances : mapping of str to CloudDistance
        Per block name.
    kernels : mapping of str to KernelMatch
        Per model name, each against the original.
    """

    clouds: Mapping[str, tuple[Cloud, Cloud]]
    distances: Mapping[str, CloudDistance]
    kernels: Mapping[str, KernelMatch]


def take_snapshot(models: Mapping[str, nn.Module], inputs: Any) -> Snapshot:
    """Compare the models' parameters as they are now; nothing in them changes.

    Parameters
    ----------
    models : mapping of str to nn.Module
        "original", "slim" and the references.
    inputs : Tensor, tuple or mapping
        One batch, for the tangent kernels.
    """
    original, slim = models[ORIGINAL], models[SLIM]
    clouds = neuron_clouds(original, slim)
    return Snapshot(
        clouds,
        {name: cloud_distance(*pair) for name, pair in clouds.items()},
        {
            name: match_kernels(model, original, inputs)
            for name, model in models.items()
            if name not in (ORIGINAL, REORDERED)
        },
    )


def evidence_tables(before: Snapshot, after: Snapshot) -> tuple[Table, Table]:
    """Return the distances of the neuron clouds and the match of the tangent kernels, side by side."""
    clouds: list[tuple[Scalar, ...]] = []
    for name, start in before.distances.items():
        end = after.distances[name]
        clouds.append((name, start.exact, end.exact, start.sinkhorn, end.sinkhorn))
    kernels: list[tuple[Scalar, ...]] = [
        (name, start.alignment, after.kernels[name].alignment, start.error, after.kernels[name].error)
        for name, start in before.kernels.items()
    ]
    when = [f"{what} {time}" for what in ("Wasserstein", "Sinkhorn") for time in ("before", "after")]
    match = [f"{what} {time}" for what in ("alignment", "error") for time in ("before", "after")]
    return (
        Table("Neuron clouds, slim to original, over the original's spread", ("block", *when), tuple(clouds)),
        Table("Tangent kernel against the original's", ("model", *match), tuple(kernels)),
    )


def cloud_figures(before: Snapshot, after: Snapshot) -> tuple[Figure, ...]:
    """Return a picture of the neurons of the first blocks."""
    return tuple(
        plot_clouds(name, before.clouds[name], after.clouds[name])
        for name in list(before.clouds)[:MOST_PICTURES]
    )
