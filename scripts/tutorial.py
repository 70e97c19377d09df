"""Run the examples of docs/tutorial.md in an empty folder, and put what they print below them: `make tutorial`.

`<!-- printed: 3 to 10 -->` before a block of text says which lines of the last example's output it holds, counted from
1; `<!-- printed -->` that it holds them all. What the sentences between the blocks say of it is for a person to check.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_PAGE = _ROOT / "docs" / "tutorial.md"
_BLOCK = re.compile(r"(?:^<!-- printed(?:: (\d+) to (\d+))? -->\n)?^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def main() -> int:
    """Write the page anew."""
    parser = argparse.ArgumentParser(description="Put what the tutorial's examples print into the tutorial.")
    parser.add_argument("--page", type=Path, default=_PAGE, help="the page (default: docs/tutorial.md)")
    page = parser.parse_args().page
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        page.write_text(with_output(text, Path(folder)), encoding="utf-8")
    print(f"{page} is written; read it: sentences about what is printed may no longer be true")
    return 0


def with_output(text: str, folder: Path) -> str:
    """Run a page's examples in a folder, as far as their output is shown; return the page with the new output."""
    blocks = list(_BLOCK.finditer(text))
    shown = [number for number, block in enumerate(blocks) if block[0].startswith("<!-- printed")]
    output: list[str] = []
    parts, end = [], 0
    for number, block in enumerate(blocks[: shown[-1] + 1] if shown else []):
        if number in shown:
            first, last = (int(block[1]), int(block[2])) if block[1] else (1, len(output))
            parts += [text[end : block.start(4)], *output[first - 1 : last]]
            end = block.end(4)
        elif block[3] in ("console", "python"):
            output = _run(block[3], block[4], folder).splitlines(keepends=True)
    return "".join([*parts, text[end:]])


def _run(language: str, code: str, folder: Path) -> str:
    """Run a block and return what it prints; of a console, the commands that are vertloc's."""
    commands = [["-c", code]]
    if language == "console":
        lines = [shlex.split(line, comments=True) for line in code.splitlines()]
        commands = [["-m", "vertloc", *words[1:]] for words in lines if words[:1] == ["vertloc"]]
    # Only standard output: progress bars and warnings of what is compiled go elsewhere.
    done = [
        subprocess.run([sys.executable, *command], cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
        for command in commands
    ]
    return "".join(each.stdout for each in done)


if __name__ == "__main__":
    sys.exit(main())
