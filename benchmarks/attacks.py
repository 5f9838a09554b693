"""Attack the panels, the loader, the servers and what goes out, as somebody else on this machine could.

Prints how much was tried and how much got through, for each kind, and ends with status 1 if anything did. All
of it stays on loopback and in folders and processes of its own; `--servers` names those that are set up.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import torch

import jlab_compress
from jlab_compress.deployment.servers import commands
from jlab_compress.deployment.servers import server as room
from jlab_compress.deployment.servers.clients import ServerError

sys.path.insert(0, str(Path(__file__).parents[1]))
from hostile_files import network, outcome

from tests import attackers
from tests.deployment.networks import mlp
from tests.deployment.outside import Outside
from tests.deployment.servers.asking import X, expected, same
from tests.deployment.servers.taker import taker
from tests.slim.hostile import spoilt

FEEDS = {"input": X.numpy()}
PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")


def files(folder: Path, count: int) -> Iterator[str]:
    """Load spoilt files."""
    calibration = torch.randn(80, 6, dtype=torch.float64)
    slim = jlab_compress.compress_baseline(network(), 8, calibration=calibration, method="k-means").model
    path = folder / "slim.safetensors"
    jlab_compress.save(slim, path)
    data = path.read_bytes()
    for _, content in spoilt(data, count, [data], 0):
        path.write_bytes(content)
        ended = outcome(path)
        yield "" if ended in ("refused", "loaded") else ended


def server_attacks(folder: Path, count: int, kind: str) -> Iterator[str]:
    """Attack a server by requests, by a proxy, by a listener in its place; look at what it sends out."""
    outside = Outside(folder)
    layout = "mlflow" if kind == "mlflow" else "triton"
    jlab_compress.export_repository(mlp(), folder / kind, "net", X, layout=layout)
    handed = mock.patch.object(commands, "HANDED_ON", (*commands.HANDED_ON, *outside.environment))
    with taker() as (proxy, came), handed, mock.patch.dict(os.environ, outside.environment):
        os.environ.update(dict.fromkeys(PROXIES, f"http://127.0.0.1:{proxy}"))
        with room.serve(folder / kind, server=kind) as server:
            if kind != "mlflow":
                yield from attackers.requests_to(server, folder, count)
            right = same(server.query("net", FEEDS)["output"], expected(mlp()))
            yield "" if right else "the server answers otherwise"
        yield f"the proxy saw {came}" if came else ""
    with taker() as (port, came), mock.patch.object(room, "free_port", return_value=port):
        try:
            room.serve(folder / kind, server=kind, timeout=20).stop()
            yield "another listener was taken for the server"
        except ServerError:
            yield f"another listener was sent {came}" if came else ""
    yield ", ".join(outside.sent)


def main() -> None:
    """Try everything, count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="tries of each kind")
    parser.add_argument("--servers", nargs="*", default=["triton", "mlserver", "mlflow"])
    options = parser.parse_args()
    torch.manual_seed(0)
    attacks = {
        "messages to the side panel": attackers.comm_messages,
        "messages to the panel in a cell": attackers.widget_messages,
        "objects in the namespace": attackers.odd_objects,
        "files to load": files,
    }
    for kind in options.servers:
        attacks[f"requests to {kind}"] = partial(server_attacks, kind=kind)
    failed = False
    for name, attack in attacks.items():
        with tempfile.TemporaryDirectory() as folder:
            tries = list(attack(Path(folder), options.count))
        through = [one for one in tries if one]
        failed = failed or bool(through)
        print(f"{name:32} {len(tries):6} tried {len(through):4} got through", *through[:3], sep="  ")
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
