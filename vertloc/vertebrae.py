"""The label alphabet: vertebrae in anatomical order, their regions and numbers.

Everything is keyed by vertebra *name*. A number means something only inside a named scheme.
"""

from __future__ import annotations

from typing import Literal

Region = Literal["cervical", "thoracic", "lumbar", "sacral"]

VERTEBRAE: tuple[str, ...] = (
    *(f"C{i}" for i in range(1, 8)),
    *(f"T{i}" for i in range(1, 13)),
    *(f"L{i}" for i in range(1, 6)),
    "S1",
    "S2",
)
"""The 26 labels of the Microsoft database, top to bottom: what a model can name."""

VARIANTS: tuple[str, ...] = ("T13", "L6")
"""Names of transitional anatomy that files may hold; they are read, kept and scored, but not trained."""

REGIONS: tuple[Region, ...] = ("cervical", "thoracic", "lumbar", "sacral")

_REGION_OF_LETTER: dict[str, Region] = {"C": "cervical", "T": "thoracic", "L": "lumbar", "S": "sacral"}

RANK: dict[str, int] = {name: rank for rank, name in enumerate(VERTEBRAE)}
"""Position of a trained label from the top: C1 0 ... S2 25."""

# T13 lies between T12 and L1, L6 between L5 and S1.
_ORDER: dict[str, float] = {**RANK, "T13": RANK["T12"] + 0.5, "L6": RANK["L5"] + 0.5}

BODY_DIAMETER_MM: dict[str, float] = dict(
    zip(
        VERTEBRAE,
        (
            *(14.0, 15.0, 16.5, 17.0, 17.0, 19.0, 20.0),
            *(19.3, 20.0, 22.0, 24.0, 25.0, 27.0, 29.0, 31.0, 33.0, 32.0, 33.5, 34.0),
            *(34.0, 37.0, 38.0, 36.0, 34.0),
            *(34.0, 34.0),
        ),
        strict=True,
    )
)
"""Typical diameter of a vertebral body, mm."""


VERSE_NUMBER: dict[str, int] = {
    **{f"C{i}": i for i in range(1, 8)},
    **{f"T{i}": i + 7 for i in range(1, 13)},
    **{f"L{i}": i + 19 for i in range(1, 7)},
    **{"T13": 28, "S1": 26, "S2": 29},
}
"""Numbers of VerSe's label maps and points; S1 and S2 as TPTBox numbers them, 26 being VerSe's whole sacrum."""

NAME_OF_VERSE: dict[int, str] = {number: name for name, number in VERSE_NUMBER.items()}


def is_vertebra(name: str) -> bool:
    """Tell whether `name` is a known vertebra, trained or variant."""
    return name in _ORDER


def anatomical_order(name: str) -> float:
    """Return a sort key from top to bottom; variants lie between their neighbours.

    Raises KeyError for an unknown name.
    """
    return _ORDER[name]


def region_of(name: str) -> Region:
    """Return the region of a vertebra by its letter.

    Raises KeyError for an unknown name.
    """
    if name not in _ORDER:
        raise KeyError(name)
    return _REGION_OF_LETTER[name[0]]


def lml_id(name: str) -> int:
    """Return the identifier of an `.lml` line: ten times the rank from C1 = 10 to S2 = 260.

    Variants take the number between their neighbours (T13 195, L6 245).
    """
    return round(10 * (_ORDER[name] + 1))
