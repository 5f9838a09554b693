"""Slim attention and depthwise channels leave as stock operators, at every size."""

import json

import pytest
import torch
from torch import nn

from jlab_compress.compression.compress import compress_baseline
from jlab_compress.deployment.onnx.export import export_onnx
from jlab_compress.deployment.program.signature import read_signature
from jlab_compress.graph.costs import count_macs
from jlab_compress.inspection.find import find_blocks
from tests.deployment.networks import IDS, Encoder, bert, normal

MASK = torch.ones_like(IDS)


def mobile():
    torch.manual_seed(5)
    deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    return nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU6(), deep, nn.ReLU6(), nn.Conv2d(8, 4, 1), *ends
    )


@pytest.mark.parametrize(
    ("build", "example", "kept"),
    [
        (Encoder, {"ids": IDS, "mask": MASK}, 1),
        (bert, {"input_ids": IDS, "attention_mask": MASK}, 1),
        (mobile, normal(2, 3, 8, 8), 5),
    ],
)
def test_slim_heads_and_channels_agree_after_the_export(build, example, kept, tmp_path):
    model = build().eval()
    chosen = [b for b in find_blocks(model, example).unlocked if b.activation_only]
    slim = compress_baseline(
        model, {b.name: kept for b in chosen}, calibration=example, method="random"
    ).model
    assert {b.width_after for b in slim.jlab_compress_plan.blocks} == {kept}
    export = export_onnx(slim, tmp_path / "m.onnx", example)
    assert export.max_rel_diff <= 1e-5
    call = read_signature(model, example).call
    assert export.macs == count_macs(slim, call) < count_macs(model, call)
    stamped = json.loads(export.form.metadata["jlab_compress.blocks"])
    assert {name: widths[:2] for name, widths in stamped.items()} == {b.name: [b.width, kept] for b in chosen}
    sizes = {entry.case for entry in export.parity}
    assert {"batch 1", "batch 7", "batch 64"} <= sizes
