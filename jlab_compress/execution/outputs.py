"""One reading of what a model returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from jlab_compress.execution.calls import Call, tensors_in
from jlab_compress.execution.isolation import undisturbed


def outputs_of(value: Any) -> list[Tensor]:
    """Return the floating-point tensors of a model's output as a flat list.

    Raises
    ------
    ValueError
        If the output holds none.
    """
    found = [t for t in tensors_in(value) if t.is_floating_point()]
    if not found:
        raise ValueError(
            f"the model returned no floating-point tensor but {type(value).__name__}; "
            "wrap it so that its forward returns its scores"
        )
    return found


def outputs_with_rows(value: Any) -> list[Tensor]:
    """Return the outputs as `outputs_of` does, but for single numbers such as a loss beside the logits."""
    return [output for output in outputs_of(value) if output.dim() > 0]


def scores_of(outputs: Any) -> list[Tensor]:
    """Return the floating-point tensors of a model's output, without a loss that came with its scores.

    Examples
    --------
    >>> import torch
    >>> scores_of({"loss": torch.tensor(2.0), "logits": torch.zeros(1, 2)})
    [tensor([[0., 0.]])]
    """
    return outputs_with_rows(outputs) or outputs_of(outputs)


def outputs_on(model: nn.Module, calls: Iterable[Call]) -> Iterator[Tensor]:
    """Yield a model's outputs in evaluation mode on one call after the other.

    Raises
    ------
    ValueError
        If the model returns no floating-point tensor.
    """
    for call in calls:
        with undisturbed(model):
            found = outputs_of(call(model))
        yield from found
