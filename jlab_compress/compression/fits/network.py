"""Which blocks say too little on their own, so that only the network around them can fit them."""

from __future__ import annotations

from collections.abc import Iterable

from jlab_compress.compression.joint.kernel_matching import matchable
from jlab_compress.compression.joint.refinement import Refinement, needs_whole
from jlab_compress.inspection.block import Block


def network_blocks(task: Refinement) -> frozenset[str]:
    """Return the names of the blocks that are started only, and then refined with the network around them.

    All of them where they share a residual stream; else channels, and neurons with a batch norm, if they can
    be refined.
    """
    if share_stream(task.blocks):
        return frozenset(block.name for block in task.blocks)
    return frozenset(block.name for block in matchable(task) if needs_whole(block))


def share_stream(blocks: Iterable[Block]) -> bool:
    """Tell whether neurons, or several blocks, write into a residual stream.

    Their errors meet in the stream, so such blocks are refined with the network around them and judged behind
    the norm that reads the stream; the heads of a single block are not.
    """
    writers = [block for block in blocks if block.residual is not None]
    return len(writers) > 1 or any(not block.activation_only for block in writers)
