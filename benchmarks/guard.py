"""Is the guard right? What it says of a plan before any training, against what training then shows.

    python benchmarks/guard.py               # 24 plans, a few minutes
    python benchmarks/guard.py --quick       # every fourth plan
    python benchmarks/guard.py --json out.json

Twenty-four plans over six data sets: one and several blocks, ReLU, GELU, SiLU and tanh, trained nets that are
then trained for something else and nets at initialisation, gradient descent and AdamW, mild and brutal
widths. A slim model trained alike if the training gap on test rows, ||(f_slim,T - f_slim,0) - (f_T - f_0)|| /
||f_T - f_0||, is below 0.25 after 200 steps. The guard's threshold was set on the even plans; the odd ones
judge it.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F

from jlab_compress import compress

ALIKE = 0.25
STEPS, BATCH = 200, 64
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
RATES = {("SGD", True): 0.05, ("SGD", False): 0.005, ("AdamW", True): 1e-3, ("AdamW", False): 1e-3}


@dataclass(frozen=True)
class Task:
    """Rows with two sets of targets: what a net is trained for first, and what then."""

    inputs: Tensor
    first: Tensor
    then: Tensor
    outputs: int

    @property
    def classes(self) -> bool:
        return self.then.dtype == torch.long

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.classes:
            return F.cross_entropy(outputs, targets)
        return F.mse_loss(outputs, targets)


@dataclass(frozen=True)
class Plan:
    """A net, what happens to it and how it is narrowed."""

    task: str
    hidden: tuple[int, ...]
    activation: str
    trained: bool
    optimizer: str
    width: int

    def __str__(self) -> str:
        state = "trained" if self.trained else "initial"
        layers = "-".join(map(str, self.hidden))
        return f"{self.task}, {layers} {self.activation}, {state}, {self.optimizer}, to {self.width}"


PLANS = (
    Plan("digits", (512,), "relu", True, "SGD", 96),
    Plan("digits", (512,), "relu", True, "SGD", 64),
    Plan("digits", (256,), "relu", True, "AdamW", 8),
    Plan("digits", (256,), "tanh", True, "AdamW", 4),
    Plan("digits", (256,), "gelu", False, "AdamW", 64),
    Plan("digits", (256,), "relu", False, "AdamW", 96),
    Plan("digits", (128, 128), "relu", True, "SGD", 64),
    Plan("digits", (128, 128), "tanh", False, "AdamW", 6),
    Plan("wine", (256,), "tanh", True, "SGD", 48),
    Plan("wine", (256,), "gelu", True, "AdamW", 48),
    Plan("wine", (64,), "silu", False, "AdamW", 2),
    Plan("wine", (64,), "relu", True, "SGD", 2),
    Plan("cancer", (256,), "relu", True, "AdamW", 64),
    Plan("cancer", (256,), "gelu", False, "SGD", 64),
    Plan("cancer", (128,), "tanh", True, "SGD", 2),
    Plan("cancer", (128, 64), "silu", True, "AdamW", 2),
    Plan("houses", (512,), "gelu", True, "SGD", 64),
    Plan("houses", (512,), "silu", True, "AdamW", 64),
    Plan("houses", (256,), "tanh", False, "SGD", 3),
    Plan("houses", (256,), "relu", False, "AdamW", 4),
    Plan("waves", (1024,), "tanh", True, "SGD", 64),
    Plan("waves", (1024,), "tanh", False, "AdamW", 64),
    Plan("waves", (512,), "relu", True, "AdamW", 3),
    Plan("diabetes", (256,), "silu", True, "SGD", 3),
)


def standard(values: Tensor) -> Tensor:
    return (values - values.mean(dim=0)) / values.std(dim=0).clamp_min(1e-6)


def classes(load: Callable[..., Any], seed: int) -> Task:
    """Rows of a data set with its classes, then with its classes exchanged."""
    values, labels = load(return_X_y=True)
    x, y = standard(torch.tensor(values, dtype=torch.float32)), torch.tensor(labels)
    n = int(y.max()) + 1
    return Task(x, y, (y + 1 + seed % (n - 1)) % n, n)


def regression(x: Tensor, first: Tensor, then: Tensor) -> Task:
    return Task(standard(x), standard(first[:, None]), standard(then[:, None]), 1)


def houses() -> Task:
    """Skewed, correlated columns and a price with a kink, in the manner of census data."""
    draw = torch.randn(1200, 8, generator=torch.Generator().manual_seed(7))
    x = draw @ (torch.eye(8) + 0.3 * draw[:8])
    x = torch.cat([x[:, :4].exp().clamp_max(20), x[:, 4:]], dim=1)
    z = standard(x)
    price = z[:, 0] + torch.relu(z[:, 1] + z[:, 4]) - z[:, 5] * z[:, 6]
    return regression(x, price, z[:, 2].tanh() * z[:, 0] + z[:, 7].abs())


def waves() -> Task:
    x = 2 * torch.rand(1200, 2, generator=torch.Generator().manual_seed(8)) - 1
    first = torch.sin(2.5 * x[:, 0]) * torch.cos(2 * x[:, 1])
    return regression(x, first, torch.sin(2.5 * x[:, 0] + 0.7) * torch.cos(2 * x[:, 1] - 0.7) + x[:, 1] ** 2)


def diabetes() -> Task:
    values, target = datasets.load_diabetes(return_X_y=True)
    x, y = torch.tensor(values, dtype=torch.float32), torch.tensor(target, dtype=torch.float32)
    return regression(x, y, x[:, 2] * x[:, 8] / 0.05 - x[:, 3])


TASKS: dict[str, Callable[[], Task]] = {
    "digits": lambda: classes(datasets.load_digits, 2),
    "wine": lambda: classes(datasets.load_wine, 0),
    "cancer": lambda: classes(datasets.load_breast_cancer, 0),
    "houses": houses,
    "waves": waves,
    "diabetes": diabetes,
}


def net(plan: Plan, n_in: int, n_out: int, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = (n_in, *plan.hidden)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            layers += [nn.Linear(a, b), ACTIVATIONS[plan.activation]()]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], n_out))


def train(
    model: nn.Module, task: Task, rows: Tensor, optimizer: str, *, then: bool, steps: int, seed: int
) -> nn.Module:
    """Train a copy on some rows."""
    trained, targets = copy.deepcopy(model), task.then if then else task.first
    kind = torch.optim.SGD if optimizer == "SGD" else torch.optim.AdamW
    opt: torch.optim.Optimizer = kind(trained.parameters(), lr=RATES[optimizer, task.classes])
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = rows[torch.randint(len(rows), (BATCH,), generator=generator)]
        opt.zero_grad()
        task.loss(trained(task.inputs[batch]), targets[batch]).backward()
        opt.step()
    return trained


def judge(plan: Plan, number: int) -> dict[str, Any]:
    """Return the guard's forecast for a plan and what training then shows."""
    task = TASKS[plan.task]()
    order = torch.randperm(len(task.inputs), generator=torch.Generator().manual_seed(number))
    test, rows = order[: len(order) // 4], order[len(order) // 4 :]
    model = net(plan, task.inputs.shape[1], task.outputs, number)
    if plan.trained:
        model = train(model, task, rows, "AdamW", then=False, steps=600, seed=number)
    made = compress(model, plan.width, calibration=task.inputs[rows], seed=number, progress=False)
    columns = made.report.tables[0].columns
    says = [row[columns.index("trains alike")] for row in made.report.tables[0].rows]
    forecasts = [float(g) for note in made.report.notes for g in re.findall(r"training gap ([\d.]+)", note)]
    x, moved = task.inputs[test], []
    for start in (model, made.model):
        after = train(start, task, rows, plan.optimizer, then=plan.trained, steps=STEPS, seed=number + 1)
        with torch.no_grad():
            moved.append(after(x) - start(x))
    gap = float((moved[1] - moved[0]).norm() / moved[0].norm())
    kernel = max(row[columns.index("kernel_error")] for row in made.report.tables[0].rows)
    forecast, predicted = max(forecasts, default=0.0), all(s in (True, "yes") for s in says)
    return {
        "plan": str(plan),
        "number": number,
        "forecast": forecast,
        "kernel error": kernel,
        "says": predicted,
        "gap": gap,
        "alike": gap < ALIKE,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every fourth plan")
    parser.add_argument("--plans", type=int, nargs="*", help="their numbers")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = ("plan", "forecast gap", "kernel error", "guard", "training gap", "shown", "right")
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    results: list[dict[str, Any]] = []
    for number in options.plans or range(0, len(PLANS), 4 if options.quick else 1):
        plan = PLANS[number]
        found = judge(plan, number)
        results.append(found)
        says, shown = (
            ("trains alike" if found["says"] else "will not"),
            ("trained alike" if found["alike"] else "did not"),
        )
        right = "yes" if found["says"] == found["alike"] else "NO"
        before = f"{found['forecast']:.3f} | {found['kernel error']:.3f} | {says}"
        print(f"| {number}: {plan} | {before} | {found['gap']:.3f} | {shown} | {right} |", flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))
    for name, part in (("even", 0), ("odd", 1)):
        own = [r["says"] == r["alike"] for r in results if r["number"] % 2 == part]
        print(f"\n{name} plans: right for {sum(own)} of {len(own)}")


if __name__ == "__main__":
    main()
