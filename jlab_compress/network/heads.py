"""Read the heads of an attention block from its layers, and write other heads in their place, on a copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from jlab_compress.fitting.layer import Layer
from jlab_compress.network.attributes import leave_fast_path, parent_of
from jlab_compress.network.multihead import SlimMultiheadAttention, open_attention
from jlab_compress.network.surgery import (
    bias_of,
    columns_of,
    is_conv1d,
    set_bias,
    set_columns,
    set_multiplicities,
    set_sizes,
)

# Names under which modules of the field store the number of their heads, and the size of all together.
_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")
_SHARED_COUNTS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads")
_SIZES = ("all_head_size", "inner_dim", "split_size")


class Place(Protocol):
    """Where a block of heads is: a `Block`, or the `BlockPlan` made of it."""

    @property
    def name(self) -> str: ...
    @property
    def incoming(self) -> tuple[str, ...]: ...
    @property
    def outgoing(self) -> str: ...
    @property
    def sections(self) -> tuple[int, ...]: ...
    @property
    def repeat(self) -> int: ...


@dataclass(frozen=True)
class Part:
    """One parameter of the layers that make queries, keys and values.

    Parameters
    ----------
    module : str
        Dotted path.
    key : str
        The parameter's name in it.
    axis : int
        The axis on which its heads are.
    sections : int
        Stretches of that axis, each with all heads in turn.
    """

    module: str
    key: str
    axis: int
    sections: int

    def rows(self, value: Tensor, width: int) -> Tensor:
        """Return the parameter with one row per head, (n, ...), for a number of heads."""
        first = value.movedim(self.axis, 0)
        return first.reshape(self.sections, width, -1).transpose(0, 1).flatten(1)

    def value(self, rows: Tensor, like: Tensor) -> Tensor:
        """Return what `rows` were made from, for a parameter of the shape of `like` but for the heads."""
        others = like.movedim(self.axis, 0).shape[1:]
        split = rows.reshape(len(rows), self.sections, -1, *others)
        return split.transpose(0, 1).flatten(0, 2).movedim(0, self.axis)


def parts_of(model: nn.Module, place: Place) -> Iterator[Part]:
    """Yield each parameter that makes the queries, keys and values of a block."""
    for name, sections in zip(place.incoming, place.sections, strict=True):
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


def read_heads(model: nn.Module, place: Place, width: int) -> Layer:
    """Return the heads of a block as objects: one row each for every parameter that makes them, and for O.

    The layer cannot be called: what a head computes depends on other positions, so fits take the recorded
    values of the heads and `outgoing`, (n, n_out * size) with the columns of each output next to each other.
    """
    modules = model.get_submodule
    parts = tuple(
        part.rows(getattr(modules(part.module), part.key).detach().double(), width)
        for part in parts_of(model, place)
    )
    reader = modules(place.outgoing)
    bias, outgoing = bias_of(reader), columns_of(reader, place.repeat).double()
    return Layer(
        parts,
        (None,) * len(parts),
        outgoing.contiguous(),
        None if bias is None else bias.double(),
        torch.ones(width, dtype=torch.float64, device=outgoing.device),
        no_activation,
        biased=bias is not None,
    )


def no_activation(*parts: Tensor) -> Tensor:
    """Refuse to be called: heads have no activation of their own."""
    raise TypeError("a layer of attention heads cannot be called on rows")


def write_heads(model: nn.Module, place: Place, layer: Layer, before: int) -> None:
    """Put the heads of `layer` in the place of a block's `before` heads, in place: pass a copy.

    Attributes that hold the number of heads or their size together follow; hooks and flags stay.
    """
    for name in place.incoming:
        open_attention(model.get_submodule(name))
    counts = None if bool((layer.multiplicities == 1).all()) else layer.multiplicities
    for part, rows in zip(parts_of(model, place), layer.incoming, strict=True):
        module = model.get_submodule(part.module)
        old: Any = getattr(module, part.key)
        value = part.value(rows.detach().to(old), old).contiguous()
        setattr(module, part.key, nn.Parameter(value, old.requires_grad))
    reader = model.get_submodule(place.outgoing)
    set_columns(reader, layer.outgoing, place.repeat)
    set_bias(reader, layer.outgoing_bias)
    reserve_heads(model, place, before, layer.width)
    count_heads(model, place, counts)


def reserve_heads(model: nn.Module, place: Place, before: int, after: int) -> None:
    """Bring size attributes in line with parameters that have been replaced, and leave fused fast paths."""
    for name, sections in zip(place.incoming, place.sections, strict=True):
        module = model.get_submodule(name)
        open_attention(module)
        if not isinstance(module, nn.MultiheadAttention):
            set_sizes(module)
            size = _rows(module) // (sections * after)
    set_sizes(model.get_submodule(place.outgoing))
    owners = [model.get_submodule(place.name), *(parent_of(model, name) for name in place.incoming)]
    for module in dict.fromkeys(owners):
        if isinstance(module, SlimMultiheadAttention):
            module.num_heads = after
        elif not isinstance(model.get_submodule(place.incoming[0]), nn.MultiheadAttention):
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


def count_heads(model: nn.Module, place: Place, counts: Tensor | None) -> None:
    """Give a block's layers the multiplicities of its heads, or None where all are single."""
    for name, sections in zip(place.incoming, place.sections, strict=True):
        module = model.get_submodule(name)
        if isinstance(module, SlimMultiheadAttention):
            like: Any = module.out_proj.weight
            module.head_multiplicities = None if counts is None else counts.detach().to(like, copy=True)
        elif counts is None:
            set_multiplicities(module, "output_multiplicities", None)
        else:
            each = counts.repeat_interleave(_rows(module) // (sections * len(counts)))
            set_multiplicities(module, "output_multiplicities", each.repeat(sections))
    read = None if counts is None else counts.repeat_interleave(place.repeat)
    set_multiplicities(model.get_submodule(place.outgoing), "input_multiplicities", read)
