"""What is known about the models of a notebook: looked at once per version, shared by magics and panels.

A key press, a click or the display of a cell's value must cost neither seconds each time nor a second copy of
billions of weights. Nothing here keeps a model alive; what is known of it goes with it.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from jlab_compress.notebook.fields import Action
from jlab_compress.notebook.kernel.structure import Structure, read_structure, shape_key

if TYPE_CHECKING:
    from jlab_compress.compression.prepared import Prepared
    from jlab_compress.inspection.block import Blocks


@dataclass
class _Known:
    """One model in one shape; its blocks, or why they cannot be read, once somebody has asked."""

    model: weakref.ref[Any]
    structure: Structure
    blocks: Blocks | None = None
    fault: str | None = None


_known: dict[int, _Known] = {}
_prepared: list[tuple[bytes, Prepared]] = []  # the latest one only: it holds a copy of the model


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
    from jlab_compress.inspection.find import find_blocks

    found = known_blocks(model)
    if found is None:
        try:
            found = find_blocks(model)
            remember_blocks(model, found)
        except Exception as fault:  # whatever the user's own forward raises
            found = _entry(model).fault = str(fault)
    return found


def recall_blocks(model: Any) -> Blocks | str | None:
    """Return what `search_blocks` does, but for a large model only what is known: None before a search."""
    return known_blocks(model) if structure_of(model).large else search_blocks(model)


def remember_blocks(model: Any, blocks: Blocks) -> None:
    """Keep blocks that a cell has found, in place of those that were known."""
    entry = _entry(model)
    entry.blocks, entry.fault = blocks, None


def recall_prepared(model: Any, calibration: Any, *, seed: int = 0) -> Prepared:
    """Return what `prepare` does; the latest one again while model, calibration and seed are the same.

    Raises
    ------
    TypeError, ValueError
        As `prepare`.
    """
    from jlab_compress.compression.prepared import prepare

    key = None if structure_of(model).large else _content_key((seed, calibration))
    for known, prepared in _prepared:
        if known == key and prepared.source() is model and prepared.change() is None:
            return prepared
    _prepared.clear()
    made = prepare(model, calibration, seed=seed)
    remember_blocks(model, made.blocks)
    if key is not None:
        _prepared.append((key, made))
    return made


def looked_at(action: Action, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an action is given, with a prepared model in the place of a model and its calibration."""
    if not action.prepares or "calibration" not in given:
        return given
    prepared = recall_prepared(given["model"], given["calibration"], seed=given.get("seed", 0))
    return {"model": prepared, **{k: v for k, v in given.items() if k not in ("model", "calibration")}}


def _entry(model: Any) -> _Known:
    key = shape_key(model)
    entry = _known.get(id(model))
    if entry is None or entry.model() is not model or entry.structure.key != key:
        for dead in [place for place, other in _known.items() if other.model() is None]:
            del _known[dead]
        entry = _known[id(model)] = _Known(weakref.ref(model), read_structure(model, key))
    return entry


def _content_key(value: Any) -> bytes | None:
    """Return a digest of nested tensors and plain values; None for what may read otherwise next time."""
    from torch import Tensor, strided, uint8

    digest = blake2b(digest_size=16)
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Tensor) and item.layout is strided:
            digest.update(f"{item.dtype}{tuple(item.shape)}{item.device}".encode())
            digest.update(item.detach().cpu().contiguous().flatten().view(uint8).numpy().tobytes())
        elif isinstance(item, dict):
            stack.extend(part for pair in item.items() for part in pair)
        elif isinstance(item, tuple | list):
            digest.update(f"{type(item).__name__}{len(item)}".encode())
            stack.extend(item)
        elif isinstance(item, bool | int | float | str | None):
            digest.update(repr(item).encode())
        else:
            return None
    return digest.digest()
