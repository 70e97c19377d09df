"""What a synthetic cohort is made of: how many patients, which pathologies, which voxels."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from vertloc.errors import ConfigError


@dataclass(frozen=True)
class PhantomSettings:
    """How a synthetic cohort is drawn. Shares are probabilities per patient, ranges are (low, high).

    n_patients : number of patients; share_two_scans : those with a second scan
    in_plane_mm, slice_mm : voxel sizes; field_of_view_mm : in-plane width of the crop
    share_... : pathologies; max_cobb_degrees : the strongest scoliosis
    jitter_mm : standard deviation of the annotation along each axis
    max_height_mm : tallest crop; a longer field of view is shortened from its lower end
    max_megavoxels : largest scan; a larger one gets coarser voxels in plane, whatever `in_plane_mm` says

    Raises ConfigError, naming the field, for a share outside 0..1 or a range that is empty or not positive.
    """

    n_patients: int = 24
    share_two_scans: float = 0.5
    in_plane_mm: tuple[float, float] = (0.3, 0.8)
    slice_mm: tuple[float, float] = (0.6, 3.0)
    field_of_view_mm: tuple[float, float] = (100.0, 234.0)
    max_height_mm: float = 648.0
    max_megavoxels: float = 80.0
    share_scoliosis: float = 0.18
    max_cobb_degrees: float = 60.0
    share_wedge_fracture: float = 0.2
    share_degenerate: float = 0.4
    share_metal: float = 0.12
    share_l6: float = 0.04
    share_missing_t12: float = 0.03
    share_contrast: float = 0.35
    jitter_mm: float = 0.8
    noise_hu: tuple[float, float] = (10.0, 32.0)

    def __post_init__(self) -> None:
        if self.n_patients < 1:
            raise ConfigError(f"n_patients: at least 1 patient is needed, got {self.n_patients}")
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if field.name.startswith("share_") and not 0.0 <= value <= 1.0:
                raise ConfigError(f"{field.name}: expected a share between 0 and 1, got {value}")
            if isinstance(value, tuple | list):
                # YAML gives lists; a frozen value holds tuples.
                object.__setattr__(self, field.name, tuple(float(v) for v in value))
                if len(value) != 2 or not 0.0 < value[0] <= value[1]:
                    raise ConfigError(f"{field.name}: expected 0 < low <= high, got {value}")
        if self.share_l6 + self.share_missing_t12 > 1.0:
            raise ConfigError("share_l6 and share_missing_t12: together they exceed 1")
        if not 0.0 <= self.max_cobb_degrees <= 90.0:
            raise ConfigError(f"max_cobb_degrees: expected 0 to 90, got {self.max_cobb_degrees}")
        if self.max_megavoxels <= 0.0:
            raise ConfigError(f"max_megavoxels: expected a positive number, got {self.max_megavoxels}")
        if self.jitter_mm < 0.0 or self.max_height_mm < 60.0:
            raise ConfigError("jitter_mm must not be negative, max_height_mm must be at least 60")


def demo_settings(n_patients: int = 24) -> PhantomSettings:
    """Return settings with coarse voxels for a quick demonstration: about a second a scan."""
    return PhantomSettings(n_patients=n_patients, in_plane_mm=(0.7, 1.0), slice_mm=(2.0, 3.0))
