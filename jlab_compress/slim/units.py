"""Where the units of a block are: on which axis of which tensor, and what can be done with them there.

A unit is what a block has many of: a neuron, a channel, an attention head. Every tensor that must be
permuted together with the others when units change places has a `UnitAxis`; what is done to units is done
axis by axis, whatever the units are and however many tensors share their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jlab_compress.slim.copies import on_mesh

Role = Literal["makes", "treats", "reads"]


@dataclass(frozen=True)
class UnitAxis:
    """An axis of one tensor of a layer that runs over the units of a block.

    Parameters
    ----------
    module : str
        Dotted path of the layer.
    tensor : str
        Name of the parameter or running statistic in it.
    axis : int
        The axis; it has `sections` stretches, each with all n units in turn, `each` entries for every unit.
    role : {"makes", "treats", "reads"}
        Whether the layer makes the units (its outputs), treats each on its own (a norm, a depthwise
        convolution), or reads them (its inputs).
    sections : int
        More than one where a tensor holds several sets of the units, such as queries, keys and values.
    each : int
        Entries that belong to one unit, such as the size of a head, or a flattened channel's positions.

    Examples
    --------
    >>> heads = UnitAxis("attention", "in_proj_weight", 0, sections=3, each=4)
    >>> heads.length(2), heads.width(torch.zeros(24, 8))
    (24, 2)
    """

    module: str
    tensor: str
    axis: int
    role: Role = "makes"
    sections: int = 1
    each: int = 1

    @property
    def name(self) -> str:
        """The tensor's name among those of the model."""
        return f"{self.module}.{self.tensor}" if self.module else self.tensor

    def length(self, width: int) -> int:
        """Return the length of the axis for a number of units."""
        return self.sections * self.each * width

    def width(self, value: Tensor) -> int:
        """Return the number of units n in a tensor."""
        return value.shape[self.axis] // (self.sections * self.each)

    def rows(self, value: Tensor) -> Tensor:
        """Return a tensor with one row per unit, (n, m): all entries that belong to it."""
        first = value.movedim(self.axis, 0)
        return first.reshape(self.sections, self.width(value), -1).transpose(0, 1).flatten(1)

    def value(self, rows: Tensor, like: Tensor) -> Tensor:
        """Return the tensor that has these `rows`, of the shape of `like` but for the number of units."""
        others = like.movedim(self.axis, 0).shape[1:]
        split = rows.reshape(len(rows), self.sections, self.each, *others)
        return split.transpose(0, 1).flatten(0, 2).movedim(0, self.axis)

    def columns(self, value: Tensor) -> Tensor:
        """Return `rows` of a tensor that reads, with the entries of each output next to each other."""
        first = value.movedim(self.axis, 1)
        return first.reshape(len(first), self.width(value), -1).transpose(0, 1).flatten(1)

    def value_of_columns(self, columns: Tensor, like: Tensor) -> Tensor:
        """Return the tensor that has these `columns`; see `value`."""
        outputs, _, *others = like.movedim(self.axis, 1).shape
        split = columns.reshape(len(columns), outputs, self.each, *others)
        return split.transpose(0, 1).flatten(1, 2).movedim(1, self.axis)

    def select(self, value: Tensor, indices: Tensor) -> Tensor:
        """Return the tensor of the units at `indices` (s,), which may name a unit more than once."""
        shape, at = list(value.shape), self.axis
        split = value.reshape(*shape[:at], self.sections, self.width(value), self.each, *shape[at + 1 :])
        return split.index_select(at + 1, indices.to(value.device)).flatten(at, at + 2)

    def spread(self, numbers: Tensor) -> Tensor:
        """Return one number per entry of the axis from one per unit."""
        return numbers.repeat_interleave(self.each).repeat(self.sections)

    def broadcast(self, numbers: Tensor, value: Tensor) -> Tensor:
        """Return one number per unit so that it can be multiplied with a tensor."""
        shape = [-1 if a == self.axis else 1 for a in range(value.dim())]
        return on_mesh(self.spread(numbers).view(shape), value)

    def scale(self, value: Tensor, factors: Tensor) -> Tensor:
        """Return the tensor with each unit's entries multiplied by its factor."""
        return value * self.broadcast(factors.to(value), value)

    def carry(self, value: Tensor, shares: Tensor) -> Tensor:
        """Return the tensor of s other units, each a sum of the n units by its row of `shares` (s, n)."""
        shares = torch.kron(shares, torch.eye(self.each).to(shares)).to(value)
        shares = torch.kron(torch.eye(self.sections).to(shares), shares)
        return torch.movedim(torch.tensordot(shares, value, dims=([1], [self.axis])), 0, self.axis)


COUNTS = {
    "reads": "input_multiplicities",
    "makes": "output_multiplicities",
    "treats": "output_multiplicities",
}


def _no_sizes(module: nn.Module) -> Mapping[str, int]:
    return {}


