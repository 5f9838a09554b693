"""Ways to ask a server in tests, and what it should answer."""

import http.client
import subprocess
import sys
from contextlib import closing

import numpy as np
import torch

from tests.deployment.networks import normal

X = normal(5, 8)
# Headers by which a page of a browser gives itself away.
FOREIGN = (
    {"Host": "example.org"},
    {"Host": "127.0.0.1.example.org:8000"},
    {"Origin": "http://example.org"},
    {"Origin": "null"},
    {"Origin": "http://localhost.example.org"},
)
LOCAL = ({"Host": "localhost:1"}, {"Host": "[::1]:8000"}, {"Origin": "http://127.0.0.1:8888"})


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


def posted(address, place, body="", headers=None):
    """Return the status of one request, sent past any proxy."""
    with closing(http.client.HTTPConnection(address, timeout=20)) as connection:
        connection.request("POST", place, body, headers or {})
        return connection.getresponse().status
