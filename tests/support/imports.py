"""Which files of the project a stage script reaches through its imports (type-checking ones left out)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.checkout import ROOT


def _imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names a module imports, at any depth; of `from a import b` both a and a.b."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from _imports(node)


def _files(name: str) -> list[Path]:
    """The project files that importing `name` runs: its packages and itself; none for other libraries."""
    parts = name.split(".")
    if parts[0] not in ("knowtuning", "stages"):
        return []
    home = ROOT / "src" if parts[0] == "knowtuning" else ROOT
    result = []
    for depth in range(1, len(parts) + 1):
        path = home.joinpath(*parts[:depth])
        result += [p for p in (path / "__init__.py", path.with_suffix(".py")) if p.is_file()]
    return result


def _empty(path: Path) -> bool:
    """Whether this is the file of a package that runs nothing; DVC need not look at it in every stage."""
    if path.name != "__init__.py":
        return False
    return all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text(encoding="utf-8")).body)


def reached(script: Path) -> set[Path]:
    """All project files that running `script` may import, itself included, but for empty ones of packages."""
    seen: set[Path] = set()
    todo = [script, script.parent / "__init__.py"]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            for name in _imports(ast.parse(path.read_text(encoding="utf-8"))):
                todo += _files(name)
            if path.name == "lexical.py":
                # It has the `evaluate` library load these by their paths.
                todo += sorted((path.parent / "modules").glob("*.py"))
    return {path for path in seen if not _empty(path)}
