"""The report: every scan once, files that a browser can load from the disk, nothing from outside, no name is markup."""

import json
import re

import numpy as np
import pytest
from toy_run import BROKEN, WARNING, write_toy_run

from vertloc.report.mosaic import MOST_BYTES
from vertloc.report.page import write_report


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_toy_run(folder)
    write_report(folder / "results", folder / "data", n_jobs=2)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "results/report.html").read_text(encoding="utf-8")


def settings_of(page):
    return json.loads(re.search(r'<script type="application/json" id="settings">(.*?)</script>', page).group(1))


def data_of(folder, index):
    text = (folder / f"results/report/scan-{index:04d}.js").read_text()
    start = f"vertloc.receive({index},"
    assert text.startswith(start)
    return json.loads(text[len(start) : text.rindex(")")])


def test_every_scan_is_listed_and_those_that_can_be_shown_have_their_file(folder, page):
    scans = settings_of(page)["scans"]
    assert [(scan["scan"], scan["file"]) for scan in scans] == [
        (BROKEN, ""),
        ("toy01", "report/scan-0001.js"),
        ("toy00", "report/scan-0002.js"),
    ]
    assert scans[0]["problem"] == "gone.mhd: no such file"
    assert {path.name for path in (folder / "results/report").iterdir()} == {"scan-0001.js", "scan-0002.js"}
    assert page.count("<li data-index=") == 3


def test_a_page_asks_for_nothing_from_outside(page):
    without_namespaces = page.replace("http://www.w3.org/", "")
    assert "://" not in re.sub(r"<code>.*?</code>", "", without_namespaces)
    assert "default-src 'none'" in page


def test_no_name_and_no_warning_is_markup(page):
    assert "broken &lt;b&gt;&amp;" in page
    assert "broken <b>" not in page
    assert "<script>alert" not in page
    assert settings_of(page)["scans"][1]["concerns"][-1] == WARNING


def test_the_overview_shows_scores_shifts_and_charts(page):
    row = re.search(r'<th scope="rowgroup" rowspan="3">all scans</th><td>all</td><td>14</td><td>([\d.]+)</td>', page)
    assert row
    assert row.group(1) == "50.0"
    assert "1 level too low (+1)" in page
    titles = re.findall(r"<figcaption><b>(.*?)\.</b>", page)
    assert titles == ["Confidence", "Localization error", "By level", "Confusion", "Reliability", "Risk and coverage"]
    assert page.count("<svg") == len(titles)


def test_levels_carry_confidence_alternatives_and_what_was_wrong(folder):
    levels = {level["label"]: level for level in data_of(folder, 1)["levels"]}
    assert levels["T10"]["status"] == "missed"
    assert levels["T10"]["found"] is None
    assert levels["T11"]["status"] == "wrong"
    assert levels["T11"]["nearest"] == "T10"
    assert levels["T11"]["confidence"] == pytest.approx(0.57)
    assert levels["T11"]["alternatives"] == [["T10", 0.41]]
    right = data_of(folder, 2)["levels"]
    assert {level["status"] for level in right} == {"identified"}
    assert all(level["found"] == level["true"] for level in right)


def test_points_of_the_views_are_those_of_the_scan(folder):
    data = data_of(folder, 2)
    levels = {level["label"]: level["found"] for level in data["levels"]}
    for view, axis in zip(data["views"], (1, 0), strict=True):
        places = {mark["label"]: mark["at"] for mark in view["found"]}
        assert places.keys() == levels.keys()
        offsets = np.array([(p[0] - levels[k][axis], p[1] + levels[k][2]) for k, p in places.items()])
        assert np.ptp(offsets, axis=0).max() < 0.05  # right and down from one corner, for all
        width, height = view["size"]
        assert all(0 < x < width and 0 < y < height for x, y in places.values())


def test_the_weight_of_a_scan_is_bounded(folder):
    for index in (1, 2):
        assert (folder / f"results/report/scan-{index:04d}.js").stat().st_size < 1.4 * MOST_BYTES + 500_000


def test_a_single_file_holds_the_same_scans_and_needs_no_folder(folder, page, tmp_path):
    write_toy_run(tmp_path)
    single = write_report(tmp_path / "results", tmp_path / "data", single_file=True).read_text(encoding="utf-8")
    assert not (tmp_path / "results/report").exists()
    for index in (1, 2):
        text = re.search(rf'<script type="application/json" id="scan-{index}">(.*?)</script>', single).group(1)
        assert json.loads(text)["levels"] == data_of(folder, index)["levels"]
    assert len(single) > len(page)


def test_a_scan_whose_image_is_gone_is_listed_with_the_reason_and_the_others_are_shown(tmp_path, caplog):
    scans = write_toy_run(tmp_path)
    (tmp_path / "data" / scans[0].patient / "toy00.mhd").unlink()
    page = write_report(tmp_path / "results").read_text(encoding="utf-8")
    scan = settings_of(page)["scans"][2]
    assert scan["scan"] == "toy00"
    assert scan["file"] == ""
    assert "toy00.mhd" in scan["problem"]
    assert "toy00: not shown in the report" in caplog.text
    assert (tmp_path / "results/report/scan-0001.js").exists()


def test_data_of_an_earlier_report_of_more_scans_is_removed_and_nothing_else(tmp_path):
    write_toy_run(tmp_path)
    folder = tmp_path / "results/report"
    folder.mkdir()
    (folder / "scan-0099.js").write_text("vertloc.receive(99,{});")
    (folder / "scan-mine.js").write_text("something else")
    write_report(tmp_path / "results")
    assert not (folder / "scan-0099.js").exists()
    assert (folder / "scan-mine.js").exists()


def test_a_name_that_is_not_text_is_shown_escaped(tmp_path):
    """A file name in Latin 1 on a system of UTF-8 reaches Python as halves of characters."""
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    case = {"scan": name, "image": f"{name}.nii", "status": "failed", "message": f"{name}.nii: no such file"}
    (tmp_path / "run.json").write_text(json.dumps({"cases": [case], "command": ["vertloc", name]}))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    (scan,) = settings_of(page)["scans"]
    assert scan["scan"] == "caf\\udce9"
    assert scan["concerns"] == ["failed: caf\\udce9.nii: no such file"]
    assert 'href="#scan=caf%5Cudce9"' in page
