"""What README and documentation show can be typed: commands parse, links lead somewhere, generated parts are whole."""

import ast
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

import vertloc
from vertloc.cli.arguments import make_parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


def blocks(page, *languages):
    """Yield the code blocks of a page that are in one of some languages."""
    for language, text in re.findall(
        r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        if language in languages:
            yield text


def commands(page):
    """Yield the `vertloc` command lines in the code blocks of a page."""
    for text in blocks(page, "", "console", "sh", "bash"):
        lines = text.replace("\\\n", " ").splitlines()
        yield from (line.split("#")[0].strip() for line in lines if line.startswith("vertloc "))


@pytest.mark.parametrize("name", NAMES)
def test_commands_on_the_page_are_valid_command_lines(name):
    for line in commands(ROOT / name):
        arguments = shlex.split(line)[1:]
        try:
            make_parser().parse_args(arguments)
        except SystemExit:
            pytest.fail(f"{name}: {line}")


@pytest.mark.parametrize("name", NAMES)
def test_python_on_the_page_is_python_and_calls_what_there_is(name):
    for text in blocks(ROOT / name, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "vertloc":
                assert hasattr(vertloc, node.attr) or node.attr == "errors", f"{name}: vertloc.{node.attr}"


@pytest.mark.parametrize("name", NAMES)
def test_links_and_pictures_on_the_page_are_there(name):
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists() or target == "model-card.md", f"{name}: {target}"


def test_the_notebook_was_run_to_its_end_and_shows_its_pictures():
    cells = json.loads((ROOT / "docs/notebooks/inside.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
    for cell in code:
        text = "".join(cell["source"]).replace("%matplotlib inline", "")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "vertloc":
                assert hasattr(vertloc, node.attr), f"vertloc.{node.attr}"


@pytest.fixture
def hooks(monkeypatch):
    pytest.importorskip("latex2mathml")
    monkeypatch.syspath_prepend(ROOT / "docs")
    import hooks

    yield hooks
    sys.modules.pop("hooks")


def test_the_configuration_page_has_every_key_with_its_default_and_meaning(hooks):
    from dataclasses import fields, is_dataclass

    from vertloc.config import Config

    text = hooks.on_page_markdown("<!-- settings -->")

    def check(settings, path):
        for field in fields(settings):
            value = getattr(settings, field.name)
            if is_dataclass(value):
                check(value, f"{path}{field.name}.")
                continue
            assert f"### {path.rstrip('.')}\n" in text
            rows = re.findall(rf"^\| `{field.name}` \| `(.*?)` \| (.*?) \| (.+?) \|$", text, re.MULTILINE)
            assert rows, f"{path}{field.name}"
            assert all(meaning.strip() for _, _, meaning in rows), f"{path}{field.name}"

    check(Config(), "")


def test_the_commands_page_has_every_command(hooks):
    text = hooks.on_page_markdown("<!-- commands -->")
    for command in ("train", "predict", "evaluate", "study", "report", "plot", "phantom", "info"):
        assert f"## vertloc {command}\n" in text
    assert "<scan>" not in re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def test_equations_become_mathml_and_nothing_of_latex_is_left(hooks):
    html = hooks.on_page_content('<p><span class="arithmatex">\\(x_1 &lt; \\frac{1}{2}\\)</span></p>')
    assert "<math" in html
    assert "<mfrac>" in html
    assert "\\" not in html


def test_fields_of_docstrings_become_lists():
    pytest.importorskip("griffe")
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from fields import as_markdown
    finally:
        sys.path.pop(0)
    text = as_markdown("Do it.\n\na, b : what they are,\n    and more\nc : (n,) mm\nRaises ValueError.")
    assert text == "Do it.\n\n\n- `a`, `b` : what they are,\n    and more\n- `c` : (n,) mm\n\nRaises ValueError."
