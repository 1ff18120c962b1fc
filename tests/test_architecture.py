"""The house's rules: arrows one way, a pure core, small files."""

from __future__ import annotations

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "ci" / "anyarch"
PIPELINE = ROOT / "dagger" / "src" / "pipeline"

MODULE_MAX_LINES = 300
FUNCTION_MAX_LINES = 40
DAGGER_FUNCTION_MAX_LINES = 20

# room → the rooms that it may import
ARROWS = {
    "shown": set[str](),
    "errors": {"shown"},
    "checks": {"errors"},
    "oci": {"errors"},
    "release": {"shown", "errors", "oci"},
    "report": {"errors", "oci", "release"},
    "registry": {"errors", "checks", "oci"},
    "engine": {"shown", "errors", "checks", "oci", "release", "report"},
    "github": {"errors", "checks", "oci", "release", "report"},
}
PURE_ROOMS = ("oci", "release", "report")
EFFECTS = {"boto3", "dagger", "h11", "httpx2", "os", "pathlib", "shutil", "socket", "subprocess", "tempfile"}


def python_files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


@functools.cache
def imported(path: Path) -> frozenset[str]:
    """Every module that a file imports, the type-checking ones included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def room_of(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def library_files() -> list[Path]:
    return [path for path in python_files(LIBRARY) if room_of(path) in ARROWS]


@pytest.mark.parametrize("path", library_files(), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    room = room_of(path)
    rooms = {name.split(".")[1] for name in imported(path) if name.startswith("anyarch.")}
    assert rooms <= ARROWS[room] | {room}


@pytest.mark.parametrize("room", PURE_ROOMS)
def test_a_pure_room_imports_nothing_that_acts(room: str) -> None:
    acting = {
        str(path.relative_to(LIBRARY)): found
        for path in python_files(LIBRARY / room)
        if (found := {name.split(".")[0] for name in imported(path)} & EFFECTS)
    }
    assert acting == {}


def module_of(path: Path) -> str:
    parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def needed(tree: ast.AST) -> set[str]:
    """Every name that is imported while the program runs, those that functions import included."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if for_types_only(node):
            assert isinstance(node, ast.If)
            names |= needed(ast.Module(node.orelse, []))
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        else:
            names |= needed(node)
    return names


def circle(sources: dict[str, str]) -> list[str]:
    """Modules that need one another, the first once more at the end; empty where there are none."""
    graph = {name: (needed(ast.parse(text)) & sources.keys()) - {name} for name, text in sources.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_need_each_other() -> None:
    """What only a type checker imports does not count: a name in an annotation needs nothing to run."""
    sources = {module_of(path): path.read_text() for path in python_files(LIBRARY)}
    packages = {module_of(path) for path in python_files(LIBRARY) if path.name == "__init__.py"}
    assert len(sources) > len(packages) > 0
    assert circle({name: text for name, text in sources.items() if name not in packages}) == []


@pytest.mark.parametrize(
    ("first", "found"),
    [
        pytest.param("from a import two", True, id="at the top"),
        pytest.param("import a.two", True, id="by its whole name"),
        pytest.param("def late():\n    from a.two import noun", True, id="in a function"),
        pytest.param("if TYPE_CHECKING:\n    pass\nelse:\n    import a.two", True, id="not for types"),
        pytest.param("if TYPE_CHECKING:\n    import a.two", False, id="for types only"),
        pytest.param("import a.three", False, id="one way"),
    ],
)
def test_a_circle_is_found(first: str, found: bool) -> None:
    assert bool(circle({"a.one": first, "a.two": "import a.one", "a.three": ""})) == found


def test_boto3_and_dagger_stay_in_their_rooms() -> None:
    users = {
        name: {
            str(path.relative_to(LIBRARY))
            for path in python_files(LIBRARY)
            if name in {module.split(".")[0] for module in imported(path)}
        }
        for name in ("boto3", "dagger")
    }
    assert users["boto3"] <= {"registry/ecr.py"}
    assert users["dagger"] == set()


@pytest.mark.parametrize("command", ["merge", "verify", "plan", "run", "promote", "login", "doctor_aws"])
def test_a_command_loads_no_room_that_it_does_not_need(command: str) -> None:
    """Start-up is most of what a short command costs: no AWS or Dagger SDK, and no engine for merge."""
    program = f"import sys, anyarch.cli.{command}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT
    )
    loaded = set(done.stdout.split())
    forbidden = {"boto3", "dagger", "httpx"}
    if command in {"merge", "verify"}:
        forbidden |= {"anyarch.engine.call", "anyarch.engine.native.engine"}
    assert loaded & forbidden == set()


@pytest.mark.parametrize(
    "path", python_files(LIBRARY, PIPELINE, ROOT / "lab"), ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_module_and_its_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    limit = DAGGER_FUNCTION_MAX_LINES if PIPELINE in path.parents else FUNCTION_MAX_LINES
    long_functions = {
        node.name: length
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (length := body_lines(node)) > limit
    }
    assert long_functions == {}
    assert len(text.splitlines()) <= MODULE_MAX_LINES


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body; its signature and docstring are documentation."""
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not statements:
        return 0
    return (statements[-1].end_lineno or 0) - statements[0].lineno + 1


def test_nothing_shadows_the_dagger_sdk() -> None:
    assert not (ROOT / "dagger" / "__init__.py").exists()
    assert not (ROOT / "tests" / "dagger").exists()


def test_only_the_entry_point_exits() -> None:
    leavers = {
        str(path.relative_to(LIBRARY))
        for path in python_files(LIBRARY)
        if "sys.exit(" in path.read_text() or "SystemExit(" in path.read_text()
    }
    assert leavers == {"cli/main.py"}


def test_only_the_github_room_reads_github_variables() -> None:
    readers = {
        room_of(path)
        for path in python_files(LIBRARY)
        if '"GITHUB_' in path.read_text() or "'GITHUB_" in path.read_text()
    }
    assert readers <= {"github"}
