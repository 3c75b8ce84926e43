"""What pyproject.toml declares is what the code imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Set
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
OWN = {"evalcov_pipeline", "evalcov_pipeline_tests", "benchmarks"}


@cache
def project() -> dict[str, Any]:
    declared: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return declared


def name_of(requirement: str) -> str:
    """A distribution's name as an index compares it."""
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def names_of(requirements: Iterable[str]) -> set[str]:
    return set(map(name_of, requirements)) - {name_of(project()["name"])}


def modules_imported(source: str) -> set[str]:
    """Top-level modules that a source imports anywhere in it."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            imported.add(node.module)
    return {module.partition(".")[0] for module in imported}


@cache
def foreign_modules(folder: str) -> dict[str, str]:
    """Modules of others that a folder imports, each with a file that does."""
    paths = sorted((ROOT / folder).rglob("*.py"))
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    own = OWN if folder == "evalcov_pipeline" else OWN | scripts
    return {
        module: path.relative_to(ROOT).as_posix()
        for path in paths
        for module in modules_imported(path.read_text(encoding="utf-8"))
        if module not in sys.stdlib_module_names | own
    }


def undeclared(modules: Iterable[str], declared: Set[str]) -> set[str]:
    """Modules that no declared distribution provides."""
    providers = packages_distributions()
    return {module for module in modules if not names_of(providers.get(module, [])) & declared}


@pytest.mark.parametrize("folder", sorted(OWN))
def test_every_import_is_declared(folder: str) -> None:
    """The package runs without the extras; tests and benchmarks have them."""
    declared = names_of(project()["dependencies"])
    if folder != "evalcov_pipeline":
        declared = declared.union(*map(names_of, project()["optional-dependencies"].values()))
    modules = foreign_modules(folder)
    assert {name: modules[name] for name in undeclared(modules, declared)} == {}


def test_every_declared_distribution_is_imported() -> None:
    providers = packages_distributions()
    imported = {
        name_of(provider)
        for module in foreign_modules("evalcov_pipeline")
        for provider in providers.get(module, [])
    }
    assert names_of(project()["dependencies"]) - imported == set()


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
import os, numpy.linalg as la
from . import neighbour
if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile
def late():
    import vl_convert
"""
    assert modules_imported(source) == {"os", "numpy", "pyarrow", "vl_convert"}


def test_a_module_of_an_undeclared_distribution_is_named() -> None:
    assert undeclared({"yaml", "no_such_module", "sklearn"}, {"scikit-learn"}) == {
        "yaml",
        "no_such_module",
    }


def test_constraints_pin_every_declared_distribution() -> None:
    """`make` installs the versions that the tests passed with."""
    lines = (ROOT / "constraints.txt").read_text().split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0].lower())
    groups = [project()["dependencies"], *project()["optional-dependencies"].values()]
    assert set().union(*map(names_of, groups)) - names_of(lines) == set()
