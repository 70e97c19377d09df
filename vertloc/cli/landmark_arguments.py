"""The arguments of the commands on landmarks and folds: `convert, relabel, folds`; imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

FORMAT_NAMES = ("lml", "json", "mrk.json", "csv", "verse", "poi", "sr", "labels")
"""Formats that can be written; a test holds this to the registry, which is not imported for `--help`."""

Add = Callable[[str, str, str, str], argparse.ArgumentParser]
"""Makes the parser of a command from its name, summary, description and example."""


def add_landmark_commands(add: Add) -> None:
    """Add the parsers of all three commands."""
    _add_convert(add)
    _add_relabel(add)
    _add_folds(add)


def format_names(text: str) -> tuple[str, ...]:
    """Read `lml,mrk.json`; for argparse."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in FORMAT_NAMES]
    if unknown or not names:
        found = repr(unknown[0]) if unknown else "nothing"
        raise argparse.ArgumentTypeError(f"expected formats among {', '.join(FORMAT_NAMES)}, got {found}")
    return names


def _add_convert(add: Add) -> None:
    parser = add(
        "convert",
        "bring landmarks into another format",
        "Read landmarks of any known format (LML, JSON, Slicer .mrk.json, .csv and .fcsv, VerSe _ctd.json, TPTBox"
        " _poi.json, DICOM SR, label maps, masks of vertebrae, TotalSegmentator's folder of masks) and write them in"
        " another. The suffix of OUT says which; with --format, OUT is a folder.",
        "vertloc convert 2804506.lml 2804506.mrk.json --image 2804506.nii.gz",
    )
    parser.add_argument("source", type=Path, metavar="IN", help="a landmark file, a mask, or a folder of masks")
    parser.add_argument("out", type=Path, metavar="OUT", help="the file to write, or with --format the folder")
    parser.add_argument(
        "--image", type=Path, metavar="SCAN", help="the scan, where local points meet world ones or voxels are counted"
    )
    parser.add_argument("--format", type=format_names, default=(), metavar="NAME,NAME...", help=FORMAT_HELP)
    parser.add_argument("--frame", choices=("local", "world"), help="frame of an .lml file (default: local)")


def _add_relabel(add: Add) -> None:
    parser = add(
        "relabel",
        "put the levels of a result right by one that is known",
        "Give a point its right name and shift all others along the chain; or shift all scans of a run as they were"
        " rated on its report. The results are marked as edited by a person; the originals stay beside them as"
        " <name>.original.",
        "vertloc relabel results/2804506.lml --point 4=L5\n  vertloc relabel results --ratings results-ratings.json",
    )
    parser.add_argument(
        "result", type=Path, metavar="RESULT", help="the landmark file; with --ratings the folder of results"
    )
    known = parser.add_mutually_exclusive_group(required=True)
    known.add_argument("--ratings", type=Path, metavar="FILE", help="what a reader saved from the report of RESULT")
    known.add_argument(
        "--point",
        action="append",
        metavar="POINT=LEVEL",
        help="a point, by its number from the top or by its present name, and its right level, such as 4=L5 or L4=L5;"
        " may be given several times",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there and leave RESULT as it is")
    parser.add_argument("--image", type=Path, metavar="SCAN", help="the scan, for formats that count its voxels")


def _add_folds(add: Add) -> None:
    parser = add(
        "folds",
        "split a data set into folds by patient",
        "Write fold1.txt, fold2.txt, ... with one scan a line. No patient is in two folds.",
        "vertloc folds --data spine-db --k 5 --seed 0 --out folds",
    )
    parser.add_argument(
        "--data", type=Path, required=True, nargs="+", metavar="DIR", help="folders, searched for scans"
    )
    parser.add_argument("--k", type=int, required=True, metavar="N", help="number of folds")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draw (default 0)")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="folder for the files (default: here)")
    parser.add_argument("--all", action="store_true", help="also scans without annotation")


FORMAT_HELP = (
    f"formats to write, among {', '.join(FORMAT_NAMES)}: <scan>.lml, <scan>.json, <scan>.mrk.json and <scan>.csv for"
    " 3D Slicer, <scan>_ctd.json (VerSe), <scan>_poi.json (TPTBox), <scan>.dcm (DICOM SR, for DICOM scans),"
    " <scan>_labels.nii.gz with label names for ITK-SNAP"
)
