"""Attributes of the modules around a block that must stay true when its width changes."""

from __future__ import annotations

from typing import Any

from torch import nn

# Names under which modules and configurations of the field store the width of their hidden layer.
_WIDTH_NAMES = ("intermediate_size", "d_ff", "ffn_dim", "n_inner", "dim_feedforward", "hidden_dim")


def parent_of(model: nn.Module, name: str) -> nn.Module:
    """Return the module that holds the one at a dotted path."""
    return model.get_submodule(name.rpartition(".")[0])


def leave_fast_path(model: nn.Module, name: str) -> None:
    """Keep `nn.TransformerEncoderLayer` from passing by the slim layers in it.

    In evaluation mode without gradients its fused kernel reads the weights of `linear1` and `linear2`
    itself and would miss the multiplicities.
    """
    parts = name.split(".")
    for end in range(len(parts)):
        module: Any = model.get_submodule(".".join(parts[:end]))
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False


def rename_widths(model: nn.Module, incoming: tuple[str, ...], before: int, after: int) -> None:
    """Keep width attributes of the module around a block at the true value."""
    parent = parent_of(model, incoming[0])
    for attribute in _WIDTH_NAMES:
        if vars(parent).get(attribute) == before:
            setattr(parent, attribute, after)


def rename_config(model: nn.Module, before: set[int], after: set[int]) -> None:
    """Write the common width of all blocks into the model's configuration, if it has one field for it.

    Only where every block went from one width to one other width; a configuration cannot say more.
    """
    config: Any = getattr(model, "config", None)
    if config is None or len(before) != 1 or len(after) != 1:
        return
    for attribute in _WIDTH_NAMES:
        if getattr(config, attribute, None) in before:
            setattr(config, attribute, next(iter(after)))
