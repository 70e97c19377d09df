"""A folder of results as `predict` would leave it, made without a model: what is right and what is wrong is known."""

import json

from toy import make_toy_scan, write_toy_cohort

from vertloc.centroids import Centroids
from vertloc.io.landmarks.lml import write_lml
from vertloc.vertebrae import RANK, VERTEBRAE

BROKEN = 'broken <b>&"x'
WARNING = "slices are 6 mm apart <script>alert(1)</script>"


def write_toy_run(folder):
    """Write data/ and results/ and return the toy scans: toy00 right, toy01 one level too low, and one that failed."""
    scans = [make_toy_scan(seed) for seed in (0, 1)]
    write_toy_cohort(folder / "data", scans)
    cases = []
    for scan, shift in zip(scans, (0, 1), strict=True):
        points = {VERTEBRAE[RANK[label] + shift]: point for label, point in scan.centroids.to_local(scan.volume.grid)}
        write_lml(folder / "results" / f"{scan.volume.name}.lml", Centroids.from_points(points))
        entry = {
            "scan": scan.volume.name,
            "image": str(folder / "data" / scan.patient / f"{scan.volume.name}.mhd"),
            "status": "done",
            "message": "",
            "seconds": 1.25,
            "confidence": dict.fromkeys(points, 0.97 - 0.4 * shift),
        }
        if shift:
            entry["alternatives"] = {label: {VERTEBRAE[RANK[label] - 1]: 0.41} for label in points}
            entry |= {"verdict": "unsure", "shifts": [[-1, 0.41]], "warnings": [WARNING]}
        cases.append(entry)
    cases.append({"scan": BROKEN, "image": "gone.mhd", "status": "failed", "message": "gone.mhd: no such file"})
    manifest = {"command": ["vertloc", "predict"], "model": {"path": "m.npz", "sha256": "ab" * 32}, "frame": "local"}
    (folder / "results" / "run.json").write_text(json.dumps({**manifest, "cases": cases}))
    return scans
