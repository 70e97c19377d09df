"""`make tutorial` puts what is printed, and nothing else, into the page."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = """\
# A page
```console
pip install nothing    # is not run
vertloc phantom --help
```
<!-- printed: 1 to 1 -->
```text
something else
and more
```
In between.
```python
for i in range(3): print(i)
```
<!-- printed -->
```text
7
```
```text
not printed by anything
```
```console
vertloc nonsense    # nothing of it is shown, so it is not run
```
"""


def test_marked_blocks_are_filled_and_the_rest_of_the_page_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    command = [sys.executable, str(ROOT / "scripts/tutorial.py"), "--page", str(page)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    usage = text.splitlines()[7]
    assert usage.startswith("usage: vertloc phantom")
    assert text == PAGE.replace("something else\nand more", usage).replace("\n7\n", "\n0\n1\n2\n")


def test_every_output_on_the_tutorial_is_marked_and_as_long_as_its_mark_says():
    text = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^(<!-- printed.*? -->\n)?```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    for mark, block in blocks:
        assert mark
        if span := re.findall(r"\d+", mark):
            assert len(block.splitlines()) == int(span[1]) - int(span[0]) + 1
