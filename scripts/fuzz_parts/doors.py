"""Every door through which a stranger's file comes in: good files for it, and the call that opens it."""

from __future__ import annotations

import gzip
import json
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np

from vertloc.centroids import Centroids
from vertloc.cohorts.fold_files import read_fold_file
from vertloc.config import Config, read_config, read_prediction_settings
from vertloc.geometry import Grid
from vertloc.io.images import read_grid, read_image, write_image
from vertloc.io.landmarks.landmarks import ImageReference, Landmarks
from vertloc.io.landmarks.registry import FORMATS, format_named, read_centroids
from vertloc.model import load_model
from vertloc.volume import Volume

GRID = Grid((3, 4, 5), (0.5, 0.5, 2.0), (-10.0, 5.0, 100.0), (0.0, 0.6, 0.8, 1.0, 0.0, 0.0, 0.0, 0.8, -0.6))


@dataclass(frozen=True)
class Door:
    """A door and good files for it.

    suffix : of the file that is changed; good : files to start from, made when first asked for
    open : reads a file; whatever it raises but VertlocError is a fault
    is_gzip : the good bytes are packed again after they were changed
    beside : files that lie beside the changed one, by suffix
    """

    name: str
    suffix: str
    good: Callable[[Path], list[bytes]]
    open: Callable[[Path], object]
    is_gzip: bool = False
    beside: Callable[[Path], dict[str, bytes]] = lambda _folder: {}


def _volume() -> Volume:
    return Volume(np.random.default_rng(0).integers(-900, 900, GRID.shape).astype(np.int16), GRID, "x")


def _written(folder: Path, suffix: str) -> bytes:
    write_image(_volume(), folder / f"good{suffix}")
    return (folder / f"good{suffix}").read_bytes()


def _open_image(path: Path) -> None:
    volume = read_image(path)
    if volume.grid != read_grid(path):
        raise AssertionError("the header alone gives another grid")
    if not np.isfinite(volume.voxels).all():
        raise AssertionError("voxels that are not finite")


def _mhd(folder: Path) -> list[bytes]:
    return [_written(folder, ".mhd").replace(b"good.raw", b"x.raw")]


def _raw(_folder: Path) -> dict[str, bytes]:
    return {".raw": _volume().voxels.tobytes()}


def _nhdr(folder: Path) -> list[bytes]:
    head = _written(folder, ".nrrd").partition(b"\n\n")[0]
    return [head.replace(b"encoding: gzip", b"encoding: raw") + b"\ndata file: x.raw\n\n"]


def _pair(folder: Path) -> list[bytes]:
    return [_written(folder, ".nii")[:344] + b"ni1\0"]


def _img(_folder: Path) -> dict[str, bytes]:
    return {".img": bytes(352) + _volume().voxels.tobytes()}


def _zraw(folder: Path) -> list[bytes]:
    head, _, data = _written(folder, ".mha").partition(b"ElementDataFile = LOCAL\n")
    packed = gzip.compress(data)
    return [head.replace(b"CompressedData = False", b"CompressedData = True") + b"ElementDataFile = LOCAL\n" + packed]


