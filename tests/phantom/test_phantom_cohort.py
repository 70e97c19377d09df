import hashlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from vertloc.cohorts.loading import load_folds
from vertloc.errors import CohortError
from vertloc.io.images import read_image
from vertloc.io.landmarks.lml import read_lml
from vertloc.phantom.cohort import plan_cohort, plan_patient, write_phantom_cohort
from vertloc.phantom.render import render_benchmark_scan, render_scan
from vertloc.phantom.settings import PhantomSettings

COARSE = PhantomSettings(
    n_patients=3,
    in_plane_mm=(1.9, 2.2),
    slice_mm=(3.0, 3.0),
    max_height_mm=260.0,
    share_metal=0.0,
    noise_hu=(8.0, 12.0),
)
FINER = replace(COARSE, in_plane_mm=(0.9, 0.9), slice_mm=(1.5, 1.5), share_wedge_fracture=0.0, share_degenerate=0.0)


def digests(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom") / "cohort"
    calls = []
    statistics = write_phantom_cohort(out, COARSE, seed=5, progress=lambda: calls.append(1))
    return out, statistics, len(calls)


@pytest.fixture(scope="module")
def rendered():
    """A few finer scans with a clean anatomy: (scan, volume, centroids)."""
    scans = plan_cohort(replace(FINER, n_patients=5, share_two_scans=0.0), seed=8)
    return [(scan, *render_scan(scan.patient, scan.geometry, scan.generator())) for scan in scans]


def mean_hu(scan, volume, point_mm, radius_mm=2.0):
    """Mean over a ball around a point of the patient's frame; NaN outside."""
    local = np.asarray(point_mm) - np.array(scan.geometry.corner_mm)
    z, y, x = np.meshgrid(*(np.arange(n) for n in volume.voxels.shape), indexing="ij", sparse=True)
    sx, sy, sz = volume.grid.spacing_mm
    near = (x * sx - local[0]) ** 2 + (y * sy - local[1]) ** 2 + (z * sz - local[2]) ** 2 <= radius_mm**2
    return float(volume.voxels[near].mean()) if near.any() else np.nan


def annotated(scan, centroids, names=None):
    chain = [v for v in scan.patient.labelled if v.name in centroids]
    return chain if names is None else [v for v in chain if v.name[0] in names]


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers_and_patients(cohort, tmp_path):
    out, _, _ = cohort
    write_phantom_cohort(tmp_path / "again", COARSE, seed=5, n_jobs=2)
    assert digests(tmp_path / "again") == digests(out)
    write_phantom_cohort(tmp_path / "fewer", replace(COARSE, n_patients=1), seed=5)
    scans = {name: digest for name, digest in digests(tmp_path / "fewer").items() if name.startswith("patient")}
    assert scans and scans.items() <= digests(out).items()


def test_another_seed_gives_other_scans():
    assert plan_patient(0, COARSE, 5)[0].geometry != plan_patient(0, COARSE, 6)[0].geometry


def test_the_layout_is_that_of_the_database(cohort):
    out, statistics, n_calls = cohort
    images = sorted(out.rglob("*.mhd"))
    assert n_calls == statistics.n_scans == len(images) > 0
    for image in images:
        assert image.parent.name == image.stem and len(image.stem) == 7 and image.stem.isdigit()
        assert image.parent.parent.name.startswith("patient") and len(image.parent.parent.name) == 11
        volume = read_image(image)
        assert volume.voxels.dtype == np.int16
        assert volume.grid.origin_mm == (0.0, 0.0, 0.0)
        assert volume.voxels.min() >= -1024 and volume.voxels.max() <= 3071
        assert len(read_lml(image.with_suffix(".lml"))) > 0


def test_the_folds_are_patient_wise_and_can_be_loaded(cohort):
    out, statistics, _ = cohort
    first, second = load_folds(out, [out / "fold1.txt", out / "fold2.txt"])
    assert len(first.cases) + len(second.cases) == statistics.n_scans
    assert not {case.patient for case in first.cases} & {case.patient for case in second.cases}


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CohortError, match=r"phantom\.json"):
        write_phantom_cohort(tmp_path, COARSE, seed=5)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_cohort_with_another_seed_is_refused(cohort):
    out, _, _ = cohort
    with pytest.raises(CohortError, match="another seed"):
        write_phantom_cohort(out, COARSE, seed=6)


