"""Words for the axes of inputs and outputs whose lengths may change from run to run, and the usual ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from torch import Tensor

BATCH = "batch"
SEQUENCE = "sequence"
Axes = Mapping[str, Mapping[int, str]]


def usual_axes(tensors: Mapping[str, Tensor], given: Collection[str]) -> Iterator[Axes]:
    """Yield what the axes of inputs may be called, the likeliest first and one without a sequence last.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Example inputs by name.
    given : collection of str
        Those whose axes are known.

    Examples
    --------
    >>> import torch
    >>> for axes in usual_axes({"x": torch.ones(2, 5, 8), "mask": torch.ones(2, 5).bool()}, ()):
    ...     print(axes)
    {'x': {0: 'batch', 1: 'sequence'}, 'mask': {0: 'batch', 1: 'sequence'}}
    {'x': {0: 'batch'}, 'mask': {0: 'batch', 1: 'sequence'}}
    {'x': {0: 'batch'}, 'mask': {0: 'batch'}}
    """
    rest = {name: tensor for name, tensor in tensors.items() if name not in given}
    listed = {name for name, tensor in rest.items() if _lists(name, tensor)}
    lengths = {tensors[name].shape[1] for name in listed}
    beside = {name for name, tensor in rest.items() if tensor.dim() > 2 and tensor.shape[1] in lengths}
    choices = [listed | beside, listed] if beside else [listed]
    if listed and len(lengths) == 1 and min(lengths) > 1:
        choices.append(set())
    for along in choices:
        yield {name: _named(tensor, name in along) for name, tensor in rest.items()}


def _lists(name: str, tensor: Tensor) -> bool:
    """Return whether a tensor is one entry for each place of a sequence: token ids, a mask."""
    discrete = not (tensor.is_floating_point() or tensor.is_complex())
    return tensor.dim() == 2 and (discrete or "mask" in name)


def _named(tensor: Tensor, sequence: bool) -> Mapping[int, str]:
    if tensor.dim() == 0:
        return {}
    return {0: BATCH, 1: SEQUENCE} if sequence else {0: BATCH}
