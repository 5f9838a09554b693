"""A joint refinement of a model, as the pipeline would ask for it."""

from jlab_compress.compression.joint.task import Refinement
from jlab_compress.graph.recorder import record

QUICK = {"effort": "quick", "progress": False}


def task_of(original, slim, blocks, fit, held, **more):
    running = record(original, fit[0]).modules
    return Refinement(original, slim, tuple(blocks), running, tuple(fit), tuple(held), **more)
