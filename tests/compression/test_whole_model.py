"""The public call with its real fits, on one small network."""

import torch
from torch import nn

from jlab_compress import compress, fold
from tests.models import mlp, rows


def test_moved_nodes_come_close_and_are_judged():
    net = mlp(3, 64, 2, activation=nn.Tanh)
    result = compress(net, 24, calibration=rows(300, 3), progress=False)
    x = rows(200, 3, seed=5)
    with torch.no_grad():
        gap = (result.model(x) - net(x)).norm() / net(x).norm()
        assert gap < 0.2
        assert (fold(result.model)(x) - result.model(x)).norm() < 1e-12 * net(x).norm()
    table = result.report.tables[0]
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["width_before"], row["width_after"]) == (64, 24)
    assert row["kernel_error"] is not None
    assert row["trains alike"] is not None
    assert result.model[0].output_multiplicities.min() > 0
