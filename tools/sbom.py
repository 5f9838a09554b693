"""Write a bill of materials in CycloneDX's form: what the package installs, and what its bundles hold.

Usage: python tools/sbom.py FILE, after a build of the front end. Python packages are those of
`requirements/all.txt` and of the servers' lists, with every known hash; torch is named with its version.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

ROOT = Path(__file__).parents[1]
SETUP = ROOT / "jlab_compress" / "deployment" / "servers" / "setup"
LISTS = (ROOT / "requirements" / "all.txt", SETUP / "mlserver.txt", SETUP / "triton.txt")
BUNDLES = tuple(
    ROOT / "jlab_compress" / folder / "third-party-licenses.json"
    for folder in ("labextension/static", "notebook/static")
)


def packages(text: str) -> Iterator[Component]:
    """Yield the packages of a list with hashes, as `make lock` writes it."""
    for entry in re.split(r"\n(?=\S)", text.strip()):
        name, version = re.match(r"([\w.-]+)==([^\s;]+)", entry).groups()  # type: ignore[union-attr]
        hashes = [HashType(alg=HashAlgorithm.SHA_256, content=h) for h in re.findall(r"sha256:(\w+)", entry)]
        yield component("pypi", name, version, hashes=hashes)


def bundled(text: str) -> Iterator[Component]:
    """Yield the packages that a bundle of the front end holds."""
    for package in json.loads(text)["packages"]:
        licence = LicenseFactory().make_from_string(package["licenseId"])
        yield component("npm", package["name"], package["versionInfo"], licenses=[licence])


def component(kind: str, name: str, version: str, **more: object) -> Component:
    """Return one package of a registry."""
    url = PackageURL(kind, None, name, version)
    return Component(name=name, version=version, purl=url, bom_ref=str(url), **more)  # type: ignore[arg-type]


def bill() -> str:
    """Return the whole bill as JSON."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    torch = re.findall(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    found = [component("pypi", "torch", torch[0])]
    for path in LISTS:
        found += packages(path.read_text("utf-8"))
    for path in BUNDLES:
        found += bundled(path.read_text("utf-8"))
    made = Bom(components={str(one.bom_ref): one for one in found}.values())
    own = component("pypi", project["name"], project["version"])
    own.type = ComponentType.LIBRARY
    made.metadata.component = own
    made.register_dependency(own, made.components)
    return make_outputter(made, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)


if __name__ == "__main__":
    Path(sys.argv[1]).parent.mkdir(parents=True, exist_ok=True)
    Path(sys.argv[1]).write_text(bill() + "\n", encoding="utf-8")
