"""Every package that a set-up installs is pinned with its hashes; a bill of materials names all of them."""

import json
import re
import runpy
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[1]
HASHED = re.compile(r"([\w.-]+)==[^\s;]+( ; .*)? \\(\n    --hash=sha256:[0-9a-f]{64}( \\)?)+")
REACT = {"name": "react", "versionInfo": "18.3.1", "licenseId": "MIT", "extractedText": "MIT License"}


def entries(name):
    return re.split(r"\n(?=\S)", (ROOT / "requirements" / f"{name}.txt").read_text().strip())


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("extra", ["all", "test"])
def test_every_package_has_its_hashes_and_the_version_that_is_checked(extra):
    found = [HASHED.fullmatch(one) for one in entries(extra)]
    assert [entry for entry, match in zip(entries(extra), found, strict=True) if match is None] == []
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    pins = {plain(name): version for name, version in pins.items()}
    locked = {plain(match[1]): re.search(r"==([^\s;]+)", match[0])[1] for match in found}
    assert {n: v for n, v in locked.items() if pins.get(n, v) != v} == {}
    assert "torch" not in locked


@pytest.mark.parametrize("extra", ["all", "test"])
def test_a_list_holds_all_that_its_extra_asks_for(extra):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    optional, wanted, waiting = project["project"]["optional-dependencies"], set(), [extra]
    while waiting:
        for one in optional[waiting.pop()]:
            own = re.fullmatch(r"jlab-compress\[(.*)\]", one)
            waiting.extend(own[1].split(",") if own else [])
            wanted.update(() if own else [one])
    wanted |= {*project["project"]["dependencies"], *project["dependency-groups"]["build"]}
    names = {plain(re.match(r"[\w.-]+", one)[0]) for one in wanted} - {"torch"}
    assert names <= {plain(HASHED.fullmatch(one)[1]) for one in entries(extra)}


def test_a_bill_of_materials_is_valid_and_names_everything(tmp_path):
    bundle = tmp_path / "third-party-licenses.json"
    bundle.write_text(json.dumps({"packages": [REACT]}))
    tool = runpy.run_path(str(ROOT / "tools" / "sbom.py"))
    tool["bill"].__globals__["BUNDLES"] = (bundle,)
    text = tool["bill"]()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    made = json.loads(text)
    assert made["metadata"]["component"]["name"] == "jlab-compress"
    urls = {part["purl"]: part for part in made["components"]}
    assert urls["pkg:npm/react@18.3.1"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert any(url.startswith("pkg:pypi/torch@") for url in urls)
    for entry in entries("all"):
        name, version = re.match(r"([\w.-]+)==([^\s;]+)", entry).groups()
        assert len(urls[f"pkg:pypi/{plain(name)}@{version}"]["hashes"]) == entry.count("sha256:")
