"""What the source says of itself: who imports whom, how deep, and what functions take.

Every import counts, also those for types only and those inside functions.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = "jlab_compress"
ROOT = Path(__file__).parents[2] / PACKAGE

Graph = Mapping[str, frozenset[str]]


def sources(root: Path = ROOT) -> dict[str, str]:
    """Source by dotted path inside the package, without the files that only describe a room."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        if path.name != "__init__.py" and "node_modules" not in path.parts:
            found[".".join(path.relative_to(root).with_suffix("").parts)] = path.read_text("utf-8")
    return found


def imported(source: str) -> Iterator[tuple[str, str]]:
    """Module and name of each import; the name is empty where a whole module is imported."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import; write the full name"
            yield from ((node.module or "", alias.name) for alias in node.names)


def graph(files: Mapping[str, str]) -> Graph:
    """Which files each file imports."""
    found = {}
    for name, source in files.items():
        targets = set()
        for module, item in imported(source):
            path = module.removeprefix(f"{PACKAGE}.") if module != PACKAGE else ""
            whole = f"{path}.{item}".strip(".")
            targets |= {whole if whole in files else path} & set(files)
        found[name] = frozenset(targets - {name})
    return found


def circles(imports: Graph) -> list[list[str]]:
    """Groups of files that import one another, directly or through others."""
    reach = {name: _reached(imports, name) for name in imports}
    groups = {
        tuple(sorted({name} | {other for other in reach[name] if name in reach[other]}))
        for name in imports
        if name in reach[name]
    }
    return [list(group) for group in sorted(groups)]


def _reached(imports: Graph, start: str) -> set[str]:
    seen, waiting = set(), list(imports[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(imports[name])
    return seen


def longest_chain(imports: Graph) -> list[str]:
    """The longest chain of imports from a file down to one that imports none; no circles allowed."""
    chains: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in chains:
            below = max((chain(other) for other in imports[name]), key=len, default=[])
            chains[name] = [name, *below]
        return chains[name]

    return max((chain(name) for name in imports), key=len)


def functions(source: str) -> Iterator[ast.FunctionDef]:
    """Every function and method of a file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            yield node


def parameters(function: ast.FunctionDef) -> list[str]:
    """The names of what a function takes, but for self and cls."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    every += [one for one in (given.vararg, given.kwarg) if one is not None]
    return [one.arg for one in every if one.arg not in ("self", "cls")]


def parcels(source: str) -> list[str]:
    """Arguments that a function packs into a dictionary and spreads into a call, by which types are lost."""
    found = []
    for function in functions(source):
        packed = {name for node in ast.walk(function) for name in _packed(node)}
        packed -= {one.arg for one in (function.args.kwarg,) if one is not None}
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                spread = [word.value for word in node.keywords if word.arg is None]
                names = {value.id for value in spread if isinstance(value, ast.Name)} & packed
                found += [f"{function.name} spreads {name}" for name in sorted(names)]
    return found


def _packed(node: ast.AST) -> Iterator[str]:
    """Names that an assignment gives a dictionary written out."""
    if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict) and node.value.keys:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (target.id for target in targets if isinstance(target, ast.Name))
