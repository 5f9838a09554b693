"""The picture of the house in CONTRIBUTING.md is true to the imports."""

import re
from pathlib import Path

from tests.house.structure import ROOT, graph, sources

CONTRIBUTING = (Path(ROOT).parent / "CONTRIBUTING.md").read_text("utf-8")


def arrows(imports):
    """Pairs of floors (above, below) of which one imports the other."""
    pairs = {(name.partition(".")[0], other.partition(".")[0]) for name in imports for other in imports[name]}
    return {(above, below) for above, below in pairs if above != below}


def direct(pairs):
    """Arrows that do not follow from two or more others."""
    reach = set(pairs)
    for _ in range(len({floor for pair in pairs for floor in pair})):
        reach |= {(a, d) for a, b in reach for c, d in pairs if b == c}
    return {
        (a, b)
        for a, b in pairs
        if not any((a, c) in pairs and (c, b) in reach for c in {p[1] for p in pairs} - {b})
    }


def drawn(text):
    """Arrows of the first mermaid picture of a text."""
    picture = re.search(r"```mermaid\n(.*?)```", text, re.S)
    return set(re.findall(r"(\w+)(?:\[[^\]]*\])? --> (\w+)", picture.group(1))) if picture else set()


def test_the_picture_shows_the_imports_between_floors():
    wanted = direct(arrows(graph(sources())))
    assert drawn(CONTRIBUTING) == wanted, "\n".join(f"    {a} --> {b}" for a, b in sorted(wanted))


def test_a_wrong_picture_and_a_shortcut_are_told_apart():
    assert direct({("a", "b"), ("b", "c"), ("a", "c")}) == {("a", "b"), ("b", "c")}
    assert drawn("```mermaid\ngraph TD\n    a[the top] --> b\n    b --> c\n```") == {("a", "b"), ("b", "c")}
    assert drawn("no picture") == set()
