"""What a fit returns: a slim layer, and how well it stands for the wide one."""

from __future__ import annotations

from dataclasses import dataclass

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
        The kept neurons where incoming weights are untouched; None where nodes moved or merged.
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
