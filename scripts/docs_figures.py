"""Draw the figures of docs/method.md from a model and a phantom scan: run it again when the method changes.

python scripts/docs_figures.py --model model.npz --scan scan.mhd
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vertloc.io.images import read_image
from vertloc.model import load_model
from vertloc.report.figures import candidates_figure, features_figure, posterior_figure, save_figure, tree_figure

FIGURES = Path(__file__).parents[1] / "docs" / "figures"


def main() -> None:
    """Draw all four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the model that is shown")
    parser.add_argument("--scan", type=Path, required=True, help="a scan that `vertloc phantom` made")
    args = parser.parse_args()
    model, volume = load_model(args.model), read_image(args.scan)
    save_figure(tree_figure(model, depth=3), FIGURES / "tree.png")
    save_figure(features_figure(model), FIGURES / "features.png")
    save_figure(posterior_figure(volume, model, -1), FIGURES / "posterior.png")
    save_figure(candidates_figure(volume, model, -1), FIGURES / "candidates.png")


if __name__ == "__main__":
    main()
