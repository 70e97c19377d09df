"""The report as a reader meets it: opened from the disk in a real browser, looked at, steered by keyboard, rated.

Every test also fails if the page complains on the console or asks for anything but its own files.
"""

import io
import json
import re

import numpy as np
import pytest
from toy_run import BROKEN

from vertloc.report.mosaic import RANGE_HU


def pixels(locator):
    """What is seen of an element: (rows, columns, 3) float."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB")).astype(float)


def drawn(page, plane):
    """The grey values that the viewer's canvas holds: (rows, columns)."""
    rows = page.tab.evaluate(
        """(plane) => { const canvas = document.querySelector(`canvas[data-plane=${plane}]`);
        const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const row = (r) => Array.from({ length: width }, (_, c) => data[4 * (r * width + c)]);
        return Array.from({ length: height }, (_, r) => row(r)); }""",
        plane,
    )
    return np.array(rows, dtype=float)


def test_the_overview_opens_from_the_disk_with_its_figures_and_charts(page):
    page.open()
    assert page.title() == "Overview"
    assert page.tab.locator("#scans > li:visible").count() == 3
    assert (
        page.tab.locator(".figures").inner_text().replace("\n", " ").startswith("3 scans 14 vertebrae named 1 failed")
    )
    for chart in page.tab.locator(".chart svg").all():
        seen = pixels(chart)
        assert seen.std() > 5


def test_names_of_files_are_shown_as_they_are(page):
    page.open()
    assert page.tab.locator("#scans .name").first.inner_text() == BROKEN
    page.tab.locator("#scans a").first.click()
    page.tab.wait_for_selector("#scan >> text=gone.mhd: no such file")
    assert page.title() == BROKEN


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
def test_the_viewer_shows_the_slice_of_the_volume_through_the_chosen_level(page, report, plane):
    scans, _ = report
    page.open("toy00")
    page.tab.locator("#scan .levels button", has_text="L1").first.click()
    volume = page.tab.evaluate("vertloc.viewer.volume")
    at = page.tab.evaluate("vertloc.viewer.at")
    spacing, first = volume["spacing"], np.array(volume["first"])
    point = scans[0].centroids["L1"]
    index = np.array([at["x"], at["y"], at["z"]])
    np.testing.assert_allclose(first + index * spacing, point, atol=spacing / 2 + 0.02)

    shown = drawn(page, plane)
    right, down, along = {"axial": (0, 1, 2), "sagittal": (1, 2, 0), "coronal": (0, 2, 1)}[plane]
    rows, columns = np.indices(shown.shape)
    place = np.empty((*shown.shape, 3))
    place[..., along] = index[along]
    place[..., right] = columns
    place[..., down] = rows if plane == "axial" else shown.shape[0] - 1 - rows  # the top of the patient first
    stored = np.rint(scans[0].volume.grid.to_index((first + place * spacing).reshape(-1, 3))).astype(int)
    stored = np.clip(stored, 0, np.array(scans[0].volume.voxels.shape) - 1)
    hu = np.clip(scans[0].volume.voxels[tuple(stored.T)].astype(float), *RANGE_HU).reshape(shown.shape)
    expected = np.clip((hu + 200) / 1000 * 255, 0, 255)  # the bone window
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.95
    assert np.median(np.abs(shown - expected)) < 8
    wrong_way = np.corrcoef(shown[::-1].ravel(), expected.ravel())[0, 1]
    assert wrong_way < 0.9


