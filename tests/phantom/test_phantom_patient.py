from dataclasses import replace

import numpy as np
import pytest

from vertloc.errors import ConfigError
from vertloc.geometry import Grid
from vertloc.phantom.anatomy import LEVEL_SHARES, NEIGHBOUR_MM
from vertloc.phantom.cohort import annotate_planned, plan_cohort
from vertloc.phantom.patient import SACRAL_TAIL, make_patient
from vertloc.phantom.scan import annotate_scan
from vertloc.phantom.settings import PhantomSettings
from vertloc.phantom.statistics import cohort_statistics, format_statistics
from vertloc.vertebrae import VERTEBRAE


@pytest.fixture(scope="module")
def planned():
    return plan_cohort(PhantomSettings(n_patients=200), seed=1)


@pytest.fixture(scope="module")
def statistics(planned):
    return cohort_statistics((scan.geometry, annotate_planned(scan)) for scan in planned)


def draw(seed=0, **changes):
    return make_patient(np.random.default_rng(seed), PhantomSettings(**changes))


def test_neighbour_distances_follow_the_published_table(statistics):
    for pair, (mean, deviation) in NEIGHBOUR_MM.items():
        here = np.array(statistics.neighbour_mm[pair])
        assert len(here) > 60
        assert here.mean() == pytest.approx(mean, abs=0.05 * mean), pair
        assert here.std() == pytest.approx(deviation, rel=0.3), pair


def test_visible_levels_and_margins_follow_the_published_statistics(statistics):
    assert np.mean(statistics.visible) == pytest.approx(12, abs=1.2)
    for region, share in LEVEL_SHARES.items():
        assert statistics.region_shares[region] == pytest.approx(share, abs=0.04), region
    assert statistics.top_is_c1 == pytest.approx(119 / 302, abs=0.07)
    assert statistics.last_is_s2 == pytest.approx(128 / 302, abs=0.07)
    assert np.median(statistics.margin_above_mm) == pytest.approx(30, abs=6)
    assert np.median(statistics.margin_below_mm) == pytest.approx(24, abs=6)
    assert min(statistics.width_mm) > 98 and max(statistics.height_mm) < 650


def test_the_statistics_are_laid_out_beside_the_published_ones(statistics):
    text = format_statistics(statistics)
    assert "published" in text and "C1-C2" in text and "19.7/3.4" in text


def test_statistics_of_no_scans_are_zero():
    assert cohort_statistics([]).n_vertebrae == 0
    assert "0 scans" in format_statistics(cohort_statistics([]))


def test_a_usual_patient_has_every_vertebra_from_top_to_bottom():
    patient = draw(share_l6=0.0, share_missing_t12=0.0)
    assert tuple(v.name for v in patient.vertebrae) == (*VERTEBRAE, *SACRAL_TAIL)
    heights = [v.centre_mm[2] for v in patient.vertebrae]
    assert heights == sorted(heights, reverse=True)


def test_a_sixth_lumbar_vertebra_lies_between_l5_and_s1():
    names = [v.name for v in draw(share_l6=1.0, share_missing_t12=0.0).vertebrae]
    assert names[names.index("L5") : names.index("S1") + 1] == ["L5", "L6", "S1"]


def test_a_patient_without_t12_goes_from_t11_to_l1():
    names = [v.name for v in draw(share_l6=0.0, share_missing_t12=1.0).vertebrae]
    assert names[names.index("T11") + 1] == "L1"


def test_every_scan_of_transitional_patients_can_be_planned_and_annotated():
    for changes in ({"share_l6": 1.0, "share_missing_t12": 0.0}, {"share_l6": 0.0, "share_missing_t12": 1.0}):
        for scan in plan_cohort(PhantomSettings(n_patients=40, **changes), seed=3):
            labels = annotate_planned(scan).labels
            chain = [v.name for v in scan.patient.labelled]
            first = chain.index(labels[0])
            assert tuple(chain[first : first + len(labels)]) == labels


def test_scoliosis_bends_the_spine_by_its_cobb_angle():
    straight = draw(seed=4, share_scoliosis=0.0)
    assert straight.cobb_degrees < 15
    for seed in range(5):
        patient = draw(seed=seed, share_scoliosis=1.0, max_cobb_degrees=60.0)
        up = np.array([v.axes[2] for v in patient.vertebrae if v.name[0] in "TL"])
        tilt = np.degrees(np.arctan2(up[:, 0], up[:, 2]))
        assert np.ptp(tilt) == pytest.approx(patient.cobb_degrees, abs=9)


def test_axes_of_vertebrae_are_right_handed_rotations():
    for vertebra in draw(share_scoliosis=1.0).vertebrae:
        np.testing.assert_allclose(vertebra.axes @ vertebra.axes.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(vertebra.axes) == pytest.approx(1.0)


def test_vertebrae_cut_by_the_border_are_not_annotated(planned):
    scan = next(s for s in planned if len(annotate_planned(s)) > 8)
    labels = annotate_planned(scan).labels
    top = scan.patient.vertebrae[scan.patient.level_at(labels[0])]
    _, y, x = scan.geometry.grid.shape
    spacing = scan.geometry.grid.spacing_mm
    # Crop a slice below the upper endplate of the topmost annotated body, its centre still inside.
    n_z = int((top.centre_mm[2] + 0.3 * top.back_mm - scan.geometry.corner_mm[2]) / spacing[2])
    cut = replace(scan.geometry, grid=Grid((n_z, y, x), spacing))
    assert annotate_scan(scan.patient, cut, scan.generator()).labels == labels[1:]


def test_annotated_points_lie_inside_the_image_and_near_the_true_centres(planned):
    for scan in planned[:40]:
        for label, point in annotate_planned(scan):
            vertebra = scan.patient.vertebrae[scan.patient.level_at(label)]
            true = vertebra.centre_mm - np.array(scan.geometry.corner_mm)
            assert np.linalg.norm(point - true) < 4
            assert scan.geometry.grid.contains(point).all()


def test_the_spine_is_centred_from_side_to_side(planned):
    middles = [
        annotate_planned(s).points_mm[:, 0].mean() / s.geometry.grid.extent_mm[0]
        for s in planned
        if len(annotate_planned(s))
    ]
    assert min(middles) > 0.3 and max(middles) < 0.7
    assert np.median(middles) == pytest.approx(0.5, abs=0.03)


def test_a_patient_depends_on_the_seed_and_its_number_only(planned):
    few = plan_cohort(PhantomSettings(n_patients=7), seed=1)
    for a, b in zip(few, planned, strict=False):
        assert (a.scan, a.geometry, a.fold) == (b.scan, b.geometry, b.fold)
        np.testing.assert_array_equal(annotate_planned(a).points_mm, annotate_planned(b).points_mm)
    assert len({scan.scan for scan in planned}) == len(planned)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_patients", 0),
        ("share_metal", 1.5),
        ("in_plane_mm", (0.8, 0.3)),
        ("slice_mm", (0.0, 1.0)),
        ("max_cobb_degrees", 120.0),
        ("max_megavoxels", 0.0),
    ],
)
def test_impossible_settings_are_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=field):
        PhantomSettings(**{field: value})