@dataclass(frozen=True)
class Operator:
    """What one type of layer keeps for each unit that it makes, treats or reads.

    Tensors are named with the axis on which the units are; those that a layer does not have are passed over.

    Parameters
    ----------
    stock : type or None
        The class of the layers meant; subclasses are not, as they may compute something else. None where
        `fits` tells.
    weighted : type
        The class that such a layer becomes where its units have multiplicities; see `WeightedLayer`.
    makes, treats, reads : mapping of str to int
        Tensors by role.
    sections : mapping of str to int
        Of tensors that hold several sets of the units one after another.
    sizes : callable
        From a layer to its attributes that tell the sizes of its tensors.
    counts : mapping of str to str
        Buffers of the weighted class by role: multiplicities of the units made (or treated), and read.
    one_count_each : bool
        Whether these buffers have one number per unit instead of one per entry of the axis.
    fits : callable, optional
        Tells such a layer where no class does.
    open : callable, optional
        Makes a stock layer ready, in place, for another number of units and for hooks on all it calls.
    """

    stock: type[nn.Module] | None
    weighted: type[nn.Module]
    makes: Mapping[str, int] = field(default_factory=dict)
    treats: Mapping[str, int] = field(default_factory=dict)
    reads: Mapping[str, int] = field(default_factory=dict)
    sections: Mapping[str, int] = field(default_factory=dict)
    sizes: Callable[[Any], Mapping[str, int]] = _no_sizes
    counts: Mapping[str, str] = field(default_factory=lambda: COUNTS)
    one_count_each: bool = False
    fits: Callable[[nn.Module], bool] | None = None
    open: Callable[[nn.Module], None] | None = None

    def meant(self, module: nn.Module) -> bool:
        """Return whether this is said about a layer."""
        if type(module) is self.stock or isinstance(module, self.weighted):
            return True
        return self.fits is not None and self.fits(module)

    def tensors(self, role: Role) -> Mapping[str, int]:
        """Return the tensors of a role, with their axis."""
        return {"makes": self.makes, "treats": self.treats, "reads": self.reads}[role]


@dataclass(frozen=True)
class Located:
    """What a `Block` and the `BlockPlan` made of it share: where the units are.

    Parameters
    ----------
    name : str
        The block's name.
    kind : str
        What its units are, such as "conv".
    units : tuple of UnitAxis
        Every axis that runs over the units.
    activation_only : bool
        Whether only a run of the model tells what a unit gives: heads, whose values depend on other
        positions, and channels that further layers treat before they are read.
    operators : tuple of Operator
        Types of layers among them that the package does not know.
    """

    name: str
    kind: str
    units: tuple[UnitAxis, ...]
    activation_only: bool = field(default=False, kw_only=True)
    operators: tuple[Operator, ...] = field(default=(), kw_only=True, repr=False, compare=False)

    @property
    def incoming(self) -> tuple[str, ...]:
        """Dotted paths of the layers that make the units, each once."""
        return modules_of(self.units, "makes")

    @property
    def outgoing(self) -> str:
        """Dotted path of the (first) layer that reads the units; empty where none is known."""
        return next(iter(modules_of(self.units, "reads")), "")

    @property
    def reading_axis(self) -> UnitAxis:
        """The axis of the (first) layer that reads the units."""
        return next(unit for unit in self.units if unit.role == "reads")

    @property
    def making_axes(self) -> tuple[UnitAxis, ...]:
        """The axes of the layers that make or treat the units."""
        return tuple(unit for unit in self.units if unit.role != "reads")

    @property
    def norm(self) -> str | None:
        """Dotted path of a batch norm that is part of each neuron, directly behind the incoming layer."""
        return None if self.activation_only else next(iter(modules_of(self.units, "treats")), None)

    @property
    def channelwise(self) -> tuple[str, ...]:
        """Dotted paths of layers that treat each channel on its own before it is read."""
        return modules_of(self.units, "treats") if self.activation_only else ()

    @property
    def entries_per_unit(self) -> int:
        """Consecutive inputs of the outgoing layer that come from one unit (a flattened channel, a head)."""
        return next((unit.each for unit in self.units if unit.role == "reads"), 1)


def modules_of(units: Iterable[UnitAxis], *roles: Role) -> tuple[str, ...]:
    """Return the dotted paths of the layers in some roles, or in all, each once."""
    return tuple(dict.fromkeys(unit.module for unit in units if not roles or unit.role in roles))


def tensor_of(model: nn.Module, unit: UnitAxis) -> Tensor:
    """Return the tensor of an axis, without a graph.

    Raises
    ------
    AttributeError
        If the model has no such layer or tensor.
    """
    return stored_tensor(model.get_submodule(unit.module), unit.tensor, unit.module).detach()


def stored_tensor(module: nn.Module, name: str, path: str = "the layer") -> Tensor:
    """Return a module's parameter or buffer as it is kept: of slim layers, one copy of each weight.

    Raises
    ------
    AttributeError
        If it has no such tensor.
    """
    kept = module._parameters.get(name)
    found = getattr(module, name, None) if kept is None else kept
    if not isinstance(found, Tensor):
        raise AttributeError(f"{path} has no tensor {name}")
    return found


def length_in(model: nn.Module, unit: UnitAxis) -> int | None:
    """Return the length of an axis in a model, or None where it has no such layer, tensor or axis."""
    try:
        value = tensor_of(model, unit)
    except AttributeError:
        return None
    return value.shape[unit.axis] if value.dim() > unit.axis else None


def without(module: nn.Module | None, unit: UnitAxis) -> bool:
    """Return whether a layer has nothing in the place of an axis's tensor, as a norm without statistics."""
    return module is not None and module._buffers.get(unit.tensor, module) is None


def replace_tensor(module: nn.Module, name: str, value: Tensor) -> None:
    """Put a tensor in the place of a module's parameter or buffer; a parameter keeps `requires_grad`."""
    old = module._parameters.get(name)
    if old is None:
        setattr(module, name, value)
    else:
        new = module._parameters[name] = nn.Parameter(value, old.requires_grad)
        vars(new).update({key: kept for key, kept in vars(old).items() if carries_along(kept)})


def carries_along(value: Any) -> bool:
    """Return whether a parameter's attribute is right for another one in its place: a plain mark."""
    if isinstance(value, tuple):
        return all(map(carries_along, value))
    return value is None or isinstance(value, bool | int | float | str)
