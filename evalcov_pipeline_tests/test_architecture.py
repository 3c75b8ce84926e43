"""What import contracts cannot say: private names stay private, every package has a sign."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import evalcov_pipeline

ROOT = Path(evalcov_pipeline.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Module and name of everything that a module imports from this package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("evalcov_pipeline"):
            for alias in node.names:
                yield node.module or "", alias.name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_nothing_that_is_private_elsewhere(path: Path) -> None:
    package = ".".join(("evalcov_pipeline", *path.relative_to(ROOT).parts[:-1]))
    private = [
        f"{module}.{name}"
        for module, name in imported(ast.parse(path.read_text("utf-8")))
        if re.match("_(?!_)", name) or ("._" in module and module.rpartition(".")[0] != package)
    ]
    assert private == []


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.name == "__init__.py"],
    ids=lambda path: str(path.parent.relative_to(ROOT)),
)
def test_a_package_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


@pytest.mark.parametrize("layer", ["core", "services", "storage", "reports", "cli", "llm"])
def test_tests_lie_where_what_they_test_lies(layer: str) -> None:
    tests = Path(__file__).parent / layer
    rooms = {path.name for path in tests.iterdir() if any(path.glob("test_*.py"))}
    assert rooms <= {path.name for path in (ROOT / layer).iterdir() if path.is_dir()}
