"""What a fit takes and returns: rows that suit the wide layer, a slim layer and its errors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jlab_compress.fitting.criteria import Criterion, trains_alike
from jlab_compress.fitting.layer import Layer


@dataclass(frozen=True)
class Fit:
    """A slim layer and how well it stands for the wide one, on rows that the fit did not see.

    Parameters
    ----------
    layer : Layer
        s neurons with multiplicities.
    indices : Tensor (s,) or None
        The kept neurons by their place in the wide layer, where incoming weights are untouched; None where
        nodes moved or were merged with others that differ.
    method : str
        The candidate that was kept, in the field's words ("moved nodes", "k-means merge", ...).
    function_error : float
        ||f_slim - f|| / ||f|| on held-out rows.
    kernel_error : float or None
        Relative error of the tangent kernel's action on held-out rows; None where not computed.
    criteria : tuple of Criterion
        By which the slim layer is expected to train like the wide one or not; empty where not measured.
    notes : tuple of str
        What a reader of the report must know.
    """

    layer: Layer
    indices: Tensor | None
    method: str
    function_error: float
    kernel_error: float | None = None
    criteria: tuple[Criterion, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def trains_alike(self) -> bool | None:
        """Whether all criteria are met; None where none was measured."""
        return trains_alike(self.criteria)


def check_fit(layer: Layer, inputs: Tensor, size: int) -> None:
    """Refuse a size or calibration rows that no fit of `layer` can use.

    Parameters
    ----------
    layer : Layer
        n neurons with n_in inputs.
    inputs : Tensor (q, n_in)
        Calibration rows.
    size : int
        Wanted width, 1 <= size <= n.

    Raises
    ------
    ValueError
        If the size is out of range, the rows have the wrong shape or are not finite.
    """
    n_in = layer.incoming[0].shape[1]
    if not 1 <= size <= layer.width:
        raise ValueError(f"size must be between 1 and the layer's width {layer.width}; got {size}")
    if inputs.ndim != 2 or inputs.shape[1] != n_in or inputs.shape[0] == 0:
        raise ValueError(
            f"inputs must be calibration rows of shape (q, {n_in}) with q > 0; got {tuple(inputs.shape)}"
        )
    if not torch.isfinite(inputs).all():
        raise ValueError("inputs must be finite; found NaN or infinity, remove those calibration rows")
