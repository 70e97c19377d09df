"""The shape that ARCHITECTURE.md promises, held to the source."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vertloc"

FLOORS = {
    "vertebrae": 0,
    "errors": 0,
    "settings": 0,
    "kernels": 0,
    "workers": 0,
    "versions": 0,
    "geometry": 1,
    "volume": 2,
    "centroids": 2,
    "annotation_check": 3,
    "io": 3,
    "stages": 4,
    "converting": 4,
    "relabelling": 4,
    "known_points": 4,
    "ratings": 9,
    "cohorts": 4,
    "phantom": 4,
    "evaluation": 5,  # the judge sees cohorts: who is annotated, and which scans share a patient
    "config": 5,
    "models": 5,
    "model": 6,
    "training": 7,
    "localization": 7,
    "report": 8,
    "batch": 9,
    "study": 10,  # a study is two batches
    "cli": 11,
    "__main__": 12,
}

# Each heavy dependency, and the only places that may know it.
DOORS = {
    "numba": ("kernels/",),
    "SimpleITK": ("io/",),
    "sklearn": ("stages/tree_growing.py",),
    "matplotlib": ("report/",),
    "tqdm": ("cli/",),
    "argparse": ("cli/",),
    "yaml": ("config.py", "io/yaml_file.py", "cli/info.py"),
    "pickle": (),
}
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in MODULES]


def imported(path):
    """Yield every module that a file imports, also inside functions, as (line, dotted name)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            if node.module == "vertloc":
                yield from ((node.lineno, f"vertloc.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def own_imports(path):
    """Yield (line, first name below `vertloc`); `import vertloc`, for its version, counts as no import."""
    for line, name in imported(path):
        if name.startswith("vertloc."):
            yield line, name.split(".")[1]


def home(name):
    return name.partition("/")[0].removesuffix(".py")


def test_the_package_is_where_the_tests_think_it_is():
    assert len(MODULES) > 40
    assert {home(name) for name in NAMES} - {"__init__"} == set(FLOORS)


# `__init__` is the front door: it names library calls from all floors and imports them on their first use.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "__init__.py"])
def test_imports_look_down_the_floors(name):
    floor = FLOORS[home(name)]
    for line, target in own_imports(PACKAGE / name):
        assert target == home(name) or FLOORS[target] < floor, f"vertloc/{name}:{line} imports {target}"


def test_the_front_door_imports_nothing_when_it_is_opened():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    unguarded = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {node.module for node in unguarded} == {"__future__", "importlib", "typing"}


def test_the_judge_never_looks_at_the_stages():
    for name in NAMES:
        if name.startswith("evaluation/"):
            assert {target for _, target in own_imports(PACKAGE / name)} <= {
                "evaluation",
                "io",
                "centroids",
                "geometry",
                "vertebrae",
                "errors",
                "cohorts",
            }


@pytest.mark.parametrize("library", DOORS)
def test_a_heavy_dependency_has_one_door(library):
    users = {
        name
        for name in NAMES
        for _, target in imported(PACKAGE / name)
        if target == library or target.startswith(f"{library}.")
    }
    strangers = {name for name in users if not any(name.startswith(door) for door in DOORS[library])}
    assert not strangers
    assert bool(users) == bool(DOORS[library])


@pytest.mark.parametrize("name", NAMES)
def test_only_the_command_line_prints(name):
    for node in ast.walk(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "input"):
            assert name.startswith("cli/"), f"vertloc/{name}:{node.lineno} calls {node.func.id}"


@pytest.mark.parametrize("name", NAMES)
def test_no_global_randomness_and_no_silent_except(name):
    text = (PACKAGE / name).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"vertloc/{name}:{node.lineno}: bare except"
            silent = all(isinstance(step, ast.Pass) for step in node.body)
            assert not silent, f"vertloc/{name}:{node.lineno}: an error is swallowed"
    for forbidden in ("np.random.seed", "np.random.rand(", "np.random.normal(", "import random"):
        assert forbidden not in text


@pytest.mark.parametrize("name", NAMES)
def test_a_module_is_short_and_says_what_it_is(name):
    text = (PACKAGE / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350
    assert ast.get_docstring(ast.parse(text))


def test_no_module_is_called_utils_or_the_like():
    assert not {Path(name).stem for name in NAMES} & {"util", "utils", "helper", "helpers", "common", "misc", "tools"}


def environment():
    """Let a new interpreter find the package under test, wherever it runs."""
    return {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}


def loaded_after(code):
    """Run code in a new interpreter and return the libraries that are loaded then."""
    libraries = ("numpy", "numba", "scipy", "scipy.optimize", "sklearn", "SimpleITK", "matplotlib", "pydantic")
    libraries += ("scipy.linalg", "yaml", "tqdm", "joblib")
    code += f"\nimport sys; print([m for m in {libraries!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert run.returncode == 0, run.stderr
    return set(ast.literal_eval(run.stdout.splitlines()[-1]))


def test_importing_the_package_loads_no_library():
    assert loaded_after("import vertloc; vertloc.__version__; dir(vertloc)") == set()


def test_help_and_wrong_arguments_load_no_library():
    assert loaded_after("from vertloc.cli.arguments import make_parser; make_parser().format_help()") == set()
    assert loaded_after("import vertloc.cli") == set()
    wrong = "from vertloc.cli import main\ntry: main(['predict'])\nexcept SystemExit: pass"
    assert loaded_after(wrong) == set()


def test_a_model_is_loaded_without_what_compiles(toy_model, tmp_path):
    from vertloc.model import save_model

    save_model(toy_model, tmp_path / "model.npz")
    code = f"import vertloc; vertloc.load_model({str(tmp_path / 'model.npz')!r})"
    assert loaded_after(code) <= {"numpy", "pydantic", "yaml"}


def test_predicting_one_scan_loads_no_library_that_it_does_not_need(toy_model, toy_scans, tmp_path):
    from vertloc.io.images import write_image
    from vertloc.model import save_model

    save_model(toy_model, tmp_path / "model.npz")
    write_image(toy_scans[5].volume, tmp_path / "scan.mhd")
    arguments = ["predict", "--model", "model.npz", "--out", "out", "scan.mhd"]
    code = f"import os; os.chdir({str(tmp_path)!r})\nfrom vertloc.cli import main; assert main({arguments!r}) == 0"
    needed = {"numpy", "numba", "scipy", "pydantic", "yaml"}  # yaml is read by numba
    assert loaded_after(code) <= needed
    assert (tmp_path / "out" / "scan.lml").exists()


def test_an_unknown_library_call_is_an_attribute_error_and_every_promised_one_is_there():
    import vertloc

    with pytest.raises(AttributeError, match="no attribute 'locate'"):
        vertloc.locate  # noqa: B018
    assert all(getattr(vertloc, name) is not None for name in vertloc.__all__)
    assert dir(vertloc) == vertloc.__all__ == sorted(vertloc.__all__)
