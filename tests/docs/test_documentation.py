"""Links of README and documentation lead somewhere, and what is made when the site is built is whole."""

import ast
import json
import re
import sys

import pytest
from pages import NAMES, ROOT

import vertloc


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


def test_the_performance_page_has_the_figures_of_the_readme(hooks):
    text = hooks.on_page_markdown((ROOT / "docs/performance.md").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|.*\|$", readme.split("## What was measured")[1].split("\n## ")[0], re.MULTILINE)
    assert len(rows) > 3
    assert "\n".join(rows) in text
    assert "docs/" not in text
    assert "<!--" not in text


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
