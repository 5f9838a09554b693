"""Blocks for what must answer at once: found once per model and shape, never on a large model.

`find_blocks` runs copies of the model. A key press or the display of a cell's value must cost neither
seconds each time nor a second copy of billions of weights.
"""

from __future__ import annotations

import weakref

from torch import nn

import jlab_compress
from jlab_compress.inspection.block import Blocks
from jlab_compress.notebook.kernel.namespace import structure_of

LARGE = 100_000_000
_known: weakref.WeakKeyDictionary[nn.Module, tuple[int, Blocks]] = weakref.WeakKeyDictionary()


def recall_blocks(model: nn.Module) -> Blocks | None:
    """Return the blocks of a model, found now or earlier; None above 100 million parameters.

    Raises
    ------
    ValueError, TypeError
        As `find_blocks`.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> recall_blocks(net) is recall_blocks(net)
    True
    """
    structure = structure_of(model)
    if structure.parameters > LARGE:
        return None
    key, blocks = _known.get(model, (None, None))
    if blocks is None or key != structure.key:
        blocks = jlab_compress.find_blocks(model)
        _known[model] = structure.key, blocks
    return blocks
