"""Which tensors, attributes and classes the modules of a model have, to give them back later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Snapshot:
    """The class and the attributes of every module of a model, without a copy of any tensor.

    Enough to undo what puts other tensors, or other memory, in the place of old ones, as writing units does,
    and what freezes parameters; not what writes into a tensor, nor what changes the content of an attribute,
    such as a field of a configuration. It may be put back as often as wanted, also where that was cut short.

    Parameters
    ----------
    modules : tuple of (nn.Module, type, dict)
        Each module, its class and its attributes; dicts among these, such as that of parameters, are copies.
    parameters : tuple of (nn.Parameter, Tensor, bool)
        Each parameter, its memory and whether it requires a gradient.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 3))
    >>> before, weight = Snapshot.of(net), net[0].weight
    >>> net[0].weight, net[0].out_features = nn.Parameter(weight[:1].detach()), 1
    >>> before.put_back()
    >>> net[0].weight is weight, net[0].out_features
    (True, 3)
    """

    modules: tuple[tuple[nn.Module, type[nn.Module], dict[str, Any]], ...]
    parameters: tuple[tuple[nn.Parameter, Tensor, bool], ...]

    @staticmethod
    def of(model: nn.Module) -> Snapshot:
        """Return what a model's modules have now."""
        modules = tuple((m, type(m), _copied(vars(m))) for m in model.modules())
        return Snapshot(modules, tuple((p, p.data, p.requires_grad) for p in model.parameters()))

    def put_back(self) -> None:
        """Give all modules what they had."""
        for module, kind, attributes in self.modules:
            module.__class__ = kind
            vars(module).clear()
            vars(module).update(_copied(attributes))
        for parameter, data, flag in self.parameters:
            parameter.data = data
            parameter.requires_grad_(flag)


def _copied(attributes: dict[str, Any]) -> dict[str, Any]:
    return {key: value.copy() if isinstance(value, dict) else value for key, value in attributes.items()}