def test_the_point_of_a_level_is_drawn_at_its_voxel(page, report):
    page.open("toy00")
    page.tab.locator("#scan .levels button", has_text="T12").first.click()
    scans, _ = report
    point = scans[0].centroids["T12"]
    for plane, (right, down) in {"axial": (0, 1), "sagittal": (1, 2), "coronal": (0, 2)}.items():
        box = page.tab.locator(f"figure.{plane} .plane-box").bounding_box()
        mark = page.tab.locator(f"figure.{plane} svg [data-label=T12] > :first-child").bounding_box()
        volume = page.tab.evaluate("vertloc.viewer.volume")
        n = np.array(volume["shape"])[::-1]
        index = (point - np.array(volume["first"])) / volume["spacing"] + 0.5
        across, height = index[right] / n[right], index[down] / n[down]
        expected = (
            box["x"] + across * box["width"],
            box["y"] + (height if plane == "axial" else 1 - height) * box["height"],
        )
        middle = (mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
        np.testing.assert_allclose(middle, expected, atol=1.5)


def test_curved_views_are_not_blank_and_carry_every_name(page):
    page.open("toy01")
    for view in page.tab.locator(".curved svg").all():
        assert pixels(view).std() > 20
        labels = view.locator(".found-layer [data-label]").evaluate_all("(all) => all.map((one) => one.dataset.label)")
        assert labels == ["T11", "T12", "L1", "L2", "L3", "L4", "L5"][: len(labels)]
        assert len(labels) == 7
    assert "wrong level: is T10" in page.tab.locator("tr[data-label=T11]").inner_text()
    assert "T10 41 %" in page.tab.locator("tr[data-label=T11]").inner_text()


def test_the_keyboard_goes_through_scans_levels_and_slices(page):
    page.open()
    page.tab.keyboard.press("ArrowRight")
    page.tab.wait_for_selector("#scan h1")
    assert page.title() == BROKEN
    page.tab.keyboard.press("j")
    page.wait_for("toy01")
    assert page.title() == "toy01"
    chosen = page.tab.locator("#scan tr.chosen").get_attribute("data-label")
    page.tab.keyboard.press("ArrowDown")
    after = page.tab.locator("#scan tr.chosen").get_attribute("data-label")
    labels = page.tab.locator("#scan tr[data-label]").evaluate_all("(all) => all.map((one) => one.dataset.label)")
    assert labels.index(after) == labels.index(chosen) + 1
    z = page.tab.evaluate("vertloc.viewer.at.z")
    page.tab.keyboard.press("PageUp")
    assert page.tab.evaluate("vertloc.viewer.at.z") == z + 1
    page.tab.keyboard.press("k")
    page.until("document.querySelector('#scan h1').textContent.startsWith('broken')")
    page.tab.keyboard.press("o")
    page.tab.wait_for_selector("#overview:visible")
    page.tab.keyboard.press("/")
    page.tab.keyboard.type("toy00")
    assert page.tab.locator("#scans > li:visible").count() == 1
    page.tab.keyboard.press("Escape")
    page.tab.keyboard.press("j")
    page.wait_for("toy00")
    page.tab.keyboard.press("?")
    assert page.tab.locator("dialog#help").is_visible()


def test_a_slider_and_a_click_move_through_the_scan(page):
    page.open("toy00")
    page.tab.locator("figure.axial input[type=range]").focus()
    z = page.tab.evaluate("vertloc.viewer.at.z")
    page.tab.keyboard.press("ArrowRight")
    assert page.tab.evaluate("vertloc.viewer.at.z") == z + 1
    plane = page.tab.locator("figure.axial .plane-box")
    plane.scroll_into_view_if_needed()
    page.tab.mouse.wheel(0, -40)  # partly out of sight: the click must not scroll it away under the pointer
    page.tab.wait_for_timeout(500)
    box = plane.bounding_box()
    page.tab.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 0.75 * box["height"])
    at, n = page.tab.evaluate("vertloc.viewer.at"), page.tab.evaluate("vertloc.viewer.n")
    np.testing.assert_allclose((at["x"] / n["x"], at["y"] / n["y"]), (0.25, 0.75), atol=0.05)
    page.tab.mouse.wheel(0, 100)
    page.until(f"vertloc.viewer.at.z === {at['z'] - 1}")
    before = drawn(page, "axial")
    page.tab.locator("#window").select_option("soft tissue")
    assert np.abs(drawn(page, "axial") - before).max() > 30


