"""Keep a slim model in one file, and bring it back into a freshly built original."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from jlab_compress.execution.isolation import copy_model
from jlab_compress.execution.models import check_model, device_of, unwrapped
from jlab_compress.slim.attributes import leave_fast_path, rename_config, rename_widths
from jlab_compress.slim.conversion import as_weighted, attach_plan, plan_of
from jlab_compress.slim.multihead import SlimMultiheadAttention
from jlab_compress.slim.plan import BlockPlan, Plan
from jlab_compress.slim.recorded import count_of_heads, parts_of, reserve_recorded
from jlab_compress.slim.surgery import is_conv1d, set_sizes

FORMAT = "jlab-compress 1"


def save(slim: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a slim model's tensors and plan to one safetensors file.

    The file is written beside the path and moved there at the end, so a reader never sees half of it. It
    holds no code: tensors, and the plan and a checksum as text.

    Parameters
    ----------
    slim : nn.Module
        From `compress(...).model`, `load` or `fold`.
    path : path-like
        Where to write; an existing file is replaced.

    Raises
    ------
    ValueError
        If the model has no plan.
    OSError
        If the path cannot be written.

    Notes
    -----
    Tensors that share memory are stored once under each name. The result of `torch.compile` is saved as
    the module inside it.
    """
    plan = plan_of(slim)
    target = Path(path)
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in unwrapped(slim).state_dict().items()
    }
    text = plan.to_json()
    metadata = {"format": FORMAT, "plan": text, "sha256": _checksum(text, tensors)}
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(descriptor)
    except OSError as error:
        raise OSError(
            f"path: cannot write to {target.parent} ({error.strerror}); choose another folder"
        ) from error
    try:
        save_file(tensors, temporary, metadata)
        os.replace(temporary, target)
    except OSError as error:
        raise OSError(f"path: cannot write {target} ({error.strerror}); choose another path") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def load(path: str | os.PathLike[str], model: nn.Module) -> nn.Module:
    """Return the slim model of a file, built from an original of the same architecture.

    Parameters
    ----------
    path : path-like
        What `save` wrote.
    model : nn.Module
        A freshly built original (its values do not matter); it stays as it is. The slim model has its
        device, dtype and flags.

    Returns
    -------
    nn.Module
        The slim model with its plan.

    Raises
    ------
    TypeError
        If `model` is no torch module.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not one of ours, was changed after it was written, or belongs to another model.
    """
    check_model(model)
    tensors, plan = _read(Path(path))
    if device_of(model).type == "meta":
        raise ValueError("model: it is on the meta device and can hold no values; build it on a real one")
    slim = copy_model(model)
    for block in plan.blocks:
        _check_block(slim, block)
    _check_shapes(slim, plan, tensors)
    for block in plan.blocks:
        _reserve(slim, block, tensors)
    rename_config(slim, plan.blocks)
    _fill(slim, tensors)
    attach_plan(slim, plan)
    return slim


def _checksum(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Tensor], Plan]:
    if not path.is_file():
        raise FileNotFoundError(f"path: there is no file {path}; pass what save wrote")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"path: {path} is not a whole safetensors file ({error}); save the model again"
        ) from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"path: {path} was not written by jlab_compress.save (format {metadata.get('format')!r}, "
            f"expected {FORMAT!r})"
        )
    if metadata.get("sha256") != _checksum(metadata.get("plan", ""), tensors):
        raise ValueError(
            f"path: {path} was changed after it was written (its checksum is wrong); do not use it"
        )
    return tensors, Plan.from_json(metadata["plan"])


def _sides(model: nn.Module, block: BlockPlan, width: int) -> Iterator[tuple[str, str, int, int]]:
    """Yield module, parameter name, axis and wanted length of each weight of a block of so many neurons.

    Raises
    ------
    AttributeError
        If the model has no such layer.
    """
    if block.recorded:
        for part in parts_of(model, block):
            size = getattr(model.get_submodule(part.module), part.key).shape[part.axis]
            each = size // (part.sections * block.width_before)
            yield part.module, part.key, part.axis, part.sections * each * width
    else:
        for name in block.incoming:
            yield name, "weight", int(is_conv1d(model.get_submodule(name))), width
    if block.norm is not None:
        yield block.norm, "weight", 0, width
    reader = model.get_submodule(block.outgoing)
    yield block.outgoing, "weight", int(not is_conv1d(reader)), width * block.repeat


