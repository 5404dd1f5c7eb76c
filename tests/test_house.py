"""The house holds its own laws: who may import whom, who may load jax, how long a function may be.

CONTRIBUTING.md has the map. What is read here is the source (`ast`), so that an import inside a function counts too.
"""

import ast
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

# A folder of bench/ may import itself and these; the way of a value goes from the left to the right of this table.
MAY_IMPORT = {
    "data": (),
    "plan": ("data",),
    "results": ("plan", "data"),
    "analysis": ("results", "plan", "data"),
    "figures": ("analysis", "results", "plan", "data"),
    "device": ("results", "plan", "data"),
    "host": ("analysis", "results", "plan", "data"),
    "peers": ("host", "figures", "analysis", "results", "plan", "data"),
    "search": ("host", "analysis", "results", "plan", "data"),
    "claims": ("peers", "host", "figures", "analysis", "results", "plan", "data"),
    "commands": ("claims", "search", "peers", "host", "figures", "analysis", "results", "plan", "data"),
    "__main__": ("commands", "claims", "search", "peers", "host", "figures", "analysis", "results", "plan", "data"),
}
LOADS_JAX = ("bench/device", "bench/peers/contenders")
HEAVY = {"jax", "jaxlib", "flax", "optax", "torch", "transformers"}
LONGEST_FUNCTION, LONGEST_MODULE, MOST_PARAMETERS = 60, 300, 6


def sources(*folders):
    return [path.relative_to(ROOT) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@cache
def parsed(path):
    return ast.parse((ROOT / path).read_text())


def path_of(module):
    """The file of a module of ours, or None: `lengthscale.bench.plan.cell` -> bench/plan/cell.py."""
    if not module.startswith("lengthscale."):
        return None
    place = Path(*module.split(".")[1:])
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if (ROOT / path).exists()), None)


def imports_of(path, everywhere=True):
    """Names of the modules that a file imports. everywhere: inside functions too, not only when it is loaded."""
    found = []
    nodes = list(ast.walk(parsed(path))) if everywhere else list(_when_loaded(parsed(path)))
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found += [node.module]
            found += [whole for alias in node.names if path_of(whole := f"{node.module}.{alias.name}")]
    return found


def _when_loaded(tree):
    """The nodes of a module that run when it is imported: none inside a function, none under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _when_loaded(node)


@cache
def loaded_with(path):
    """The packages of others that are loaded with a file of ours, directly or through its imports."""
    seen, todo, packages = set(), [path], set()
    while todo:
        here = todo.pop()
        if here in seen:
            continue
        seen.add(here)
        for module in imports_of(here, everywhere=False):
            packages.add(module.split(".")[0])
            # Importing a module loads the packages around it.
            parts = module.split(".")
            todo += [its for n in range(2, len(parts) + 1) if (its := path_of(".".join(parts[:n])))]
    return packages


@pytest.mark.parametrize("path", sources("bench"), ids=str)
def test_imports_go_down_the_house(path):
    room = path.parts[1].removesuffix(".py")
    if room == "__init__":
        return
    rooms = {module.split(".")[2] for module in imports_of(path) if module.startswith("lengthscale.bench.")}
    allowed = {room, *MAY_IMPORT[room]}
    if path.is_relative_to("bench/peers/contenders"):
        allowed.add("device")  # ours is measured as the suite measures it
    assert rooms <= allowed


def test_models_import_nothing_of_the_bench():
    for path in sources("models"):
        assert not [module for module in imports_of(path) if module.startswith("lengthscale.bench")], path


def test_only_the_children_load_jax():
    for path in sources("bench"):
        if not path.is_relative_to(LOADS_JAX[0]) and not path.is_relative_to(LOADS_JAX[1]):
            assert not HEAVY & {module.split(".")[0] for module in imports_of(path)}, path
            assert not HEAVY & loaded_with(path), path


def test_ops_import_nothing_from_above():
    for path in sources("models/ops"):
        ours = [module for module in imports_of(path) if module.startswith("lengthscale.models")]
        assert all(module.startswith("lengthscale.models.ops") for module in ours), path


def test_no_module_imports_itself_through_others():
    state = {}

    def visit(path, way):
        if state.get(path) == "done":
            return
        assert path not in way, " -> ".join(map(str, (*way[way.index(path) :], path)))
        for module in imports_of(path, everywhere=False):
            target = path_of(module)
            if target and target != path and target.name != "__init__.py":
                visit(target, (*way, path))
        state[path] = "done"

    for path in sources("bench", "models"):
        visit(path, ())


def functions(path):
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef):
            yield node


def test_no_function_is_long():
    long = [
        f"{path}:{node.lineno} {node.name}: {length} lines"
        for path in sources("bench", "models")
        for node in functions(path)
        if (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert long == []


def test_no_module_is_long():
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in sources("bench", "models", "tests")}
    assert {path: n for path, n in lengths.items() if n > LONGEST_MODULE and path.parts[0] != "tests"} == {}


def test_no_function_takes_many_parameters():
    """Besides self; what builds a value with many fields is a dataclass."""
    many = []
    for path in sources("bench", "models"):
        for node in functions(path):
            names = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            names = [name for name in names if name not in ("self", "cls")]
            if len(names) > MOST_PARAMETERS:
                many.append(f"{path}:{node.lineno} {node.name}: {len(names)}")
    assert many == []


def test_no_file_turns_a_check_of_types_off():
    """A line may say which error it ignores, and the settings of all files are in pyproject.toml."""
    switched = [path for path in sources("bench", "models", "tests") if "\n# pyright: " in (ROOT / path).read_text()]
    assert switched == []


def test_every_folder_is_a_package_of_the_wheel():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = [path.parent for path in sources("bench", "models") if path.name == "__init__.py"]
    assert sorted(listed) == sorted(f"lengthscale.{'.'.join(folder.parts)}" for folder in folders)


def test_the_command_line_starts_without_jax_torch_and_matplotlib():
    """As it runs, and not only as it is written."""
    code = "import sys, lengthscale.bench.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {*HEAVY, "matplotlib"} & {*loaded}
