"""What does each aim cost at each effort, in forward passes over the calibration?

    python benchmarks/passes.py               # every aim and effort, a few minutes
    python benchmarks/passes.py --quick       # quick effort only
    python benchmarks/passes.py --json out.json

Two nets: 64-1024-10 on scikit-learn's digits, trained, to 64 neurons (one block, fitted on its own), and an
encoder of two pre-norm layers 64 wide over tokens, with FFNs of 256 to 64 neurons (two blocks in a residual
stream, refined jointly). Printed are

- runs: rows that go through the model or a copy of it, over the rows of the calibration;
- work: products of matrices, in these runs, in backward passes and in fits alike, over those of one forward
  pass over the calibration (factorisations are not counted);
- time: CPU time on one thread, over that of such a pass, and in seconds;
- the function gap on held-out rows, and whether all blocks are expected to train like the original.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from digits_problem import digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from jlab_compress import Compression, compress, compress_baseline
from jlab_compress.compression.fits.aims import AIMS
from jlab_compress.execution.isolation import undisturbed
from jlab_compress.fitting.effort import EFFORTS
from jlab_compress.report import Table
from jlab_compress.surroundings import fresh

BASELINES = ("greedy", "nnls", "k-means")
EPOCHS = 20
SEEN: list[int] = []


class Counted(nn.Module):
    """Notes the rows of every run of a net and of its copies, on which hooks would be silent."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: Tensor) -> Tensor:
        SEEN.append(len(batch))
        out: Tensor = self.net(batch)
        return out


@dataclass(frozen=True)
class Problem:
    """A net, its calibration in batches, and the width to which its blocks are compressed."""

    name: str
    net: nn.Module
    batches: list[Tensor]
    width: int

    @property
    def rows(self) -> int:
        return sum(len(batch) for batch in self.batches)


def digits_problem() -> Problem:
    data = digits()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 1024), nn.ReLU(), nn.Linear(1024, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(data.inputs), generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(100):
            optimizer.zero_grad()
            cross_entropy(net(data.inputs[rows]), data.labels[rows]).backward()
            optimizer.step()
    return Problem("digits 64-1024-10 to 64", Counted(net), [data.inputs], 64)


def encoder_problem() -> Problem:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(64, 4, 256, 0.0, activation="gelu", batch_first=True, norm_first=True)
    layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    net = nn.Sequential(nn.Embedding(100, 64), layers, nn.Linear(64, 8)).eval()
    tokens = torch.randint(100, (256, 16), generator=torch.Generator().manual_seed(1))
    return Problem("encoder, 2 FFNs 256 to 64", Counted(net), list(tokens.split(32)), 64)


def work_of(run: Callable[[], Any]) -> float:
    with fresh(), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def seconds_of(run: Callable[[], Any], times: int = 1) -> float:
    began = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - began) / times


def one_pass(problem: Problem) -> None:
    with undisturbed(problem.net):
        for batch in problem.batches:
            problem.net(batch)


def measure(problem: Problem, name: str, effort: str, run: Callable[[], Compression]) -> dict[str, Any]:
    """Run once for the time and once, with the same bits, for the counts."""
    made: list[Compression] = []
    seconds = seconds_of(lambda: made.append(run()))
    SEEN.clear()
    work = work_of(run)
    runs = sum(SEEN) / problem.rows
    return {
        "net": problem.name,
        "aim": name,
        "effort": effort,
        "runs": runs,
        "work": work / work_of(lambda: one_pass(problem)),
        "time": seconds / seconds_of(lambda: one_pass(problem), times=5),
        "seconds": seconds,
        "function_gap": made[0].report.facts["function_gap"],
        "trains_alike": judged(made[0].report.tables[0]),
    }


def judged(blocks: Table) -> str:
    found = {row[blocks.columns.index("trains alike")] for row in blocks.rows}
    return "-" if None in found else "no" if False in found else "yes"


def measured(problem: Problem, efforts: list[str]) -> Iterator[dict[str, Any]]:
    shared: dict[str, Any] = {"calibration": problem.batches}
    for method in BASELINES:

        def plain(method: str = method) -> Compression:
            return compress_baseline(problem.net, problem.width, method=method, **shared)

        yield measure(problem, method, "-", plain)
    for name in ("function", "dynamics"):
        for effort in efforts:

            def aimed(name: str = name, effort: Any = effort) -> Compression:
                how = {**shared, "preserve": AIMS[name], "effort": effort, "progress": False}
                return compress(problem.net, problem.width, **how)

            yield measure(problem, name, effort, aimed)


def show(row: dict[str, Any]) -> str:
    cells = [row["net"], row["aim"], row["effort"], f"{row['runs']:.1f}", f"{row['work']:.0f}"]
    cells += [
        f"{row['time']:.0f}",
        f"{row['seconds']:.1f}",
        f"{row['function_gap']:.4f}",
        row["trains_alike"],
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="quick effort only")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| net | aim | effort | runs | work | time | CPU s | function gap | trains alike |")
    print(f"|{9 * '---|'}")
    every = []
    for problem in (digits_problem(), encoder_problem()):
        for row in measured(problem, ["quick"] if given.quick else list(EFFORTS)):
            print(show(row), flush=True)
            every.append(row)
    if given.json:
        given.json.write_text(json.dumps(every, indent=1))


if __name__ == "__main__":
    main()
