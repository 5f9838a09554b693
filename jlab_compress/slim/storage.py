"""Keep a slim model in one file, and bring it back into a freshly built original."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from jlab_compress.drafts import beside
from jlab_compress.errors import in_words, raise_lack_of_memory
from jlab_compress.execution.isolation import copy_model
from jlab_compress.execution.models import check_model, device_of, unwrapped
from jlab_compress.slim.attributes import rename_config
from jlab_compress.slim.conversion import as_weighted, attach_plan, plan_of
from jlab_compress.slim.copies import ONE, stored_state, whole
from jlab_compress.slim.operators import known_operator, units_of
from jlab_compress.slim.plan import BlockPlan, Plan
from jlab_compress.slim.stored import ADVICE, check_blocks, check_tensors, layers_of, short
from jlab_compress.slim.surgery import open_layers, settle
from jlab_compress.slim.units import Operator, modules_of, replace_tensor
from jlab_compress.slim.weighted import WeightedLayer
from jlab_compress.surroundings import shielded

FORMAT = "jlab-compress 2"
# Its plan names the layers of a block, not the axes of its units.
FIRST_FORMAT = "jlab-compress 1"
FORMATS = (FORMAT, FIRST_FORMAT)
MOST_HEADER = 2**24


@shielded()
def save(slim: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a slim model's tensors and plan to one safetensors file.

    The file is written beside the path and moved there at the end, so a reader never sees half of it, and an
    old file stays whole whatever happens. It holds no code: tensors, and the plan and a checksum as text.

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
    stored = stored_state(unwrapped(slim))
    tensors = {name: whole(tensor.detach()).cpu().contiguous().clone() for name, tensor in stored.items()}
    text = plan.to_json()
    metadata = {"format": FORMAT, "plan": text, "sha256": _checksum(text, tensors)}
    with beside(target) as room:
        save_file(tensors, room / target.name, metadata)
        os.replace(room / target.name, target)


@shielded()
def load(path: str | os.PathLike[str], model: nn.Module, *, operators: Sequence[Operator] = ()) -> nn.Module:
    """Return the slim model of a file, built from an original of the same architecture.

    Parameters
    ----------
    path : path-like
        What `save` wrote.
    model : nn.Module
        A freshly built original (its values do not matter); it stays as it is. The slim model has its
        device, dtype and flags.
    operators : sequence of Operator
        Rows for types of layers that the package does not know, as their `Kind` has them.

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
    if device_of(model).type == "meta":
        raise ValueError("model: it is on the meta device and can hold no values; build it on a real one")
    tensors, plan, named = _read(Path(path), model)
    slim = copy_model(model)
    blocks = [_with_axes(slim, block) if named else block for block in plan.blocks]
    blocks = [replace(block, operators=tuple(operators)) for block in blocks]
    check_blocks(model, blocks)
    check_tensors(model, blocks, tensors)
    for block in blocks:
        _reserve(slim, block, tensors)
    rename_config(slim, blocks)
    _fill(slim, tensors)
    attach_plan(slim, replace(plan, blocks=tuple(replace(block, operators=()) for block in blocks)))
    return slim


def _checksum(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path, model: nn.Module) -> tuple[dict[str, Tensor], Plan, bool]:
    """Return the tensors and the plan of a file, and whether it is of the first format."""
    if not path.is_file():
        raise FileNotFoundError(f"path: there is no file {path}; pass what save wrote")
    most = _most_numbers(model)
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            numbers = sum(math.prod(file.get_slice(name).get_shape()) for name in names)
            wanted = metadata.get("format") in FORMATS and numbers <= most
            tensors = {name: file.get_tensor(name) for name in names if wanted}
    except OSError as error:
        raise OSError(f"path: cannot read {path} ({error.strerror}); choose another file") from error
    except Exception as error:
        raise_lack_of_memory(error)
        raise ValueError(
            f"path: {path} is not a whole safetensors file ({in_words(error)}); save the model again"
        ) from error
    if metadata.get("format") not in FORMATS:
        raise ValueError(
            f"path: {path} was not written by jlab_compress.save (its format is "
            f"{short(metadata.get('format', 'unknown'))}, expected {FORMAT}); pass what save wrote"
        )
    if numbers > most:
        raise ValueError(
            f"model: the file belongs to another architecture (it holds {numbers} numbers, a slim form of "
            f"this model at most {most}); {ADVICE}"
        )
    if metadata.get("sha256") != _checksum(metadata.get("plan", ""), tensors):
        raise ValueError(
            f"path: {path} was changed after it was written (its checksum is wrong); do not use it"
        )
    return tensors, Plan.from_json(metadata["plan"]), metadata["format"] == FIRST_FORMAT


def _check_header(path: Path) -> None:
    """Refuse a header that takes long to read before anything else is read."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER:
        raise ValueError(f"its header has {length} bytes, expected at most {MOST_HEADER}")


def _most_numbers(model: nn.Module) -> int:
    """Return how many numbers a slim form of a model may have: multiplicities and biases beside weights."""
    return 3 * sum(value.numel() for value in (*model.parameters(), *model.buffers())) + 1


def _with_axes(model: nn.Module, block: BlockPlan) -> BlockPlan:
    """Return the plan of a block from a file of the first format with the axes of its units."""
    if not set(modules_of(block.units)) <= set(layers_of(model)):
        return block  # of another architecture, as the check that follows says
    sections = {unit.module: unit.sections for unit in block.units if unit.role == "makes"}
    treating = modules_of(block.units, "treats")
    try:
        units = units_of(
            model,
            block.incoming,
            block.outgoing,
            block.width_before,
            treating=treating,
            sections=tuple(sections.values()),
        )
    except ValueError:
        return block
    single = block.kind == "attention" or all(unit.each == 1 for unit in units if unit.role == "makes")
    return replace(block, units=units) if single and units[-1].each == block.entries_per_unit else block


def _reserve(slim: nn.Module, block: BlockPlan, tensors: dict[str, Tensor]) -> None:
    """Give the block's layers the classes, shapes and buffers of the file, values to follow."""
    open_layers(slim, block)
    for name in modules_of(block.units):
        module = slim.get_submodule(name)
        operator = known_operator(slim, name, block.operators)
        own = {key.rpartition(".")[2]: t for key, t in tensors.items() if key.rpartition(".")[0] == name}
        like = next(module.parameters())
        if not own.keys().isdisjoint(operator.counts.values()):
            as_weighted(module, operator)
        for key, stored in own.items():
            old = module._parameters.get(key, module._buffers.get(key))
            new = (like if old is None else old).new_empty(stored.shape)
            if key in module._parameters and old is None:
                module._parameters[key] = nn.Parameter(new, like.requires_grad)
            else:
                replace_tensor(module, key, new)
    settle(slim, block, block.width_before, block.width_after)


def _fill(slim: nn.Module, tensors: dict[str, Tensor]) -> None:
    state = dict(tensors)
    for name, module in slim.named_modules():
        if isinstance(module, WeightedLayer) and module.reads_copies:
            prefix = f"{name}." if name else ""
            state[prefix + ONE] = state.pop(prefix + "weight")
    try:
        slim.load_state_dict(state)
    except RuntimeError as error:
        raise_lack_of_memory(error)
        faults = " ".join(str(error).split("\n\t")[1:]) or str(error)
        raise ValueError(
            f"model: the file belongs to another architecture ({faults.strip()}); pass the one that was "
            "compressed"
        ) from error
