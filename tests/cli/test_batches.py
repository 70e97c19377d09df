"""A batch for a night: lists, parts, kills, and what needs a look at the end."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy import make_toy_scan

from vertloc.batch.predicting import CaseResult
from vertloc.batch.records import Record
from vertloc.cli import main
from vertloc.cli.summary import look_first_table, need_a_look
from vertloc.io.images import write_image
from vertloc.model import save_model

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
BROKEN = ("s07", "s21", "s33")


@pytest.fixture(scope="module")
def work(tmp_path_factory, toy_model):
    """Forty scans, three of them broken, a list that names them, and a model."""
    folder = tmp_path_factory.mktemp("batch")
    write_image(make_toy_scan(5).volume, folder / "scans/s00.mhd")
    for i in range(1, 40):
        shutil.copy(folder / "scans/s00.mhd", folder / f"scans/s{i:02d}.mhd")
    for scan in BROKEN:
        (folder / f"scans/{scan}.mhd").write_text("no header")
    (folder / "list.txt").write_text("# all of them\nscans/s[0-2]*.mhd\nscans/s3?.mhd\n")
    save_model(toy_model, folder / "model.npz")
    return folder


def command(work, out, *more):
    line = ["predict", "--model", work / "model.npz", "--list", work / "list.txt", "--out", out, "--quiet", *more]
    return [sys.executable, "-m", "vertloc", *map(str, line)]


def without(plain, *keys):
    return {key: value for key, value in plain.items() if key not in keys}


def outcome(out):
    """Give what a run made: landmarks byte by byte, and what records and manifest say but for times and commands."""
    manifest = json.loads((out / "run.json").read_text())
    cases = [without(case, "seconds", "this_run") for case in manifest["cases"]]
    records = {path.name: without(json.loads(path.read_text()), "seconds") for path in out.glob("records/*.record")}
    landmarks = {path.name: path.read_bytes() for path in out.glob("*.lml")}
    assert (len(cases), len(records), len(landmarks)) == (40, 40, 37)
    return landmarks, records, cases, without(manifest, "command", "seconds", "counts", "cases")


@pytest.mark.skipif(sys.platform == "win32", reason="kills processes")
def test_forty_scans_with_three_broken_ones_killed_twice_and_resumed_are_as_if_undisturbed(work, tmp_path):
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    assert subprocess.run(command(work, undisturbed), env=ENVIRONMENT, capture_output=True).returncode == 1
    for wanted in (5, 15):
        process = subprocess.Popen(command(work, out, "--resume"), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(list((out / "records").glob("s*.record"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (out / "run.json").exists()
    last = subprocess.run(command(work, out, "--resume"), env=ENVIRONMENT, capture_output=True, text=True)
    assert last.returncode == 1
    assert "3 of 40 scans failed" in last.stderr
    assert outcome(out) == outcome(undisturbed)
    assert json.loads((out / "run.json").read_text())["counts"]["skipped"] >= 14
    assert not list(out.rglob(".vertloc-*"))


def test_parts_share_a_folder_and_have_a_manifest_each(work, tmp_path, capsys):
    for part in (1, 2, 3):
        arguments = ["predict", "--model", work / "model.npz", "--out", tmp_path, "--part", f"{part}/3", "--quiet"]
        assert main([*map(str, arguments), str(work / "scans/s0*.mhd")]) == (1 if part == 2 else 0)
    assert "s07" in capsys.readouterr().err
    scans = []
    for part in (1, 2, 3):
        manifest = json.loads((tmp_path / f"run-{part}-of-3.json").read_text())
        assert manifest["earlier"] == []  # a thousand parts do not read each other's records
        scans += [case["scan"] for case in manifest["cases"]]
    assert sorted(scans) == [f"s{i:02d}" for i in range(10)]
    assert len(list(tmp_path.glob("*.lml"))) == 9


def test_more_parts_than_scans_is_said(work, tmp_path, capsys):
    line = ["predict", "--model", str(work / "model.npz"), "--out", str(tmp_path), "--part", "3/3"]
    assert main([*line, str(work / "scans/s00.mhd")]) == 2
    assert "part 3 of 3 has no scan" in capsys.readouterr().err


def test_what_needs_a_look_stands_at_the_end(work, tmp_path, capsys):
    arguments = ["predict", "--model", work / "model.npz", "--out", tmp_path, work / "scans/s00.mhd"]
    assert main([*map(str, arguments), str(work / "scans/s07.mhd")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:-1] == ["", "1 of these need a look:", lines[-2]]
    assert re.match(r"  failed  s07  .*not a MetaImage header", lines[-2])


def result(scan, status, confidence=None, message=""):
    confidence = confidence or {}
    points = dict.fromkeys(confidence, (0.0, 0.0, 0.0))
    state = "done" if status == "skipped" else status
    return CaseResult(status, Record(scan, "", None, state, message, confidence=confidence, world_mm=points))


def test_failed_comes_before_empty_and_empty_before_unsure_the_least_sure_first():
    results = [
        result("sure", "done", {"C1": 0.9, "C2": 0.5}),
        result("unsure", "done", {"C1": 0.45, "C2": 0.9}),
        result("empty", "empty", message="too small"),
        result("less-sure", "skipped", {"C1": 0.3, "C2": 0.2}),
        result("failed", "failed", message="x" * 200),
    ]
    first = need_a_look(results)
    assert [r.scan for r in first] == ["failed", "empty", "less-sure", "unsure"]
    lines = look_first_table(first).splitlines()
    assert lines[0] == "4 of these need a look:"
    assert lines[1].split() == ["failed", "failed", "x" * 90 + "..."]
    assert lines[2].split(maxsplit=2) == ["empty", "empty", "too small"]
    assert lines[3].split(maxsplit=2) == ["unsure", "less-sure", "2 of 2 vertebrae, least C2 (20%)"]
    assert lines[4].split(maxsplit=2) == ["unsure", "unsure", "1 of 2 vertebrae, least C1 (45%)"]
    many = [result(f"{i}", "failed") for i in range(100)]
    assert look_first_table(many).splitlines()[-1] == "  ... and 60 more"
