"""Write the stored model of the current format and what it finds: `python tests/stored/write.py`, once a format.

A stored model is never written again: it stands for the models that users keep.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from toy import make_toy_scan, toy_config  # noqa: E402

from vertloc.io.model_file import FORMAT_VERSION  # noqa: E402
from vertloc.localization import localize  # noqa: E402
from vertloc.model import save_model  # noqa: E402
from vertloc.training import train_on_scans  # noqa: E402


def small_config():
    config = toy_config()
    return replace(
        config,
        **{
            name: replace(group, forest=replace(group.forest, n_trees=3, max_depth=8, min_samples_leaf=12))
            for name in ("classifier", "centres")
            for group in [getattr(config, name)]
        },
    )


def main():
    path = FOLDER / f"model-format-{FORMAT_VERSION}.npz"
    if path.exists():
        sys.exit(f"{path}: is there already, and stands for the models of its format")
    config = small_config()
    model = train_on_scans([make_toy_scan(seed).training_scan(config) for seed in range(4)], config, seed=1, n_jobs=2)
    save_model(model, path)
    found = localize(make_toy_scan(5).volume, model)
    points = {label: point.tolist() for label, point in zip(found.labels, found.world.points_mm, strict=True)}
    confidence = dict(zip(found.labels, found.confidence.tolist(), strict=True))
    text = json.dumps({"points_mm": points, "confidence": confidence}, indent=1)
    path.with_suffix(".json").write_text(text + "\n")


if __name__ == "__main__":
    main()