def _element(group: int, element: int, kind: bytes, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    head = struct.pack("<HH", group, element) + kind
    if kind in (b"OW", b"SQ"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def _slice(k: int) -> bytes:
    """Make a small CT slice."""
    meta = _element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0")
    texts = (
        (0x08, 0x08, b"CS", b"ORIGINAL\\PRIMARY"), (0x08, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
        (0x08, 0x60, b"CS", b"CT"), (0x20, 0x0D, b"UI", b"1.2"), (0x20, 0x0E, b"UI", b"1.2.3"),
        (0x20, 0x11, b"IS", b"3"), (0x20, 0x13, b"IS", str(k).encode()),
        (0x20, 0x32, b"DS", f"0\\0\\{2 * k}".encode()), (0x20, 0x37, b"DS", b"1\\0\\0\\0\\1\\0"),
        (0x28, 0x30, b"DS", b"0.5\\0.5"), (0x28, 0x1052, b"DS", b"-1024"), (0x28, 0x1053, b"DS", b"1"),
    )  # fmt: skip
    numbers = ((0x02, 1), (0x10, 4), (0x11, 5), (0x0100, 16), (0x0101, 12), (0x0103, 0))
    elements = [(0x28, n, _element(0x28, n, b"US", struct.pack("<H", value))) for n, value in numbers]
    elements += [(g, e, _element(g, e, kind, value)) for g, e, kind, value in texts]
    body = b"".join(part for _, _, part in sorted(elements))
    return bytes(128) + b"DICM" + meta + body + _element(0x7FE0, 0x10, b"OW", bytes(range(40)))


def _other_slices(_folder: Path) -> dict[str, bytes]:
    return {f"{k}.dcm": _slice(k) for k in (1, 2, 3)}


def _zipped(folder: Path) -> list[bytes]:
    path = folder / "good.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for k in range(4):
            out.writestr(f"{k}.dcm", _slice(k))
    return [path.read_bytes()]


def _landmarks(name: str) -> Callable[[Path], list[bytes]]:
    def good(_folder: Path) -> list[bytes]:
        points = {"T12": (1.0, 2.0, 3.0), "L1": (1.5, 2.5, -25.0), "L6": (0.0, 0.0, -180.0)}
        centroids = Centroids.from_points(points, "world")
        module, _, function = format_named(name).formatter.partition(":")
        write: Callable[[Landmarks, ImageReference], bytes]
        write = getattr(import_module(f"vertloc.io.landmarks.{module}"), function)
        return [write(Landmarks(centroids, {"L1": 0.75}), ImageReference("x", GRID))]

    return good


@cache
def _model(folder: Path) -> tuple[bytes, ...]:
    sys.path.append(str(Path(__file__).parents[2] / "tests"))
    from toy import make_toy_scan, toy_config

    from vertloc.model import save_model
    from vertloc.training import train_on_scans

    config = toy_config()
    model = train_on_scans([make_toy_scan(seed).training_scan(config) for seed in range(3)], config, seed=1)
    save_model(model, folder / "model.npz")
    return ((folder / "model.npz").read_bytes(),)


def _config(_folder: Path) -> list[bytes]:
    return [Config().as_yaml().encode(), json.dumps(Config().as_dict()).encode()]


def _prediction(_folder: Path) -> list[bytes]:
    return [b"prediction:\n  chain:\n    use_chain: true\n  votes:\n    bandwidth_mm: 4.0\n"]


def _folds(_folder: Path) -> list[bytes]:
    return [b"2804506\r\n# comment\r\n\r\npatient0001/2805012/2805012.nii.gz\r\npatient0002\\4533808\\4533808.mhd\n"]


def _read_prediction(path: Path) -> object:
    return read_prediction_settings(path, Config().prediction)


def _read_centroids(path: Path) -> object:
    return read_centroids(path, GRID)


IMAGE_DOORS = (
    Door("MetaImage .mha", ".mha", lambda folder: [_written(folder, ".mha")], _open_image),
    Door("MetaImage .mha, packed", ".mha", _zraw, _open_image),
    Door("MetaImage .mhd", ".mhd", _mhd, _open_image, beside=_raw),
    Door("NIfTI .nii", ".nii", lambda folder: [_written(folder, ".nii")], _open_image),
    Door("NIfTI .nii.gz, header", ".nii.gz", lambda folder: [_written(folder, ".nii")], _open_image, is_gzip=True),
    Door("NIfTI .nii.gz, packing", ".nii.gz", lambda folder: [_written(folder, ".nii.gz")], _open_image),
    Door("NIfTI .hdr", ".hdr", _pair, _open_image, beside=_img),
    Door("NRRD .nrrd", ".nrrd", lambda folder: [_written(folder, ".nrrd")], _open_image),
    Door("NRRD .nhdr", ".nhdr", _nhdr, _open_image, beside=_raw),
    Door("DICOM slice", ".dcm", lambda _folder: [_slice(0)], _open_image, beside=_other_slices),
    Door("DICOM zip", ".zip", _zipped, _open_image),
)

LANDMARK_DOORS = tuple(
    Door(f"landmarks {kind.name}", kind.suffixes[0], _landmarks(kind.name), _read_centroids)
    for kind in FORMATS
    if kind.formatter and kind.reader and kind.name in ("lml", "json", "mrk.json", "csv", "verse", "poi")
)

OTHER_DOORS = (
    Door("model file", ".npz", lambda folder: list(_model(folder)), load_model),
    Door("configuration", ".yaml", _config, read_config),
    Door("prediction settings", ".yaml", _prediction, _read_prediction),
    Door("fold file", ".txt", _folds, read_fold_file),
)

DOORS = IMAGE_DOORS + LANDMARK_DOORS + OTHER_DOORS
