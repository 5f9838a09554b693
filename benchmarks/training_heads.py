"""Figure 7 of the paper: attention heads in place of neurons, on in-context piecewise-linear regression.

    python benchmarks/training_heads.py            # 1000 -> 200 heads, minutes on a laptop
    python benchmarks/training_heads.py --full     # 4000 -> 800 heads, the paper's batches of 256

One causal layer of heads of dimension 2 over scalar tokens x1, y1, ..., x8, y8, x*; a head is a point
(q, k, v, o) of dimension m = 8, of which moments up to degree 3 (N = 165) are kept. Heads are weighted
like neurons: c times in the sum, gradients divided by c. The paper has .0665 (4000 heads), .0665 (800)
and .0698 (800 random ones).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn
from training_race import MOVED, NAIVE, PAPER, RANDOM, race, race_row, scaled, settled

from jlab_compress.core.compress_cloud import compress_cloud
from jlab_compress.report import Report, Table
from jlab_compress.slim.weighted import weigh
from jlab_compress.validation.measures.curve import HELD_OUT_LOSS, Curve
from jlab_compress.validation.roles import ORIGINAL, REORDERED

HEAD, SEGMENTS, CONTEXT = 2, 16, 8


@dataclass(frozen=True)
class Setting:
    """One size of the experiment."""

    heads: int
    kept: int
    batch: int
    steps: int
    rate: float


FULL_SIZE = Setting(4000, 800, 256, 250, 1e-4)
LAPTOP_SIZE = Setting(1000, 200, 64, 250, 4e-4)


class Heads(nn.Module):
    """Many attention heads on scalar tokens, read at the last one; each stands for c equal heads.

    Parameters
    ----------
    heads : Tensor (n, 4, 2)
        Query, key, value and output vectors.
    counts : Tensor (n,)
        c > 0.
    """

    def __init__(self, heads: Tensor, counts: Tensor) -> None:
        super().__init__()
        self.heads = nn.Parameter(heads.clone())
        self.register_buffer("counts", counts.to(heads))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return predictions (q, 1) for tokens (q, t)."""
        query, key, value, out = weigh(self.heads, None, self.counts[:, None, None]).unbind(1)
        # q.k and v.o of a head are numbers here, since tokens are: scores are x_last x_t q.k / sqrt(2)
        scores = (query * key).sum(1) / HEAD**0.5
        attention = (tokens[:, -1:, None] * tokens[:, :, None] * scores).softmax(1)
        context = (attention * tokens[:, :, None]).sum(1)
        return context @ (self.counts * (value * out).sum(1))[:, None]


def episodes(number: int, seed: int, device: str) -> tuple[Tensor, Tensor]:
    """Draw piecewise-linear functions with 8 noisy examples each, and the value at one more point."""
    g = torch.Generator().manual_seed(seed)
    start, slopes = 0.5 * torch.randn(number, 1, generator=g), torch.randn(number, SEGMENTS, generator=g)
    points = torch.rand(number, CONTEXT + 1, generator=g)
    knots = torch.cat([start, start + (slopes / SEGMENTS).cumsum(1)], 1)
    segment = (points * SEGMENTS).long().clamp_max(SEGMENTS - 1)
    local = points - segment / SEGMENTS
    values = knots.gather(1, segment) + slopes.gather(1, segment) * local
    noisy = values[:, :-1] + 0.3 * torch.randn(number, CONTEXT, generator=g)
    pairs = torch.stack([points[:, :-1], noisy], 2).flatten(1)
    return torch.cat([pairs, points[:, -1:]], 1).to(device), values[:, -1:].to(device)


def contestants(setting: Setting, *, seed: int, device: str) -> dict[str, nn.Module]:
    """Return the wide layer as torch.nn.Linear would draw it, and its slim forms."""
    generator = torch.Generator().manual_seed(seed)
    heads = 2 * torch.rand(setting.heads, 4, HEAD, generator=generator) - 1
    heads[:, 3] /= (setting.heads * HEAD) ** 0.5
    points = heads.flatten(1).double()
    kept = compress_cloud(scaled(points), size=setting.kept, degree=3, seed=seed)
    moved = settled(scaled(points), setting.kept)
    centres = (moved.points * points.square().mean(0).sqrt()).float().view(-1, 4, HEAD)
    models: dict[str, nn.Module] = {
        ORIGINAL: Heads(heads, torch.ones(setting.heads)),
        REORDERED: Heads(heads, torch.ones(setting.heads)),
        MOVED: Heads(centres, moved.multiplicities),
        PAPER: Heads(heads[kept.indices], kept.multiplicities),
    }
    drawn = torch.randperm(setting.heads, generator=generator)[: setting.kept]
    for name, count in ((RANDOM, setting.heads / setting.kept), (NAIVE, 1.0)):
        models[name] = Heads(heads[drawn], torch.full((setting.kept,), count))
    return {name: model.to(device) for name, model in models.items()}


def run(setting: Setting, *, seed: int, device: str) -> dict[str, Curve]:
    batches = [episodes(setting.batch, 10_000 * seed + step, device) for step in range(setting.steps)]
    return race(
        contestants(setting, seed=seed, device=device),
        batches,
        [episodes(256, 10_000 * seed + 9000 + part, device) for part in range(8)],
        optimizer=lambda p: torch.optim.Adam(p, setting.rate),
        steps=setting.steps,
        seed=seed,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the paper's size")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    setting = FULL_SIZE if given.full else LAPTOP_SIZE
    device, began = given.device, time.monotonic()
    runs = [run(setting, seed=seed, device=device) for seed in range(given.seeds)]
    rows = tuple(
        (*race_row(runs, model), fmean(one[model].of(HELD_OUT_LOSS)[0] for one in runs)) for model in runs[0]
    )
    columns = ("model", "test loss", "highest", "curve distance", "training gap", "loss before")
    title = f"{setting.heads} -> {setting.kept} heads, {setting.steps} steps, {given.seeds} seeds, {device}"
    print(Report(title, tables=(Table("Test loss of the query", columns, rows),)))
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
