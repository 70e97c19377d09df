"""Zip of DICOM files -> a folder of its own, under names of our own; bounded, whatever the zip says of itself."""

from __future__ import annotations

import lzma
import shutil
import struct
import tempfile
import weakref
import zipfile
import zlib
from pathlib import Path

from vertloc.errors import ImageError

LARGEST_UNPACKED_BYTES = 8 * 2**30
_MOST_MEMBERS = 50_000
_CHUNK = 1 << 20
# What zipfile raises for zips that are damaged, locked, or packed in ways that it does not know.
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, NotImplementedError, RuntimeError, ValueError, LookupError, OverflowError),
)
_HEAD = 132


class Unpacked:
    """A temporary folder that is removed when nobody holds this object any more."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vertloc-zip-"))
        self.remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


def zip_around(path: Path) -> Path | None:
    """Return the zip that a path like `scans.zip/000012` leads into, to a file by its number; None if it does not."""
    return path.parent if path.parent.suffix.lower() == ".zip" and path.parent.is_file() else None


def unpack_zip(path: Path) -> Unpacked:
    """Unpack the DICOM files of a zip into a temporary folder, which is removed with the object that is returned.

    Names in the zip are not used, so none can leave the folder. Raises ImageError for a zip that is damaged, locked, or
    unpacks to more than LARGEST_UNPACKED_BYTES.
    """
    unpacked = Unpacked()
    try:
        with zipfile.ZipFile(path) as stored:
            members = [member for member in stored.infolist() if not member.is_dir()]
            if len(members) > _MOST_MEMBERS:
                raise ImageError(f"{path}: {len(members)} files in one zip; at most {_MOST_MEMBERS} are read")
            left = LARGEST_UNPACKED_BYTES
            for i, member in enumerate(members):
                left -= _unpack_member(stored, member, unpacked.folder / f"{i:06d}", left)
                if left < 0:
                    raise ImageError(f"{path}: unpacks to more than {LARGEST_UNPACKED_BYTES // 2**30} GiB")
    except _ZIP_ERRORS as error:
        unpacked.remove()
        raise ImageError(f"{path}: this zip cannot be read: {error}") from None
    except BaseException:  # also Ctrl-C: nothing half unpacked is left
        unpacked.remove()
        raise
    return unpacked


def _unpack_member(stored: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, most: int) -> int:
    """Write one member if it is a DICOM file; return its bytes, at least one more than `most` if it has more."""
    with stored.open(member) as file:
        head = file.read(_HEAD)
        if head[_HEAD - 4 :] != b"DICM":
            return 0
        n_bytes = len(head)
        with path.open("wb") as out:
            out.write(head)
            while n_bytes <= most and (part := file.read(_CHUNK)):
                out.write(part)
                n_bytes += len(part)
    return n_bytes
