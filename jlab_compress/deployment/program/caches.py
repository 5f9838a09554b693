"""Caches that a generating model returns beside its outputs; a written model has none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from jlab_compress.errors import raise_lack_of_memory
from jlab_compress.execution.calls import Call, leaves_in
from jlab_compress.execution.isolation import undisturbed


def switch_off_caches(model: nn.Module, call: Call) -> bool:
    """Set `use_cache` of a transformers model to False, in place: pass a copy. Others stay as they are.

    Returns
    -------
    bool
        Whether the model returns less for it; where it returns the same, its configuration stays as it was.
    """
    configs = [config for config in _configs(model) if getattr(config, "use_cache", None) is True]
    if not configs:
        return False
    before = _returned(model, call)
    for config in configs:
        config.use_cache = False
    less = before != _returned(model, call)
    for config in configs:
        config.use_cache = not less
    return less


def _configs(model: nn.Module) -> Iterator[Any]:
    """Yield the configurations of a model's modules, and those inside them, each once."""
    waiting, seen = [getattr(module, "config", None) for module in model.modules()], set()
    while waiting:
        config = waiting.pop()
        if hasattr(config, "use_cache") and id(config) not in seen:
            seen.add(id(config))
            waiting += vars(config).values()
            yield config


def _returned(model: nn.Module, call: Call) -> list[tuple[Any, ...]] | None:
    """Return where a model returns something, or None where it does not run."""
    try:
        with undisturbed(model):
            return [path for path, item in leaves_in(call(model)) if item is not None]
    except Exception as error:
        raise_lack_of_memory(error)
        return None