def test_filter_sort_and_show_choose_what_is_listed(page):
    page.open()
    names = lambda: page.tab.locator("#scans > li:visible .name").all_inner_texts()  # noqa: E731
    assert names() == [BROKEN, "toy01", "toy00"]
    page.tab.locator("#sort").select_option("name")
    assert names() == [BROKEN, "toy00", "toy01"]
    page.tab.locator("#filter").fill("too low")
    assert names() == ["toy01"]
    page.tab.locator("#filter").fill("no such thing")
    assert page.tab.locator("#none").is_visible()
    page.tab.locator("#filter").fill("")
    page.tab.locator("#show").select_option("look")
    assert names() == [BROKEN, "toy01"]


def test_ratings_are_kept_saved_as_a_file_and_read_again(page, browser, report, tmp_path):
    page.open("toy01")
    page.tab.locator("#shift").select_option("2")
    page.tab.keyboard.press("Escape")  # out of the choice, whose own keys come first
    page.tab.keyboard.press("k")
    page.until("document.querySelector('#scan h1').textContent.startsWith('broken')")
    page.tab.keyboard.press("3")
    assert page.tab.locator("#scans .rated:visible").all_inner_texts() == ["unsure", "wrong by +2"]
    with page.tab.expect_download() as download:
        page.tab.locator("#save").click()
    download.value.save_as(tmp_path / "ratings.json")
    assert re.fullmatch(r"results-ratings\.json", download.value.suggested_filename)
    saved = json.loads((tmp_path / "ratings.json").read_text())
    assert (saved["kind"], saved["version"], saved["run"]) == ("vertloc ratings", 1, "results")
    assert saved["ratings"] == [
        {"scan": BROKEN, "rating": "unsure", "shift": 0},
        {"scan": "toy01", "rating": "wrong", "shift": 2},
    ]
    page.tab.reload()
    assert page.tab.locator("#n-rated").inner_text() == "(2)"

    other = browser.new_context().new_page()
    other.goto(report[1].as_uri())
    assert other.locator("#n-rated").inner_text() == "(0)"
    other.locator("#load").set_input_files(tmp_path / "ratings.json")
    other.wait_for_selector("#n-rated:text-is('(2)')")
    other.context.close()


def test_only_what_is_opened_is_loaded(page):
    page.open()
    assert not [url for url in page.requests if "/report/scan-" in url]
    page.open("toy01")
    assert [url for url in page.requests if url.endswith("report/scan-0001.js")]


def test_a_missing_data_file_is_said_on_the_page(browser, report, tmp_path):
    alone = tmp_path / "alone.html"
    alone.write_bytes(report[1].read_bytes())
    tab = browser.new_page()
    tab.goto(f"{alone.as_uri()}#scan=toy00")
    tab.wait_for_selector("text=report/scan-0002.js is not there")
    tab.close()


@pytest.mark.parametrize("size", [(1400, 900), (390, 844)])
@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("scan", [None, "toy01", BROKEN])
def test_axe_finds_no_serious_fault(browser, report, size, scheme, scan):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    context.set_default_timeout(60_000)
    tab = context.new_page()
    tab.goto(report[1].as_uri())
    if scan:
        tab.evaluate("(name) => { location.hash = `#scan=${encodeURIComponent(name)}`; }", scan)
        tab.wait_for_selector("#scan h1")
        if scan != BROKEN:
            tab.wait_for_selector("#scan tr.chosen")
    found = axe.run(tab).response["violations"]
    grave = [
        (v["id"], [node["html"][:160] for node in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")
    ]
    assert grave == []
    width = tab.evaluate("document.documentElement.scrollWidth")
    assert width <= size[0]
    context.close()


def test_dark_and_light_differ_and_the_choice_is_kept(page):
    page.open()
    paint = lambda: page.tab.evaluate("getComputedStyle(document.body).backgroundColor")  # noqa: E731
    before = paint()
    page.tab.locator("#theme").click()
    after = paint()
    assert after != before
    page.tab.reload()
    assert paint() == after
