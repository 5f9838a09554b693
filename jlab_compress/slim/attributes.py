"""Attributes of the modules around a block that must stay true when its width changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from jlab_compress.slim.plan import BlockPlan
from jlab_compress.slim.units import Located

# Names under which modules and configurations of the field store the width of their hidden layer.
_WIDTH_NAMES = ("intermediate_size", "d_ff", "ffn_dim", "n_inner", "dim_feedforward", "hidden_dim")
# The number of heads, and the size of all heads together.
_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")
_SHARED_COUNTS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads")
_HEAD_SIZES = ("head_dim", "d_kv")
_SIZES = ("all_head_size", "inner_dim", "split_size")
# Fields for the width of the residual stream, which other layers of the same width share.
_STREAM_NAMES = ("hidden_size", "d_model", "n_embd", "dim")


def fixing_field(model: nn.Module, width: int) -> str | None:
    """Return the field of a model's configuration that rules a block as wide as the residual stream, or None.

    Such a block (a pooler, say) cannot have a width of its own in a configuration, so a model that is
    saved with it cannot be built again by `from_pretrained`.
    """
    config: Any = getattr(model, "config", None)
    if config is None or any(getattr(config, name, None) == width for name in _WIDTH_NAMES):
        return None
    return next((name for name in _STREAM_NAMES if getattr(config, name, None) == width), None)


def parent_of(model: nn.Module, name: str) -> nn.Module:
    """Return the module that holds the one at a dotted path."""
    return model.get_submodule(name.rpartition(".")[0])


def drops_weights(model: nn.Module, name: str) -> bool:
    """Return whether an attention module drops attention weights in training."""
    module = model.get_submodule(name)
    own = (value for key, value in vars(module).items() if "dropout" in key)
    inner = (m.p for m in module.modules() if isinstance(m, nn.Dropout))
    return any(isinstance(p, float) and p > 0 for p in (*own, *inner))


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


def rename_sizes(model: nn.Module, block: Located, before: int, after: int) -> None:
    """Keep attributes of the modules around a block true that name the number of its units or their size."""
    makers = [model.get_submodule(name) for name in block.incoming]
    if any(isinstance(maker, nn.MultiheadAttention) for maker in makers):
        return
    around = [parent_of(model, name) for name in block.incoming]
    whole = dict(model.named_modules()).get(block.name)
    meant = _head_names(block) if block.kind == "attention" else dict.fromkeys(_WIDTH_NAMES, 1)
    for module in dict.fromkeys([*around, *([] if whole is None else [whole])]):
        for attribute, factor in meant.items():
            if vars(module).get(attribute) == before * factor:
                setattr(module, attribute, after * factor)


def _head_names(block: Located) -> dict[str, int]:
    """Return what attributes count for each object: query heads with common keys and values are one."""
    queries = max(1, block.entries_per_unit // _head_size(block))
    return {
        **dict.fromkeys(_COUNTS, queries),
        **dict.fromkeys(_SHARED_COUNTS, 1),
        **dict.fromkeys(_SIZES, block.entries_per_unit),
    }


def _head_size(block: Located) -> int:
    return next(unit.each for unit in reversed(block.units) if unit.role == "makes")


def count_of_heads(model: nn.Module, block: Located) -> int | None:
    """Return how many heads the module of a block says that it has, or None where it does not say."""
    own = vars(model.get_submodule(block.name))
    return next((own[name] for name in (*_SHARED_COUNTS, *_COUNTS) if name in own), None)


def rename_config(model: nn.Module, blocks: Sequence[BlockPlan]) -> tuple[str, ...]:
    """Write new widths and numbers of heads into the configurations in a slim model, field by field.

    A field rules the blocks that had its value. It is changed only where they all have one new value and
    no layer of the same role kept the old one; a configuration cannot say more.

    Returns
    -------
    tuple of str
        Blocks of which no field says the new width, so that `from_pretrained` will not give the model back.
    """
    covered, said, seen = set[str](), set[str](), set[int]()
    for path, module in model.named_modules():
        config: Any = vars(module).get("config")
        if config is None or id(config) in seen:
            continue
        seen.add(id(config))
        own = [block for block in blocks if not path or block.name.startswith(f"{path}.")]
        covered |= {block.name for block in own}
        for field in (*_WIDTH_NAMES, *_COUNTS, *_SHARED_COUNTS):
            ruled = [block for block in own if _value(config, field) == _said(config, field, block, "before")]
            after = {_said(config, field, block, "after") for block in ruled}
            if len(after) == 1 and (after == {_value(config, field)} or not _unchanged(model, ruled)):
                setattr(config, field, after.pop())
                said |= {block.name for block in ruled}
    return tuple(block.name for block in blocks if block.name in covered - said)


def _value(config: Any, field: str) -> Any:
    """Return what a field means: None for the width of a hidden layer is four times that of the stream."""
    value = getattr(config, field, 0)
    streams = [getattr(config, name, None) for name in _STREAM_NAMES]
    return next((4 * width for width in streams if width), 0) if value is None else value


def _said(config: Any, field: str, block: BlockPlan, when: Literal["before", "after"]) -> int | None:
    """Return the value of a field that is right for a block, or None for a field that says nothing of it.

    A number of heads says nothing where there is no field for their size, which then follows from the number.
    """
    width = block.width_before if when == "before" else block.width_after
    if block.kind != "attention":
        return width if field in _WIDTH_NAMES else None
    names, sized = _head_names(block), any(getattr(config, n, None) == _head_size(block) for n in _HEAD_SIZES)
    return width * names[field] if sized and field in (*_COUNTS, *_SHARED_COUNTS) else None


def _unchanged(model: nn.Module, blocks: Sequence[BlockPlan]) -> bool:
    """Tell whether a layer in the role of those that make some blocks' units has as many as they had."""
    makers = [(unit, block) for block in blocks for unit in block.units if unit.role == "makes"]
    before = {(_role(unit.module), unit.length(block.width_before)) for unit, block in makers}
    return any((_role(name), _units(module)) in before for name, module in model.named_modules())


def _role(name: str) -> tuple[str, ...]:
    """Return what a layer is called in each repeat of its block, such as ("intermediate", "dense")."""
    return tuple(part for part in name.split(".") if not part.isdigit())[-2:]


def _units(module: nn.Module) -> int | None:
    """Return how many units a layer makes, or None for other modules."""
    return getattr(module, "out_features", getattr(module, "nf", None))
