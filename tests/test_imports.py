"""The house: imports go one way, and never in a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("app", "pipelines")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


def imports_of(module: str) -> set[str]:
    """The project's modules that a module imports, wherever in its text."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            # `from a import b`: b is a module, or a name in a.
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
    return {name for name in found if name in MODULES}


GRAPH = {module: imports_of(module) for module in MODULES}


def test_the_graph_is_not_empty() -> None:
    assert "pipelines.selection.stage" in GRAPH["app.runs"]
    assert len(GRAPH) > 30


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("pipelines")])
def test_the_science_never_imports_the_server(module: str) -> None:
    assert not {name for name in GRAPH[module] if name.partition(".")[0] == "app"}


def test_there_are_no_circles() -> None:
    try:
        order = list(TopologicalSorter(GRAPH).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert len(order) == len(GRAPH)


# A room may use the ones above it in the listing of the design, never one below.
ROOMS = ("super_resolution", "selection", "ranking", "quality", "calibration", "evaluation")


@pytest.mark.parametrize(
    "module", [module for module in MODULES if module.split(".")[1:2] and module.split(".")[1] in ROOMS]
)
def test_a_room_imports_only_rooms_before_it(module: str) -> None:
    here = ROOMS.index(module.split(".")[1])
    rooms = {name.split(".")[1] for name in GRAPH[module] if len(name.split(".")) > 1}
    assert all(ROOMS.index(room) <= here for room in rooms & set(ROOMS))


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("pipelines.ranking.")])
def test_the_ranking_room_needs_no_torch(module: str) -> None:
    seen: set[str] = set()
    todo = {module}
    while todo:
        current = todo.pop()
        seen.add(current)
        todo |= GRAPH[current] - seen
    texts = {name: MODULES[name].read_text() for name in seen}
    assert not [name for name, text in texts.items() if "\nimport torch" in text or "\nfrom torch" in text]


def imported_packages(module: str) -> set[str]:
    """The first part of everything that a module imports."""
    nodes = list(ast.walk(ast.parse(MODULES[module].read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


AUDIENCES = ("subjects", "experimenters", "admins")
IN_AUDIENCES = [module for module in MODULES if module.startswith(tuple(f"app.{room}." for room in AUDIENCES))]


@pytest.mark.parametrize("module", IN_AUDIENCES)
def test_routes_alone_know_http_and_hold_no_sql(module: str) -> None:
    packages = imported_packages(module)
    if module.endswith("routes"):
        assert "fastapi" in packages
        assert "sqlalchemy" not in packages
    else:
        assert not packages & {"fastapi", "starlette", "sse_starlette"}


@pytest.mark.parametrize("module", [module for module in IN_AUDIENCES if ".subjects" in module])
def test_what_subjects_run_shares_nothing_with_those_who_watch_them(module: str) -> None:
    assert not {name for name in GRAPH[module] if name.startswith(("app.experimenters", "app.admins"))}
