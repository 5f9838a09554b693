"""Batch norms whose neurons have moved: new statistics, the same outputs."""

import copy

import torch

from jlab_compress.compression.compress import compress
from jlab_compress.compression.joint.norm_statistics import norms_of, renew_statistics
from jlab_compress.execution.calls import Call
from jlab_compress.inspection.find import find_blocks
from tests.compression.joint.tasks import QUICK
from tests.compression.signals.test_layer_kernels import convolutions, images


def test_new_statistics_are_those_of_the_calibration_and_evaluation_stays():
    net, x = convolutions(norms=True), images(3, 200)
    with torch.no_grad():
        net[0].weight.mul_(1.7)
        net[0].bias.sub_(0.6)
    before, far = net(x), (copy.deepcopy(net).train()(x) - net(x)).norm()
    renew_statistics(net, ["1", "4"], [Call((x,))])
    assert torch.allclose(net(x), before, atol=1e-5)
    assert (copy.deepcopy(net).train()(x) - before).norm() < 0.02 * far
    entering = net[0](x)
    assert torch.allclose(net[1].running_mean, entering.mean(dim=(0, 2, 3)), atol=1e-5)


def test_norms_train_on_from_where_evaluation_is():
    net, x = convolutions(norms=True), images(1, 240) * 2.0 + 1.0
    slim = compress(net, 6, calibration=x, **QUICK).model
    evaluated = slim(x)
    assert (slim.train()(x) - evaluated).norm() < 0.1 * evaluated.norm()


def test_every_norm_of_the_blocks_is_named_once():
    net = convolutions(norms=True)
    assert norms_of(find_blocks(net, images(1, 2))) == ["1", "4"]
    assert norms_of(find_blocks(convolutions(), images(1, 2))) == []
