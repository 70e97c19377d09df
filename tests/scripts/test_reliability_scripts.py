"""The short forms of `make torture`, `make determinism` and `make soak`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy import make_toy_scan, write_toy_cohort

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def script(name, *arguments):
    command = [sys.executable, str(ROOT / "scripts" / name), *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(table):
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    return cells[2:]


@pytest.mark.skipif(sys.platform == "win32", reason="kills processes")
def test_a_few_kills_leave_no_trace(tmp_path):
    found = rows(script("torture.py", "--out", tmp_path / "torture", "--kills", 4))
    assert [row[0] for row in found[:3]] == ["predict, kill -9", "train, kill -9", "study, kill -9"]
    assert [row[1] for row in found[:3]] == ["2", "1", "1"]
    assert all(row[3].startswith(("0", "skipped")) for row in found)


def test_hash_seeds_change_nothing(tmp_path):
    found = rows(script("determinism.py", "--out", tmp_path / "matrix", "--only", "hash seed"))
    assert [row[0] for row in found] == ["hash seed 1", "hash seed 4242"]
    assert {row[3] for row in found} == {"same"}


def test_a_short_soak_ends_well(tmp_path):
    write_toy_cohort(tmp_path / "data", [make_toy_scan(seed) for seed in range(2)])
    (tmp_path / "small.yaml").write_text("classifier: {forest: {n_trees: 2, max_depth: 6}}\n")
    options = ("--rounds", 2, "--config", tmp_path / "small.yaml")
    out = script("soak.py", "--data", tmp_path / "data", *options)
    assert "round 2: " in out
    assert "same" in out
    assert "no fault in 2 trainings of 2 scans and 4 predictions in one process" in out
