"""`jlab-compress serve FOLDER`: what a shell can ask of this package, under a name that stays."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jlab_compress.deployment.servers.clients import ServerError
from jlab_compress.deployment.servers.server import serve


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out one command line; a fault is one sentence and the exit status 1."""
    options = _parser().parse_args(arguments)
    _serve(options.repository, options.name, options.server)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("jlab-compress", description="Slim torch models, from a shell.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    serving = actions.add_parser(
        "serve",
        help="serve exported models on this machine",
        description="Serve a repository on this machine alone, until Enter is pressed.",
    )
    serving.add_argument("repository", type=Path, help="the folder that `export_repository` wrote into")
    serving.add_argument("--name", help="the one model to load (default: all of them)")
    serving.add_argument("--server", help="triton, mlserver or mlflow (default: what fits and is set up)")
    return parser


def _serve(repository: Path, name: str | None, server: str | None) -> None:
    try:
        with serve(repository, name, server=server) as running:
            grpc = f", gRPC {running.grpc}" if running.grpc else ""
            print(f"{running.command.kind} is ready: HTTP {running.http}{grpc}", flush=True)
            sys.stdin.readline()
    except (ImportError, ValueError, ServerError) as fault:
        raise SystemExit(str(fault)) from fault
