"""Measure the structure and the size of the code: units, imports, layers and cycles per package, and lines of code.

    python scripts/code_metrics.py                 # this checkout
    python scripts/code_metrics.py --against REV   # beside the state of a git revision

A *unit* is a direct child of a package: a module or a subpackage. An *import* is a pair of units of one package of
which the first imports the second, however often. *Layers* is the length of the longest chain of such imports, counted
in units; with a cycle there is none. *Lines of code* leaves out blank lines, comments and docstrings.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import sys
import tarfile
import tempfile
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGES = ("broker", "configs", "model_zoo", "device_agent", "orchestrator", "tierwise", "testbed")
PRODUCT = ("broker", "configs", "model_zoo", "device_agent", "orchestrator", "tierwise")
GROUPS = {"product": PRODUCT, "testbed": ("testbed",), "benchmarks": ("benchmarks",), "tests": ("tests",)}


@dataclass(frozen=True, slots=True)
class PackageStructure:
    """The units of one package and the imports among them. `cycle` is empty where there is none."""

    units: int
    imports: int
    layers: int
    cycle: tuple[str, ...]


def structure_of(root: Path, package: str) -> PackageStructure:
    """Return the structure of `package`, a folder of `root`."""
    folder = root / package
    units = {path.stem for path in folder.glob("*.py") if path.stem != "__init__"}
    units |= {path.parent.name for path in folder.glob("*/__init__.py")}
    graph: dict[str, set[str]] = {unit: set() for unit in units}
    for path in sorted(folder.rglob("*.py")):
        unit = path.relative_to(folder).parts[0].removesuffix(".py")
        if unit in units:
            graph[unit] |= {name for name in _imported(path, package) if name in units and name != unit}
    imports = sum(len(targets) for targets in graph.values())
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return PackageStructure(len(units), imports, 0, tuple(error.args[1]))
    depth: dict[str, int] = {}
    for unit in order:
        depth[unit] = 1 + max((depth[target] for target in graph[unit]), default=0)
    return PackageStructure(len(units), imports, max(depth.values(), default=0), ())


def _imported(path: Path, package: str) -> Iterator[str]:
    """The units of `package` that a module names in its import statements, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            names = [node.module] if "." in node.module else [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == package and len(parts) > 1:
                yield parts[1]


def lines_of_code(text: str) -> tuple[int, int]:
    """Return (lines of code, lines with a comment) of a module's source. Docstrings count as neither."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                docstrings |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    code: set[int] = set()
    comments: set[int] = set()
    layout = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in layout:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings), len(comments)


def size_of(root: Path, folders: tuple[str, ...]) -> tuple[int, int, int]:
    """Return (files, lines of code, lines with a comment) of all modules in `folders` of `root`."""
    files = [path for folder in folders for path in sorted((root / folder).rglob("*.py"))]
    counts = [lines_of_code(path.read_text(encoding="utf-8")) for path in files]
    return len(files), sum(code for code, _ in counts), sum(comments for _, comments in counts)


def report(root: Path, before: Path | None) -> str:
    """The figures of `root` as Markdown tables; with `before`, each as "before → now"."""

    def pair(now: object, then: object) -> str:
        return str(now) if before is None or now == then else f"{then} → {now}"

    lines = ["| package | units | imports | layers | cycle |", "|---|---|---|---|---|"]
    for package in PACKAGES:
        now = structure_of(root, package)
        then = now if before is None else structure_of(before, package)
        cells = [pair(now.units, then.units), pair(now.imports, then.imports), pair(now.layers, then.layers)]
        lines.append(f"| `{package}/` | {' | '.join(cells)} | {' → '.join(now.cycle) or 'none'} |")
    lines += ["", "| code | files | lines of code | change | comments per 100 lines |", "|---|---|---|---|---|"]
    for group, folders in GROUPS.items():
        files, code, comments = size_of(root, folders)
        old_files, old_code, _ = (files, code, comments) if before is None else size_of(before, folders)
        change = f"{100 * (code / old_code - 1):+.1f} %" if old_code else ""
        row = [pair(files, old_files), pair(code, old_code), change, f"{100 * comments / max(1, code):.1f}"]
        lines.append(f"| {group} | {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> int:
    """Print the report; exit status 1 where a package has a cycle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="REV", help="a git revision to compare with")
    rev = parser.parse_args().against
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        before = None
        if rev is not None:
            archive = subprocess.run(["git", "archive", rev], cwd=root, capture_output=True, check=False)
            if archive.returncode:
                parser.error(archive.stderr.decode().strip())
            before = Path(folder)
            with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
                tar.extractall(before, filter="data")
        print(report(root, before))
    return int(any(structure_of(root, package).cycle for package in PACKAGES))


if __name__ == "__main__":
    sys.exit(main())
