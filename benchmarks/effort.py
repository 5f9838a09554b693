"""What each aim costs at each effort, in forward passes over the calibration, and what it reaches.

    python benchmarks/effort.py              # about two minutes
    python benchmarks/effort.py --quick      # the digits network only

"passes" is the CPU time of `compress` over that of one forward pass of the model over the calibration, one
thread. The digits network (64-1024-10, ReLU, trained) is narrowed to 64 neurons on 1200 rows, where a pass
takes milliseconds and factorisations count most; of the encoder (two layers, 64 wide, random weights) the two
feed-forward blocks are narrowed from 256 to 64 on 256 sequences of 16 tokens and refined jointly.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from digits_problem import digits, trained_layer
from torch import Tensor, nn

from jlab_compress import compress, compress_baseline

AIMS = ("function", "dynamics")
EFFORTS = ("quick", "normal", "thorough")


def digits_net() -> tuple[nn.Module, Tensor, int]:
    """The trained network, its calibration and the width wanted."""
    task = digits(0)
    layer = trained_layer(0, task)
    first, second = nn.Linear(64, layer.width), nn.Linear(layer.width, 10)
    with torch.no_grad():
        first.weight.copy_(layer.incoming[0])
        first.bias.copy_(layer.biases[0])
        second.weight.copy_(layer.outgoing.T)
        second.bias.copy_(layer.outgoing_bias)
    return nn.Sequential(first, nn.ReLU(), second), task.inputs, 64


class Encoder(nn.Module):
    """Two pre-norm layers over tokens."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 256, 0.0, "gelu", batch_first=True, norm_first=True)
        self.embedding = nn.Embedding(100, 64)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layers(self.embedding(tokens)))


def encoder_net() -> tuple[nn.Module, list[Tensor], int]:
    torch.manual_seed(0)
    tokens = torch.randint(100, (256, 16), generator=torch.Generator().manual_seed(1))
    return Encoder().eval(), list(tokens.split(32)), 64


def seconds_of_a_pass(model: nn.Module, batches: Any, repeats: int = 20) -> float:
    start = time.process_time()
    with torch.no_grad():
        for _ in range(repeats):
            for batch in batches if isinstance(batches, list) else [batches]:
                model(batch)
    return (time.process_time() - start) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the digits network only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = ("network", "aim", "effort", "passes", "s CPU", "function gap", "trains alike")
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    nets = {"digits": digits_net, "encoder": encoder_net}
    for name in ("digits",) if options.quick else nets:
        model, calibration, width = nets[name]()
        one = seconds_of_a_pass(model, calibration)
        for aim, effort in [("greedy", "-"), *((a, e) for a in AIMS for e in EFFORTS)]:
            start = time.process_time()
            if aim == "greedy":
                made = compress_baseline(model, width, calibration=calibration, method="greedy")
            else:
                made = compress(
                    model, width, calibration=calibration, preserve=aim, effort=effort, progress=False
                )
            seconds, table = time.process_time() - start, made.report.tables[0]
            alike = {row[table.columns.index("trains alike")] for row in table.rows}
            words = " and ".join(sorted({True: "yes", False: "no"}.get(a, "-") for a in alike))
            gap = made.report.facts["function_gap"]
            figures = f"{seconds / one:.0f} | {seconds:.1f} | {gap:.4f} | {words}"
            print(f"| {name} | {aim} | {effort} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
