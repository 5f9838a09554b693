"""Structure and blocks of the models of a notebook: looked up once per shape, shared by magics and panels.

A key press, a click or the display of a cell's value must cost neither seconds each time nor a second copy of
billions of weights. Nothing here keeps a model alive; what is known of it goes with it.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jlab_compress.errors import lacks_memory
from jlab_compress.notebook.kernel.structure import Structure, as_torch, read_structure, shape_key
from jlab_compress.public import public

if TYPE_CHECKING:
    from jlab_compress.inspection.block import Blocks


@dataclass
class _Known:
    """One model in one shape; its blocks, or why they cannot be read, once somebody has asked."""

    model: weakref.ref[Any]
    structure: Structure
    blocks: Blocks | None = None
    fault: str | None = None


_known: dict[int, _Known] = {}


def structure_of(model: Any) -> Structure:
    """Return size and shape of a module tree, read anew when its `shape_key` has changed."""
    return _entry(model).structure


def known_blocks(model: Any) -> Blocks | str | None:
    """Return the blocks that are known already, or why they cannot be read; None before anybody asked."""
    entry = _entry(model)
    return entry.fault if entry.blocks is None else entry.blocks


def search_blocks(model: Any) -> Blocks | str:
    """Return the blocks of a model, or why they cannot be read; a model is searched once per shape.

    Examples
    --------
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> search_blocks(net) is search_blocks(net) is known_blocks(net)
    True
    """
    found = known_blocks(model)
    if found is None:
        try:
            found = public("find_blocks")(model)
            remember_blocks(model, found)
        except Exception as fault:  # whatever the user's own forward raises
            found = str(fault)
            if not lacks_memory(fault):  # that may be over by the next search
                _entry(model).fault = found
    return found


def recall_blocks(model: Any) -> Blocks | str | None:
    """Return what `search_blocks` does, but for a large model only what is known: None before a search."""
    return known_blocks(model) if structure_of(model).large else search_blocks(model)


def remember_blocks(model: Any, blocks: Blocks) -> None:
    """Keep blocks that a cell has found, in place of those that were known."""
    entry = _entry(model)
    entry.blocks, entry.fault = blocks, None


def _entry(model: Any) -> _Known:
    with as_torch():
        return _looked_up(model)


def _looked_up(model: Any) -> _Known:
    key = shape_key(model)
    entry = _known.get(id(model))
    if entry is None or entry.model() is not model or entry.structure.key != key:
        for dead in [place for place, other in _known.items() if other.model() is None]:
            del _known[dead]
        entry = _known[id(model)] = _Known(weakref.ref(model), read_structure(model, key))
    return entry
