"""Seeds of torch, numpy and Python."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def check_seed(seed: Any) -> None:
    """Refuse what numpy, torch and Python do not all take as a seed.

    Raises
    ------
    TypeError, ValueError
        If it is no whole number, or not in 0 to 2^32 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed: expected a whole number such as 0, got {seed!r}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: expected a whole number from 0 to 2**32 - 1, got {seed}")


def seed_everything(seed: int, devices: Sequence[int] | None = None) -> None:
    """Seed torch as `seed_torch` does, numpy and Python; numpy takes seeds below 2^32."""
    seed_torch(seed, devices)
    random.seed(seed)
    np.random.seed(seed)


def seed_torch(seed: int, devices: Sequence[int] | None = None) -> None:
    """Seed torch on the CPU and on the GPUs in `devices`, by default all where any has been used yet."""
    torch.default_generator.manual_seed(seed)
    for index in gpus_in_use() if devices is None else devices:
        torch.cuda.default_generators[index].manual_seed(seed)


def gpus_in_use() -> range:
    """Return the indices of all GPUs, or none before the first use of one, which this is not."""
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return range(torch.cuda.device_count()) if used else range(0)
