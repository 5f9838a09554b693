"""The errors that a caller can act on; every other fault is a ValueError or TypeError."""

from __future__ import annotations


class UnsupportedBlockError(ValueError):
    """A block that was asked for cannot be compressed; the message says which and why."""


class RecombinationError(RuntimeError):
    """A reduced cloud does not keep the moments of the original one.

    Parameters
    ----------
    message : str
        What was reduced, what was expected and what to do next.
    residual : float
        The scaled moment residual that was reached, relative to the original moments.
    """

    def __init__(self, message: str, residual: float) -> None:
        super().__init__(message)
        self.residual = residual


class ExportMismatchError(RuntimeError):
    """An exported file is not what was promised (opset, names, axes, operators or parity)."""
