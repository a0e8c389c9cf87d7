"""The layout of docs/architecture.md is what the imports say."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import jupyter_mlenv
from tests.support.repository import nodes_of, tree_of

ROOT = Path(jupyter_mlenv.__file__).parent
PAGE = ROOT.parent / "docs" / "architecture.md"

FOREIGN = {"tornado", "docker", "traitlets", "jupyter_server", "jupyter_client", "jupyter_core", "aiohttp"}
"""What the core does without."""


@functools.cache
def modules() -> dict[str, Path]:
    """Dotted name below the package -> file, without the package's own entry point and what runs in other places."""
    found = {}
    for file in sorted(ROOT.rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        if "build_scripts" not in parts and parts != ("__init__",) and "node_modules" not in parts:
            found[".".join(part for part in parts if part != "__init__")] = file
    return found


@functools.cache
def imports(name: str, file: Path) -> tuple[tuple[str, bool], ...]:
    """Every module that a file imports anywhere, and whether it is ours (then the name starts below the package)."""
    return tuple(_imports(name, file))


def _imports(name: str, file: Path) -> Iterator[tuple[str, bool]]:
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in nodes_of(file):
        if isinstance(node, ast.Import):
            for alias in node.names:
                ours = alias.name.split(".")[0] == "jupyter_mlenv"
                yield (alias.name.partition(".")[2] if ours else alias.name), ours
        elif isinstance(node, ast.ImportFrom):
            ours = bool(node.level) or (node.module or "").split(".")[0] == "jupyter_mlenv"
            if not ours:
                yield node.module or "", False
                continue
            base = package[: len(package) - node.level + 1] if node.level else []
            base += (node.module or "").split(".")[0 if node.level else 1 :] if node.module else []
            for alias in node.names:
                full = ".".join([*base, alias.name])
                yield (full if full in modules() else ".".join(base)), True


def layout() -> dict[str, int]:
    """Module or folder -> its line in the page's layout."""
    text = PAGE.read_text()
    block = re.search(r"## Layout.*?```\n(.*?)```", text, re.DOTALL)
    assert block, "docs/architecture.md has no layout"
    order = {}
    for number, line in enumerate(block[1].splitlines()[1:]):
        for word in re.match(r"((?:\S+ )+) ", line.strip() + "  ")[1].split():  # type: ignore[index]
            order[re.sub(r"(\.py|/)$", "", word).replace("/", ".")] = number
    return order


def level(name: str, order: dict[str, int]) -> int | None:
    while name:
        if name in order:
            return order[name]
        name = name.rpartition(".")[0]
    return None


def test_every_module_is_in_the_layout() -> None:
    order = layout()
    empty = {name for name, file in modules().items() if file.name == "__init__.py"}
    assert [name for name in modules() if name not in empty and level(name, order) is None] == []


def test_imports_only_point_upward() -> None:
    order = layout()
    wrong = [
        f"{name} imports {target}"
        for name, file in modules().items()
        for target, ours in imports(name, file)
        if ours and target and (level(target, order) or 0) > (level(name, order) or 0)
    ]
    assert wrong == []


def test_no_import_goes_in_a_circle() -> None:
    """Also within a folder, and whether at the top of a file or in a function."""
    left = {name: {target for target, ours in imports(name, file) if ours} for name, file in modules().items()}
    # What imports nothing that is left, or is imported by nothing that is left, is in no circle.
    while done := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in done}
    while left and (top := left.keys() - set().union(*left.values())):
        left = {name: targets for name, targets in left.items() if name not in top}
    assert {name: sorted(targets & left.keys()) for name, targets in left.items()} == {}


def test_the_core_knows_no_server_and_no_engine() -> None:
    """All that stands above the first adapter of an engine."""
    order = layout()
    core = [name for name in modules() if (level(name, order) or 0) < order["engines.docker"]]
    assert {"presets.loader", "planning.plan", "planning.dockerfile", "agent_client.client"} <= set(core)
    known = {
        name: {target.split(".")[0] for target, ours in imports(name, modules()[name]) if not ours} for name in core
    }
    assert {name: targets & FOREIGN for name, targets in known.items() if targets & FOREIGN} == {}


def test_only_the_docker_adapter_imports_docker() -> None:
    users = {
        name
        for name, file in modules().items()
        if any(target.split(".")[0] == "docker" and not ours for target, ours in imports(name, file))
    }
    assert users
    assert {name for name in users if not name.startswith("engines.docker")} == set()


def test_the_agent_is_standard_library_only() -> None:
    inside = [name for name in modules() if name.partition(".")[0] == "agent"]
    assert {"agent.agent", "agent.kernels", "agent.kernel_process.zygote"} <= set(inside)
    for name in inside:
        for target, ours in imports(name, modules()[name]):
            if ours:
                assert target.partition(".")[0] == "agent", f"{name} imports our {target}"
                # These run by their path in another process, which finds no package.
                assert name.split(".")[1] not in {"kernel_process", "ipython", "start"}, f"{name} imports our {target}"
            elif (name, target.partition(".")[0]) != ("agent.start", "mlenv_agent"):  # by its name in a container
                assert target.split(".")[0] in sys.stdlib_module_names, f"{name} imports {target}"


READING = {
    "os.walk",
    "os.stat",
    "os.lstat",
    "os.listdir",
    "os.scandir",
    "os.access",
    "os.readlink",
    "os.getcwd",
}
READING |= {f"os.path.{name}" for name in ("exists", "lexists", "isdir", "isfile", "islink", "realpath", "expanduser")}
READING |= {"os.environ", "os.getenv", "os.open", "socket.socket", "subprocess.run", "subprocess.Popen", "time.time"}
METHODS = {"read_text", "read_bytes", "write_text", "write_bytes", "iterdir", "is_file", "is_dir", "resolve", "rglob"}
"""Names by which a module looks at files, variables or clocks."""


@functools.cache
def reads(file: Path) -> list[str]:
    """The lines at which a module looks at something outside of it."""
    return [
        f"{file.name}:{node.lineno} {ast.unparse(node)}"
        for node in nodes_of(file)
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in READING)
        or (isinstance(node, ast.Call) and ast.unparse(node.func) == "open")
        or (isinstance(node, ast.Attribute) and node.attr in METHODS)
    ]


def test_modules_that_call_themselves_pure_read_nothing() -> None:
    """Neither themselves nor in what they import of ours."""
    docstrings = {name: ast.get_docstring(tree_of(file)) or "" for name, file in modules().items()}
    pure = {name for name, text in docstrings.items() if re.search(r"\bPure\b", text)}
    assert {"planning.plan", "planning.recipe", "mounts", "urls", "proxy.exchange"} <= pure
    impure = {name for name, file in modules().items() if reads(file)}
    assert [line for name in sorted(pure) for line in reads(modules()[name])] == []
    wrong = [
        f"{name} imports {target}"
        for name in sorted(pure)
        for target, ours in imports(name, modules()[name])
        if ours and target in impure
    ]
    assert wrong == []


OPENINGS = re.compile(r"(What|Whether|How|Where|Which|Who|Whoever|Whose|When|Why|It|Its|They|Their|Those|The same)\b")
"""Beginnings of a docstring that do not name the thing."""


def test_docstrings_begin_with_the_thing() -> None:
    found = []
    for file in modules().values():
        for node in nodes_of(file):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node) or ""
                if OPENINGS.match(text):
                    found.append(f"{file.name}:{getattr(node, 'lineno', 1)} {text.splitlines()[0]}")
    assert found == []
