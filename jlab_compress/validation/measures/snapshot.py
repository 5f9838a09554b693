"""What the parameters say: neuron clouds and tangent kernels, before and after training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from jlab_compress.core.cloud import Cloud
from jlab_compress.extras import lacking
from jlab_compress.validation.measures.tangent_kernels import KernelMatch, compare_kernels
from jlab_compress.validation.measures.transport import CloudDistance, cloud_distance, neuron_clouds
from jlab_compress.validation.roles import ORIGINAL, REORDERED, SLIM


@dataclass(frozen=True)
class Snapshot:
    """Parameters at one moment of a run.

    Parameters
    ----------
    clouds : mapping of str to (Cloud, Cloud)
        Per block name the neurons of the original and of the slim model.
    distances : mapping of str to CloudDistance
        Per block name; none where POT is not installed.
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
        {} if lacking("ot") else {name: cloud_distance(*pair) for name, pair in clouds.items()},
        {
            name: compare_kernels(original, model, inputs)
            for name, model in models.items()
            if name not in (ORIGINAL, REORDERED)
        },
    )
