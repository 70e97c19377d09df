"""Models that come with the package: a name -> the file of a model, here in this folder as `<name>.npz`."""

from __future__ import annotations

from pathlib import Path

from vertloc.errors import ModelError

DEFAULT = "ct-spine"

_FOLDER = Path(__file__).parent


def packaged_models() -> dict[str, Path]:
    """Return the models that come with this version: file by name; empty if there are none."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.npz"))}


def find_model(model: Path | str | None = None) -> Path:
    """Return the file of a model.

    model : a path, the name of a packaged model, or None for the default one; a file of that name comes first
    Raises ModelError if None is asked for and nothing is packaged, or a bare name is neither a file nor packaged. A
    path is returned as it is: whether it can be read shows on reading.
    """
    packaged = packaged_models()
    if model is None:
        if DEFAULT not in packaged:
            raise ModelError(
                "this vertloc comes without a model; name the file of one (--model MODEL.npz), or train one with"
                " `vertloc train`"
            )
        return packaged[DEFAULT]
    path = Path(model)
    is_bare = path.name == str(model) and path.suffix != ".npz"
    if path.exists() or not is_bare:
        return path
    if path.name not in packaged:
        known = ", ".join(packaged) or "none"
        raise ModelError(f"{model}: neither a file nor the name of a packaged model (packaged: {known})")
    return packaged[path.name]
