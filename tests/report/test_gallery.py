"""The gallery: every scan once, the worst first, and nothing in a name can become markup."""

import xml.etree.ElementTree as ElementTree

import numpy as np

from vertloc.centroids import Centroids
from vertloc.evaluation.matching import score_scan
from vertloc.evaluation.scores import Scores
from vertloc.report.gallery import Entry, gallery_html, score_entries

TRUTH = Centroids.from_points({"T1": (0, 0, 0), "T2": (0, 0, -22)})
EMPTY = Centroids((), np.empty((0, 3)))


def test_scans_are_listed_worst_first_and_flagged_unless_all_right():
    scores = Scores((score_scan("a", TRUTH, TRUTH), score_scan("b", TRUTH, EMPTY)))
    entries = score_entries(scores, "overlays")
    assert [(e.scan, e.picture, e.is_flagged) for e in entries] == [
        ("b", "overlays/b.png", True),
        ("a", "overlays/a.png", False),
    ]
    assert entries[1].caption == "identified 2/2, mean error 0.0 mm"


def test_names_are_escaped_in_text_and_in_addresses():
    page = gallery_html("a <b> & c", [Entry("<script>", "x y#1.png", 'said "so"')])
    assert "<script>" not in page
    assert 'src="x%20y%231.png"' in page
    assert "a &lt;b&gt; &amp; c" in page


def test_an_empty_gallery_is_a_page():
    page = gallery_html("none", [])
    assert "0 scans, 0 flagged" in page
    body = page[page.index("<body>") : page.index("</body>") + len("</body>")]
    assert ElementTree.fromstring(body).find("main") is not None


def test_a_scan_without_annotation_comes_last():
    scores = Scores((score_scan("a", EMPTY, TRUTH), score_scan("b", TRUTH, TRUTH)))
    assert [e.scan for e in score_entries(scores)] == ["b", "a"]
