import copy

import pytest
import torch
from torch import nn

from jlab_compress import compress_baseline, prepare
from jlab_compress.compression.fits.evaluation import by_first_step, by_function_gap
from jlab_compress.compression.joint.task import Refinement
from jlab_compress.fitting.fit import Fit
from tests.compression.joint.test_task import normed
from tests.models import mlp, seeded
from tests.quick import X

NET = mlp(6, 40, 30, 3, activation=nn.Tanh)


def task_of(net, slim, x=X, names=("0", "2")):
    prepared = prepare(net, x)
    blocks = tuple(prepared.blocks.named(name) for name in names)
    return Refinement(prepared.original, slim, blocks, prepared.trace.modules, prepared.fit, prepared.held)


def fits_of(task):
    return {block.name: Fit(None, None, "some", 0.1) for block in task.blocks}


def test_the_gap_is_that_of_held_out_rows():
    slim = copy.deepcopy(NET)
    slim[4].bias.data += 1.0
    task = task_of(NET, slim)
    found, fits = by_function_gap(task, fits := fits_of(task)), fits
    (x,) = task.held[0].args
    with torch.no_grad():
        expected = float((slim(x) - NET(x)).norm() / NET(x).norm())
    assert found.function_gap == found.loss == pytest.approx(expected)
    assert (found.fits, found.notes) == (fits, ())
    few = task_of(NET, slim, X[:3])
    assert few.held == ()
    assert by_function_gap(few, fits).function_gap > 0


def test_blocks_that_were_judged_alone_keep_what_their_fits_say():
    task = task_of(NET, copy.deepcopy(NET))
    assert by_first_step(task, fits := fits_of(task)).fits == fits


@pytest.mark.parametrize("width", [16, 2])
def test_blocks_that_need_the_network_are_judged_by_a_first_step(width):
    net, x = seeded(normed).eval(), X.float()
    slim = compress_baseline(net, {"0": width}, calibration=x, method="random").model
    task = task_of(net, slim, x, ("0",))
    found = by_first_step(task, fits_of(task))
    assert found.fits["0"].trains_alike == (width == 16)
    assert any(note.startswith("Blocks that were refined jointly are judged jointly") for note in found.notes)
    assert found.function_gap == by_function_gap(task, {}).function_gap
