"""A model of more than 2 GB: its weights lie beside the file, and servers start on it.

Run as ``python benchmarks/deployment_large.py``; it takes about 10 GB of memory, 2.5 GB of disk and some
minutes. Every server that is set up here is asked over gRPC.
"""

from __future__ import annotations

import resource
import tempfile
import time

import torch
from torch import nn

from jlab_compress.deployment.servers.repository import export_repository
from jlab_compress.deployment.servers.server import serve
from jlab_compress.deployment.servers.setup.mlserver_setup import find_mlserver
from jlab_compress.deployment.servers.setup.triton_setup import find_triton

WIDTH = 33500


def main() -> None:
    """Export, list the files, serve, compare."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16384, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 16))
    rows = torch.randn(2, 16384)
    expected = model(rows).detach()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        repository = export_repository(model, folder, "large", rows)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"exported in {time.perf_counter() - start:.0f} s, at most {peak:.1f} GB of memory")
        print(f"off by {repository.export.max_gap:.1e} of the outputs' norm")
        for file in sorted(repository.path.iterdir()):
            print(f"{file.stat().st_size:>13,}  {file.name}")
        for server in [n for n, found in (("triton", find_triton()), ("mlserver", find_mlserver())) if found]:
            with serve(folder, server=server, timeout=600) as running:
                found = running.query("large", {"input": rows.numpy()}, protocol="grpc")["output"]
            far = (torch.from_numpy(found.copy()) - expected).norm() / expected.norm()
            print(f"{server} answers, off by {far:.1e}")


if __name__ == "__main__":
    main()
