"""Read and write objects whose effect only a run of the model tells: heads, and channels with layers between.

What a head gives depends on other positions, and so does a channel behind a depthwise convolution. Such
an object is all the rows that belong to it in any layer, and fits take the recorded values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from jlab_compress.fitting.layer import Layer
from jlab_compress.slim.attributes import leave_fast_path, parent_of
from jlab_compress.slim.multihead import SlimMultiheadAttention, open_attention
from jlab_compress.slim.surgery import bias_of, is_conv1d, matrix_of, set_bias, set_multiplicities, set_sizes

# Names under which modules of the field store the number of their heads, and the size of all together.
_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")
_SHARED_COUNTS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads")
_SIZES = ("all_head_size", "inner_dim", "split_size")


class Place(Protocol):
    """Where such a block is: a `Block`, or the `BlockPlan` made of it."""

    @property
    def name(self) -> str: ...
    @property
    def incoming(self) -> tuple[str, ...]: ...
    @property
    def outgoing(self) -> str: ...
    @property
    def sections(self) -> tuple[int, ...]: ...
    @property
    def chain(self) -> tuple[str, ...]: ...
    @property
    def repeat(self) -> int: ...


@dataclass(frozen=True)
class Part:
    """One parameter, or running statistic, of the layers before the one that reads the objects.

    Parameters
    ----------
    module : str
        Dotted path.
    key : str
        The tensor's name in it.
    axis : int
        The axis on which its objects are.
    sections : int
        Stretches of that axis, each with all objects in turn.
    """

    module: str
    key: str
    axis: int
    sections: int

    def rows(self, value: Tensor, width: int) -> Tensor:
        """Return the tensor with one row per object, (n, ...), for a number of objects."""
        first = value.movedim(self.axis, 0)
        return first.reshape(self.sections, width, -1).transpose(0, 1).flatten(1)

    def value(self, rows: Tensor, like: Tensor) -> Tensor:
        """Return what `rows` were made from, for a tensor of the shape of `like` but for the objects."""
        others = like.movedim(self.axis, 0).shape[1:]
        split = rows.reshape(len(rows), self.sections, -1, *others)
        return split.transpose(0, 1).flatten(0, 2).movedim(0, self.axis)


def parts_of(model: nn.Module, place: Place) -> Iterator[Part]:
    """Yield each tensor of a block before the layer that reads its objects."""
    for name in place.chain:
        module = model.get_submodule(name)
        for key in ("weight", "bias", "running_mean", "running_var"):
            if getattr(module, key, None) is not None:
                yield Part(name, key, 0, 1)
    for name, sections in zip(place.incoming, place.sections or (1,) * len(place.incoming), strict=True):
        module = model.get_submodule(name)
        if isinstance(module, nn.MultiheadAttention):
            for key in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
                if getattr(module, key) is not None:
                    yield Part(name, key, 0, sections if key == "in_proj_weight" else 1)
            if module.in_proj_bias is not None:
                yield Part(name, "in_proj_bias", 0, sections)
        else:
            yield Part(name, "weight", 1 if is_conv1d(module) else 0, sections)
            if bias_of(module) is not None:
                yield Part(name, "bias", 0, sections)


def read_recorded(model: nn.Module, place: Place, width: int) -> Layer:
    """Return the objects of a block: one row each for every tensor that makes them, and for what reads them.

    The layer cannot be called: fits take recorded values of the objects and `outgoing`, (n, n_out * size)
    with the columns of each output next to each other.
    """
    parts = tuple(
        part.rows(getattr(model.get_submodule(part.module), part.key).detach().double(), width)
        for part in parts_of(model, place)
    )
    reader = model.get_submodule(place.outgoing)
    bias, matrix = bias_of(reader), matrix_of(reader).double()
    return Layer(
        parts,
        (None,) * len(parts),
        matrix.reshape(len(matrix), width, -1).transpose(0, 1).flatten(1),
        None if bias is None else bias.double(),
        torch.ones(width, dtype=torch.float64, device=matrix.device),
        no_activation,
        biased=bias is not None,
    )


def no_activation(*parts: Tensor) -> Tensor:
    """Refuse to be called: what recorded objects give is no function of one row."""
    raise TypeError(
        "a layer of recorded objects (heads, channels with layers between) cannot be called on rows"
    )


def write_recorded(model: nn.Module, place: Place, layer: Layer, before: int) -> None:
    """Put the objects of `layer` in the place of a block's `before` objects, in place: pass a copy.

    Attributes that hold the number of heads or their size together follow; hooks and flags stay.
    """
    for name in place.incoming:
        open_attention(model.get_submodule(name))
    counts = None if bool((layer.multiplicities == 1).all()) else layer.multiplicities
    for part, rows in zip(parts_of(model, place), layer.incoming, strict=True):
        module = model.get_submodule(part.module)
        old: Any = getattr(module, part.key)
        value = part.value(rows.detach().to(old), old).contiguous()
        parameter = part.key in module._parameters
        setattr(module, part.key, nn.Parameter(value, old.requires_grad) if parameter else value)
    reader: Any = model.get_submodule(place.outgoing)
    old = reader.weight
    outputs = old.shape[1 if is_conv1d(reader) else 0]
    columns = layer.outgoing.reshape(layer.width, outputs, -1).transpose(0, 1).flatten(1)
    stored = columns.T if is_conv1d(reader) else columns.reshape(outputs, -1, *old.shape[2:])
    reader.weight = nn.Parameter(stored.detach().to(old).contiguous(), old.requires_grad)
    set_bias(reader, layer.outgoing_bias)
    reserve_recorded(model, place, before, layer.width)
    count_recorded(model, place, counts)


def reserve_recorded(model: nn.Module, place: Place, before: int, after: int) -> None:
    """Bring size attributes in line with parameters that have been replaced, and leave fused fast paths."""
    for name in (*place.incoming, *place.chain, place.outgoing):
        module = model.get_submodule(name)
        open_attention(module)
        if not isinstance(module, nn.MultiheadAttention):
            set_sizes(module)
    if not place.sections:
        return
    first = model.get_submodule(place.incoming[-1])
    owners = [model.get_submodule(place.name), *(parent_of(model, name) for name in place.incoming)]
    for module in dict.fromkeys(owners):
        if isinstance(module, SlimMultiheadAttention):
            module.num_heads = after
        elif not isinstance(first, nn.MultiheadAttention):
            size = _rows(first) // (place.sections[-1] * after)
            _rename(module, before, after, size, place.repeat)
    leave_fast_path(model, place.name)


def count_of_heads(model: nn.Module, place: Place) -> int | None:
    """Return how many heads the module of a block says that it has, or None where it does not say."""
    module = model.get_submodule(place.name)
    return next((vars(module)[name] for name in (*_SHARED_COUNTS, *_COUNTS) if name in vars(module)), None)


def _rename(module: nn.Module, before: int, after: int, size: int, repeat: int) -> None:
    """Correct counts and sizes; with common keys and values `repeat` inputs belong to several query heads."""
    queries = max(1, repeat // size)
    meant = [(name, before * queries, after * queries) for name in _COUNTS]
    meant += [(name, before, after) for name in _SHARED_COUNTS]
    meant += [(name, before * repeat, after * repeat) for name in _SIZES]
    for name, old, new in meant:
        if vars(module).get(name) == old:
            setattr(module, name, new)


def _rows(module: Any) -> int:
    return int(module.weight.shape[1 if is_conv1d(module) else 0])


def count_recorded(model: nn.Module, place: Place, counts: Tensor | None) -> None:
    """Give a block's layers the multiplicities of its objects, or None where all are single."""
    sections = dict(zip(place.incoming, place.sections, strict=False))
    for name in (*place.incoming, *place.chain):
        module = model.get_submodule(name)
        if isinstance(module, SlimMultiheadAttention):
            like: Any = module.out_proj.weight
            module.head_multiplicities = None if counts is None else counts.detach().to(like, copy=True)
        else:
            set_multiplicities(
                module, "output_multiplicities", _spread(counts, _rows(module), sections.get(name, 1))
            )
    reader: Any = model.get_submodule(place.outgoing)
    read = reader.weight.shape[0 if is_conv1d(reader) else 1]
    set_multiplicities(reader, "input_multiplicities", _spread(counts, read, 1))


def _spread(counts: Tensor | None, entries: int, sections: int) -> Tensor | None:
    """Return a multiplicity for each entry of an axis with all objects in turn in each section."""
    if counts is None:
        return None
    return counts.repeat_interleave(entries // (sections * len(counts))).repeat(sections)
