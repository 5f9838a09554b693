"""What calibration shows of one layer: the rows that reach it, and what its outputs should be there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from jlab_compress.fitting.layer import Layer
from jlab_compress.fitting.post_norm import PostNormMap


@dataclass(frozen=True)
class FitRows:
    """Calibration rows of one layer with the goal of its fit.

    Parameters
    ----------
    inputs : Tensor (q, n_in)
        Rows that reach the layer in the slim model so far.
    targets : Tensor (q, n_out) or None
        Outputs to reproduce; the wide layer's own where None.
    post_norm : PostNormMap
        Through which outputs are compared with targets.
    synthetic : int
        How many of the last rows come from augmentation: fits learn from them too, but they neither choose
        neurons nor measure errors.
    """

    inputs: Tensor
    targets: Tensor | None = None
    post_norm: PostNormMap = field(default_factory=PostNormMap)
    synthetic: int = 0

    @property
    def n_real(self) -> int:
        """The number of rows that are no synthetic ones."""
        return len(self.inputs) - self.synthetic

    def joined(self, synthetic: FitRows) -> FitRows:
        """Return these rows followed by synthetic ones that have the same norm behind them."""

        def both(mine: Tensor | None, theirs: Tensor | None) -> Tensor | None:
            return None if mine is None or theirs is None else torch.cat([mine, theirs])

        stream = both(self.post_norm.stream, synthetic.post_norm.stream)
        return FitRows(
            torch.cat([self.inputs, synthetic.inputs]),
            both(self.targets, synthetic.targets),
            PostNormMap(stream, self.post_norm.norm),
            len(synthetic.inputs),
        )

    def completed(self, layer: Layer) -> FitRows:
        """Return the rows in float64, with the layer's own outputs as targets where there are none.

        Raises
        ------
        ValueError
            If targets or stream do not have one row of outputs per input.
        """
        inputs = self.inputs.double()
        wanted = layer.to(torch.float64)(inputs) if self.targets is None else self.targets.double()
        shape = (len(inputs), layer.outgoing.shape[1])
        for name, value in (("targets", wanted), ("stream", self.post_norm.stream)):
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(
                    f"{name} must have shape {shape}, one row per input; got {tuple(value.shape)}"
                )
        return replace(self, inputs=inputs, targets=wanted)
