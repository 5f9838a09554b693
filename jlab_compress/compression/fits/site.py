"""One block where it is fitted: in the slim model so far, beside the original."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from jlab_compress.compression.signals.augmentation import augmented
from jlab_compress.compression.signals.block_rows import gather_inputs, gather_rows
from jlab_compress.execution.calls import Call
from jlab_compress.execution.progress import Step
from jlab_compress.fitting.effort import NORMAL, Effort
from jlab_compress.fitting.fit_rows import FitRows
from jlab_compress.fitting.layer import Layer
from jlab_compress.inspection.block import Block
from jlab_compress.slim.layers import on_cpu, read_layer


def unheard(done: int, total: int) -> None:
    """Take note of a step of a fit that nobody watches."""


@dataclass(frozen=True)
class Site:
    """A block and all that a fit of it may look at.

    Parameters
    ----------
    original, slim : nn.Module
        The model before, and as it is so far; the block itself is still as it was. Stages change neither, but
        that attention may be opened in `slim` to be looked into.
    block : Block
        What is to be fitted.
    calls : tuple of Call
        The calibration.
    follows_slim : bool
        Whether an earlier block is slim already, so that the two models differ.
    shares_stream : bool
        Whether the blocks that are compressed write into one residual stream; see `share_stream`.
    in_network : bool
        Whether the block is refined later with the network around it, as its own outputs say too little.
    seed : int
        Of all draws.
    effort : Effort
        Budgets of the fit.
    step : callable
        Called with (steps done, steps in all).
    """

    original: nn.Module
    slim: nn.Module
    block: Block
    calls: tuple[Call, ...]
    follows_slim: bool = False
    shares_stream: bool = False
    in_network: bool = False
    seed: int = 0
    effort: Effort = NORMAL
    step: Step = unheard

    @property
    def alone(self) -> bool:
        """Whether the block's own outputs say what it is worth, so that it can be refined by itself."""
        return not (self.in_network or self.block.activation_only)

    @cached_property
    def layer(self) -> Layer:
        """The block's units, in float64 on the CPU."""
        return on_cpu(read_layer(self.slim, self.block, self.block.activation))

    @cached_property
    def inputs(self) -> Tensor:
        """The rows that reach the block in the slim model so far, (q, n_in), in float64 on the CPU."""
        return gather_inputs(self.slim, self.block.incoming[0], self.calls, seed=self.seed)

    @cached_property
    def rows(self) -> FitRows:
        """The real rows, followed by those of augmented calibration where there are any."""
        more = augmented(self.calls, seed=self.seed) if self.block.kind != "conv" else []
        return self.real_rows.joined(self._rows(more)) if more else self.real_rows

    @cached_property
    def real_rows(self) -> FitRows:
        """The rows that reach the block, with what it should give there and what its outputs go through.

        Channels have inputs only: what one adds at single positions is all that is known of its worth.
        """
        return FitRows(self.inputs) if self.block.kind == "conv" else self._rows(self.calls)

    def _rows(self, calls: Sequence[Call]) -> FitRows:
        return gather_rows(
            self.original, self.slim, self.block, calls, follows_slim=self.follows_slim, seed=self.seed
        )


@contextmanager
def naming(block: Block) -> Iterator[None]:
    """Let errors of a fit say which block they are about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"block {block.name}: {error}") from error
