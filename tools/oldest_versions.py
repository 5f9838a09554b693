"""Print the oldest versions that pyproject.toml allows, as pip's requirements.

Usage: python tools/oldest_versions.py [EXTRA ...] [--newest PACKAGE ...]. Without extras it is what a user
can install (`all`); a package named after --newest is left at its range, for example torch where its oldest
build is not to be had.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
OWN = re.compile(r"jlab-compress\[([\w,-]+)\]")


def requirements(project: dict[str, object], extras: list[str]) -> Iterator[str]:
    """Yield what the package and some of its extras need, an extra's own extras included.

    Examples
    --------
    >>> extras = {"x": ["jlab-compress[y]"], "y": ["b>=2"]}
    >>> list(requirements({"dependencies": ["a>=1"], "optional-dependencies": extras}, ["x"]))
    ['a>=1', 'b>=2']
    """
    yield from project["dependencies"]  # type: ignore[misc]
    for extra in extras:
        for wanted in project["optional-dependencies"][extra]:  # type: ignore[index]
            own = OWN.fullmatch(wanted)
            if own:
                yield from requirements({**project, "dependencies": []}, own[1].split(","))
            else:
                yield wanted


def oldest(requirement: str) -> str:
    """Return a requirement at its lower bound.

    Examples
    --------
    >>> oldest("torch>=2.6,<3"), oldest("tritonclient[grpc]>=2.50"), oldest("pytest")
    ('torch==2.6', 'tritonclient[grpc]==2.50', 'pytest')
    """
    return re.sub(r">=([\w.]+).*", r"==\1", requirement)


def main() -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("extras", nargs="*", default=["all"])
    parser.add_argument("--newest", nargs="*", default=[])
    given = parser.parse_args()
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    for wanted in dict.fromkeys(requirements(project, given.extras)):
        kept = re.split(r"[\[<>=]", wanted)[0] in given.newest
        print(wanted if kept else oldest(wanted))


if __name__ == "__main__":
    main()
