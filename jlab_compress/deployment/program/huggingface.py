"""Save a slim Hugging Face model so that `from_pretrained` reloads it, where its config can say the width."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jlab_compress.deployment.program.folding import frozen
from jlab_compress.deployment.program.torch_export import quiet_exporter
from jlab_compress.drafts import beside
from jlab_compress.errors import raise_lack_of_memory
from jlab_compress.slim.conversion import fold
from jlab_compress.surroundings import shielded


@shielded()
def save_pretrained(slim: nn.Module, directory: str | Path) -> Path:
    """Write a folded slim model in Hugging Face's form, with its width in the config.

    A config has one width for all layers, so all blocks must share it. The folder is reloaded and compared
    bit for bit before it gets its name; training multiplicities are not kept (`save` keeps them).

    Parameters
    ----------
    slim : nn.Module
        A `transformers` model from `compress(...).model`.
    directory : str or Path
        A folder that is not there yet.

    Returns
    -------
    Path
        The folder, for ``type(model).from_pretrained``.

    Raises
    ------
    FileExistsError
        If the folder is there.
    ValueError
        If the model is not from `transformers`, the widths differ, or the reloaded model is another one.
    """
    target = Path(directory)
    if target.exists():
        raise FileExistsError(f"directory: {str(target)!r} is there already; choose another name")
    folded: Any = fold(frozen(slim))
    if not hasattr(folded, "save_pretrained") or not hasattr(folded, "config"):
        raise ValueError(f"slim: {type(slim).__name__} is no transformers model; use save() or export_onnx()")
    with beside(target.absolute(), argument="directory") as room:
        draft = room / target.name
        with quiet_exporter():
            folded.save_pretrained(draft)
            same = _is_same(folded, draft)
        if not same:
            raise ValueError(
                "slim: from_pretrained would not give this model back, since its config has one width for "
                "all layers; compress all blocks to one width, or use save() or export_onnx()"
            )
        os.rename(draft, target)
    return target


def _is_same(folded: Any, folder: Path) -> bool:
    try:
        found = type(folded).from_pretrained(folder).state_dict()
    except RuntimeError as error:
        raise_lack_of_memory(error)
        return False
    right = folded.state_dict()
    return set(right) == set(found) and all(torch.equal(right[name], found[name]) for name in right)