def _size(model: nn.Module, name: str, key: str) -> list[int]:
    """Return a parameter's shape, empty where the model has no such parameter."""
    try:
        value = getattr(model.get_submodule(name), key, None)
    except AttributeError:
        return []
    return list(value.shape) if isinstance(value, Tensor) else []


def _check_block(model: nn.Module, block: BlockPlan) -> None:
    try:
        sides = list(_sides(model, block, block.width_before))
    except AttributeError:
        sides = [(block.incoming[0], "weight", 0, block.width_before)]
    for name, key, axis, wanted in sides:
        size = _size(model, name, key)
        found = size[axis] if len(size) > axis else "none"
        if found != wanted:
            raise ValueError(
                f"model: block {block.name} of the file needs a layer {name} with {wanted} neurons, this "
                f"model has {found}; pass the architecture that was compressed"
            )
    heads = count_of_heads(model, block) if block.kind == "attention" else None
    if heads not in (None, block.width_before):
        raise ValueError(
            f"model: block {block.name} of the file needs {block.width_before} attention heads, this model "
            f"has {heads}; pass the architecture that was compressed"
        )


def _check_shapes(model: nn.Module, plan: Plan, tensors: dict[str, Tensor]) -> None:
    sizes: dict[tuple[str, str], list[int]] = {}
    for block in plan.blocks:
        for name, key, axis, wanted in _sides(model, block, block.width_after):
            sizes.setdefault((name, key), _size(model, name, key))[axis] = wanted
    for (name, key), expected in sizes.items():
        stored = tensors.get(f"{name}.{key}")
        if stored is None or list(stored.shape) != expected:
            raise ValueError(
                f"model: the file belongs to another architecture ({name}.{key} would be {expected} here "
                f"and is {None if stored is None else list(stored.shape)}); pass the one that was compressed"
            )


def _layers(block: BlockPlan) -> tuple[str, ...]:
    norm = () if block.norm is None else (block.norm,)
    return (*block.incoming, *norm, *block.chain, block.outgoing)


def _reserve(slim: nn.Module, block: BlockPlan, tensors: dict[str, Tensor]) -> None:
    """Give the block's layers the shapes and buffers of the file, values to follow."""
    for name in _layers(block):
        module: Any = slim.get_submodule(name)
        for key in {*module._parameters, "bias"}:
            stored = tensors.get(f"{name}.{key}")
            if stored is not None:
                old = getattr(module, key)
                like = module.weight if old is None else old
                setattr(module, key, nn.Parameter(like.new_empty(stored.shape), like.requires_grad))
        for key in ("running_mean", "running_var"):
            if f"{name}.{key}" in tensors:
                setattr(module, key, getattr(module, key).new_empty(tensors[f"{name}.{key}"].shape))
        if not isinstance(module, nn.MultiheadAttention):
            set_sizes(module)
    if block.recorded:
        reserve_recorded(slim, block, block.width_before, block.width_after)
    else:
        rename_widths(slim, block.incoming, block.width_before, block.width_after)
    _reserve_counts(slim, block, tensors)


def _reserve_counts(slim: nn.Module, block: BlockPlan, tensors: dict[str, Tensor]) -> None:
    for name in _layers(block):
        module: Any = slim.get_submodule(name)
        if isinstance(module, SlimMultiheadAttention):
            stored = tensors.get(f"{name}.head_multiplicities")
            like = module.out_proj.weight
            module.head_multiplicities = None if stored is None else like.new_empty(stored.shape)
            continue
        for key in ("input_multiplicities", "output_multiplicities"):
            stored = tensors.get(f"{name}.{key}")
            if stored is not None:
                as_weighted(module)
                setattr(module, key, module.weight.new_empty(stored.shape))
                leave_fast_path(slim, name)


def _fill(slim: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        slim.load_state_dict(tensors)
    except RuntimeError as error:
        faults = " ".join(str(error).split("\n\t")[1:]) or str(error)
        raise ValueError(
            f"model: the file belongs to another architecture ({faults.strip()}); pass the one that was "
            "compressed"
        ) from error
