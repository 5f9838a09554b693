"""The model that a notebook has looked at last, with its calibration, so that it is looked at once."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from torch import Tensor, strided, uint8

from jlab_compress.compression.prepared import Prepared
from jlab_compress.notebook.fields import Action
from jlab_compress.notebook.kernel.block_cache import remember_blocks, structure_of
from jlab_compress.public import public

_latest: list[tuple[bytes, Prepared]] = []  # at most one: it holds a copy of the model


def carry_out(action: Action, given: Mapping[str, Any]) -> Any:
    """Carry out an action; its model is looked at once, and blocks that it finds are kept."""
    made = action.call(**looked_at(action, given))
    if action.name == "inspect":
        remember_blocks(given["model"], made)
    return made


def looked_at(action: Action, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an action is given, with a prepared model in the place of a model and its calibration."""
    if not action.prepares or "calibration" not in given:
        return given
    prepared = recall_prepared(
        given["model"], given["calibration"], seed=given.get("seed", 0), limit=given.get("limit")
    )
    looked = ("model", "calibration", "limit")
    return {"model": prepared, **{k: v for k, v in given.items() if k not in looked}}


def recall_prepared(model: Any, calibration: Any, *, seed: int = 0, limit: int | None = None) -> Prepared:
    """Return what `prepare` does; the latest one again while model, calibration, limit and seed are the same.

    Raises
    ------
    TypeError, ValueError
        As `prepare`.
    """
    key = None if structure_of(model).large else _content_key((seed, limit, calibration))
    for known, prepared in _latest:
        if known == key and prepared.source() is model and prepared.change() is None:
            return prepared
    _latest.clear()
    made: Prepared = public("prepare")(model, calibration, seed=seed, limit=limit)
    remember_blocks(model, made.blocks)
    if key is not None:
        _latest.append((key, made))
    return made


def _content_key(value: Any) -> bytes | None:
    """Return a digest of nested tensors and plain values; None for what may read otherwise next time."""
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
