"""Ways to ask a server in tests, and what it should answer."""

import subprocess
import sys

import numpy as np
import torch

from tests.deployment.networks import normal

X = normal(5, 8)


def expected(model, x=X):
    with torch.no_grad():
        return model.eval()(x).numpy()


def same(found, right):
    return found.shape == right.shape and np.allclose(found, right, atol=1e-5)


def asked(module, array, dtype="FP32", name="input"):
    tensor = module.InferInput(name, list(array.shape), dtype)
    tensor.set_data_from_numpy(array)
    return tensor


def printed(script, *arguments):
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=True)
    return done.stdout
