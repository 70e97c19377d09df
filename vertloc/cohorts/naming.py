"""Image files -> one name each, under which results are filed: the file name, or the path where that says too little.

`patient0001/2804506/2804506.mhd` is scan `2804506`. In data sets with one name in every folder, `s0001/ct.nii.gz`, the
scan is `s0001/ct`, and its results lie in folders likewise: `s0001/ct.lml`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath

from vertloc.io.images import is_image_path, scan_name
from vertloc.io.landmarks.registry import is_landmark_path, landmark_scan_name


def base_name(path: Path) -> str:
    """Return the file name of an image or landmark file without the suffix of its format."""
    return scan_name(path) if is_image_path(path) and not is_landmark_path(path) else landmark_scan_name(path)


def names_of(files: Mapping[Path, Path]) -> dict[Path, str]:
    """Name each file by its file name, and by its path below its root where several share the file name.

    files : images or landmark files: by path, the folder that the name starts from
    returns : by path; names still occur several times where a scan lies beside itself in another format, or where the
        file name is an identifier that the folder repeats, as in `2804506/2804506.mhd`: these are copies
    """
    by_base: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        by_base[base_name(path)].append(path)
    names: dict[Path, str] = {}
    for base, same in by_base.items():
        is_identifier = any(path.parent.name == base for path in same)
        if is_identifier or len({path.parent for path in same}) == 1:
            names.update(dict.fromkeys(same, base))
        else:
            names.update(_by_path({path: files[path] for path in same}))
    return names


def scan_among(entry: str, names: Collection[str]) -> str | None:
    """Find the scan that a path such as `results/s0001/ct` means: the longest end of it that is one."""
    return next((end for end in _ends(entry) if end in names), None)


def _ends(entry: str) -> Iterator[str]:
    parts = PurePosixPath(entry).parts
    return ("/".join(parts[i:]) for i in range(len(parts)))


def _by_path(files: Mapping[Path, Path]) -> dict[Path, str]:
    """Name by the path below the root, and by the root's own name as well where several roots hold the same path."""
    short = {path: path.relative_to(root).parent / base_name(path) for path, root in files.items()}
    roots: dict[Path, set[Path]] = defaultdict(set)
    for path, name in short.items():
        roots[name].add(files[path])
    return {
        path: (name if len(roots[name]) == 1 else Path(files[path].resolve().name) / name).as_posix()
        for path, name in short.items()
    }
