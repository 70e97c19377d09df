"""Places for results -> checked before hours of work go into what is to be written there."""

from __future__ import annotations

import os
from pathlib import Path

from vertloc.errors import OutputError
from vertloc.io.atomic import remove_stale_temporaries


def make_folder(path: Path) -> None:
    """Make a folder for results, with its parents; one that is there already is fine.

    Temporary files that killed processes left in it are removed.
    Raises OutputError if that is not possible, or nothing can be written into it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{path}: expected a folder for the results, but there is a file of that name") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot make this folder: {error.strerror or error}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: cannot write into this folder")
    remove_stale_temporaries(path)


def prepare_file(path: Path) -> None:
    """Make the folder of a file that is to be written; the file itself stays as it is.

    Raises OutputError if nothing can be written there, or `path` is a folder.
    """
    if path.is_dir():
        raise OutputError(f"{path}: expected the name of a file to write, but there is a folder of that name")
    make_folder(path.parent)
