"""What an aim is: the stages by which a model is made slim for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from jlab_compress.compression.fits.evaluation import Evaluation, by_function_gap
from jlab_compress.compression.fits.site import Site
from jlab_compress.compression.joint.task import Outcome, Refinement
from jlab_compress.fitting.fit import Fit
from jlab_compress.fitting.forecast.forecast import Forecast

Fits = Mapping[str, Fit]
Start = Callable[[Site, int], Fit]
Refine = Callable[[Site, int, Fit], Fit]


class Forecasting(Protocol):
    """A forecast of the errors of a block's fits; see `forecast_function`."""

    def __call__(self, site: Site, widths: Sequence[int], *, kernel: bool = True) -> Forecast:
        """Return the expected errors at some widths."""


@dataclass(frozen=True)
class Aim:
    """What `preserve=` means: four stages that run in this order, and the words for them on screen.

    Parameters
    ----------
    name : str
        As it stands in a plan and in `preserve=`.
    start : callable
        From (Site, number of units) to a Fit of one block: which units are kept, or put in their place.
    refine : callable
        From (Site, number of units, that Fit) to a Fit: moves the units of one block that is `alone`.
    joint : callable
        From (Refinement, fits by block) to an Outcome: moves all blocks of the slim model at once, in place.
    evaluate : callable
        From (Refinement, fits by block) to an Evaluation of the slim model on held-out rows.
    network_start : callable, optional
        Takes the place of `start` for blocks that are refined with the network around them only, see
        `network_blocks`.
    unit_start : callable, optional
        The same for activation-only blocks: attention heads, and channels with layers between. An aim
        without one refuses them.
    alternatives : tuple of Aim
        Aims whose slim models are tried too where the joint stage has moved anything; `evaluate` decides.
    forecast : callable
        From (Site, widths) to the errors that its fits of neurons are expected to have; those of fits for the
        function where None.
    matches_training : bool
        Whether errors of the tangent kernel count as well as those of the outputs.
    label, help : str
        On screen: in a few words what is kept, and one sentence on when to choose it.

    Raises
    ------
    TypeError
        If the name is no word, or a stage cannot be called.

    Examples
    --------
    >>> from jlab_compress.fitting.aims.baselines import magnitude
    >>> largest = Aim("largest", lambda site, size: magnitude(site.layer, site.inputs, size))
    >>> largest.matches_training
    False
    """

    name: str
    start: Start
    refine: Refine = lambda site, size, fit: fit
    joint: Callable[[Refinement, Fits], Outcome] = lambda task, fits: Outcome(fits)
    evaluate: Callable[[Refinement, Fits], Evaluation] = by_function_gap
    network_start: Start | None = None
    unit_start: Start | None = None
    alternatives: tuple[Aim, ...] = ()
    forecast: Forecasting | None = None
    matches_training: bool = False
    label: str = ""
    help: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"Aim: expected a name such as 'function', got {self.name!r}")
        for stage in ("start", "refine", "joint", "evaluate"):
            if not callable(getattr(self, stage)):
                raise TypeError(f"Aim {self.name!r}: {stage} must be callable; got {getattr(self, stage)!r}")

    def check_fit(self, fit: Fit, size: int) -> None:
        """Refuse what start and refine returned where it is no fit of a block to at most `size` units."""
        if not isinstance(fit, Fit):
            raise ValueError(
                f"start and refine of the aim {self.name!r} must return a Fit; got {type(fit).__name__}"
            )
        if fit.layer.width > size:
            raise ValueError(
                f"start and refine of the aim {self.name!r} must return at most the {size} units that are "
                f"wanted; got {fit.layer.width}"
            )

    def start_for(self, site: Site) -> Start:
        """Return how to begin with a block.

        Raises
        ------
        ValueError
            If the block is activation-only and the aim has nothing for it.
        """
        if not site.block.activation_only:
            return (site.in_network and self.network_start) or self.start
        if self.unit_start is None:
            raise ValueError(
                "only a run of the model tells what its units give (attention heads, or channels with layers "
                f"between), for which {self.name!r} is not defined; choose another method or leave it out"
            )
        return self.unit_start