def test_centroids_lie_in_bone_inside_the_bodies(rendered):
    for scan, volume, centroids in rendered:
        for vertebra in annotated(scan, centroids):
            assert 60 < mean_hu(scan, volume, vertebra.centre_mm) < 800, (scan.scan, vertebra.name)


def test_discs_are_darker_than_the_bodies_and_endplates_beside_them(rendered):
    for scan, volume, centroids in rendered:
        chain = annotated(scan, centroids, "TL")
        for upper, lower in pairwise(chain):
            lower_end = upper.to_patient((0.0, 0.0, -0.5 * upper.back_mm + upper.concavity_mm))
            upper_end = lower.to_patient((0.0, 0.0, 0.5 * lower.back_mm - lower.concavity_mm))
            disc = mean_hu(scan, volume, 0.5 * (lower_end + upper_end), 1.2)
            assert disc < mean_hu(scan, volume, lower_end, 1.2), (scan.scan, upper.name)
            assert disc < mean_hu(scan, volume, upper.centre_mm, 4.0)


def test_the_canal_behind_the_bodies_is_soft_tissue_and_the_spinous_process_is_bone(rendered):
    for scan, volume, centroids in rendered:
        for vertebra in annotated(scan, centroids, "CTL"):
            if vertebra.name == "C1":
                continue
            depth, canal = vertebra.half_mm[1], vertebra.size.canal_depth * vertebra.scale
            middle = vertebra.to_patient((0.0, depth + 0.5 * canal, 0.0))
            hu = mean_hu(scan, volume, middle, 2.5)
            assert np.isnan(hu) or -20 < hu < 80, (scan.scan, vertebra.name, hu)
            process = vertebra.to_patient((0.0, depth + canal + 4.0, -0.25 * vertebra.back_mm))
            hu = mean_hu(scan, volume, process, 1.5)
            assert np.isnan(hu) or hu > 150, (scan.scan, vertebra.name, hu)


def test_far_behind_the_back_there_is_air():
    scan = plan_patient(0, COARSE, 5)[0]
    rearmost = max(v.centre_mm[1] for v in scan.patient.vertebrae)
    x, _, z = scan.geometry.corner_mm
    behind = replace(scan.geometry, corner_mm=(x, rearmost + 180.0, z))
    voxels = render_scan(scan.patient, behind, scan.generator())[0].voxels
    assert voxels.max() < -900


def test_metal_appears_only_when_asked():
    bare = plan_patient(0, replace(COARSE, share_metal=0.0), 11)[0]
    assert bare.patient.metal is None
    assert render_scan(bare.patient, bare.geometry, bare.generator())[0].voxels.max() < 2500
    for number in range(20):
        scan = plan_patient(number, replace(COARSE, share_metal=1.0), 11)[0]
        assert scan.patient.metal is not None
        fused = {v.name for v in scan.patient.vertebrae[scan.patient.metal.first : scan.patient.metal.last + 1]}
        volume, centroids = render_scan(scan.patient, scan.geometry, scan.generator())
        if fused <= set(centroids.labels):
            assert volume.voxels.max() == 3071
            return
    pytest.fail("no planned scan shows the whole fusion")


def test_a_benchmark_scan_has_the_asked_shape():
    volume = render_benchmark_scan((12, 40, 48), seed=1)
    assert volume.voxels.shape == (12, 40, 48) and volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.voxels, render_benchmark_scan((12, 40, 48), seed=1).voxels)
