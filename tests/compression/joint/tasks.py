"""A joint refinement of a model, as the pipeline would ask for it."""

from jlab_compress.compression.joint.refinement import Refinement
from jlab_compress.execution.capture import modules_that_run


def task_of(original, slim, blocks, fit, held, **more):
    running = tuple(modules_that_run(original, fit[0]))
    return Refinement(original, slim, tuple(blocks), running, tuple(fit), tuple(held), **more)
