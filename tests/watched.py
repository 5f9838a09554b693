"""A network that counts what is done to it and to all of its copies."""

from __future__ import annotations

import copy
import gc
import weakref

import torch
from torch import nn
from torch.overrides import _get_current_function_mode_stack

from jlab_compress.graph import recorder


class Looks:
    """What happened to a model and all copies of it."""

    def __init__(self):
        self.copies, self.recordings, self.searches, self.most = 0, 0, 0, 0
        self.alive = weakref.WeakSet()

    def __deepcopy__(self, memo):
        return self


class Watched(nn.Module):
    """6-40-30-3, which counts how often it is copied and run in a recorder, also in its copies."""

    def __init__(self):
        super().__init__()
        self.looks = Looks()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(
                nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 3)
            ).double()

    def __deepcopy__(self, memo):
        made = memo[id(self)] = type(self).__new__(type(self))
        vars(made).update(copy.deepcopy(vars(self), memo))
        gc.collect()
        self.looks.copies += 1
        self.looks.alive.add(made)
        self.looks.most = max(self.looks.most, len(self.looks.alive))
        return made

    def forward(self, x):
        modes = _get_current_function_mode_stack()
        self.looks.recordings += any(type(mode).__module__ == recorder.__name__ for mode in modes)
        return self.body(x)
