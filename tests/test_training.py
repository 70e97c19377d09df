from dataclasses import replace

import numpy as np
import pytest
from toy import make_toy_scan, toy_config, write_toy_cohort

from vertloc.centroids import Centroids
from vertloc.cohorts.case import Case
from vertloc.errors import ImageError, LmlError, TrainingError
from vertloc.localization import localize
from vertloc.model import load_model, save_model
from vertloc.training import n_training_steps, read_training_scans, train, train_on_scans

CONFIG = toy_config()
TINY = replace(
    CONFIG,
    **{
        name: replace(group, forest=replace(group.forest, n_trees=2, max_depth=5))
        for name in ("classifier", "centres")
        for group in [getattr(CONFIG, name)]
    },
)


@pytest.fixture(scope="module")
def training_scans(toy_scans):
    return [scan.training_scan(TINY) for scan in toy_scans[:3]]


@pytest.fixture(scope="module")
def cohort(toy_scans, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    write_toy_cohort(folder, toy_scans[:3])
    return [
        Case(s.volume.name, s.patient, image, image.with_suffix(".lml"))
        for s in toy_scans[:3]
        for image in [folder / s.patient / f"{s.volume.name}.mhd"]
    ]


def bytes_of(model, path):
    save_model(model, path)
    return path.read_bytes()


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_jobs(training_scans, tmp_path):
    one, two, other = (
        bytes_of(train_on_scans(training_scans, TINY, seed, n_jobs), tmp_path / "model.npz")
        for seed, n_jobs in ((3, 1), (3, 2), (4, 1))
    )
    assert one == two
    assert one != other


def test_training_from_files_gives_the_model_of_the_scans_in_memory(training_scans, cohort):
    calls = []
    model = train(cohort, TINY, seed=3, n_jobs=2, folds=("fold1.txt",), progress=lambda: calls.append(1))
    assert len(calls) == n_training_steps(3, TINY) == 3 + 2 + 2 + 1
    # `.lml` keeps six digits, so that centroids and all that follows agree to rounding only.
    expected = train_on_scans(training_scans, TINY, seed=3)
    np.testing.assert_allclose(model.shape.mean_mm, expected.shape.mean_mm, atol=1e-3)
    provenance = model.provenance
    assert (provenance.seed, provenance.n_scans, provenance.n_patients) == (3, 3, 3)
    assert provenance.folds == ("fold1.txt",)
    assert provenance.labels == dict.fromkeys(("T10", "T11", "T12", "L1", "L2", "L3", "L4"), 3)
    assert list(provenance.labels) == ["T10", "T11", "T12", "L1", "L2", "L3", "L4"]


def test_a_model_localizes_the_same_after_a_round_trip_to_disk(toy_model, toy_scans, tmp_path):
    save_model(toy_model, tmp_path / "model.npz")
    first, again = (localize(toy_scans[5].volume, m) for m in (toy_model, load_model(tmp_path / "model.npz")))
    assert first.labels == again.labels
    np.testing.assert_array_equal(first.world.points_mm, again.world.points_mm)
    np.testing.assert_array_equal(first.confidence, again.confidence)


def test_scans_are_read_into_the_world_frame(cohort, toy_scans):
    for scan, truth in zip(read_training_scans(cohort, TINY, n_jobs=2), toy_scans, strict=False):
        assert scan.centroids.frame == "world"
        assert (scan.name, scan.patient) == (truth.volume.name, truth.patient)
        np.testing.assert_allclose(scan.centroids.points_mm, truth.centroids.points_mm, atol=1e-3)
        np.testing.assert_array_equal(scan.volume.voxels, truth.training_scan(TINY).volume.voxels)


@pytest.mark.parametrize(("votes", "naming"), [(False, True), (True, False), (False, False)])
def test_steps_that_are_switched_off_learn_nothing(training_scans, votes, naming):
    config = replace(
        TINY,
        centres=replace(TINY.centres, grow=votes),
        naming=replace(TINY.naming, learn=naming),
    )
    calls = []
    model = train_on_scans(training_scans, config, progress=lambda: calls.append(1))
    assert len(calls) == n_training_steps(0, config) == 2 + 2 * votes + naming
    assert (model.centre_forest is not None, model.discriminant is not None) == (votes, naming)


def test_no_scan_and_no_known_vertebra_are_training_errors(training_scans, cohort):
    with pytest.raises(TrainingError, match="0 training scans"):
        train_on_scans([], TINY)
    unknown = [replace(scan, centroids=Centroids.from_points({"L6": (0, 0, 0)}, "world")) for scan in training_scans]
    with pytest.raises(TrainingError, match="none of the 3 training scans"):
        train_on_scans(unknown, TINY)
    with pytest.raises(TrainingError, match="no annotation"):
        train([replace(cohort[0], landmarks_path=None)], TINY)


def test_files_that_cannot_be_read_are_named(cohort, tmp_path):
    with pytest.raises(ImageError, match="missing"):
        train([replace(cohort[0], image_path=tmp_path / "missing.mhd")], TINY)
    broken = tmp_path / "broken.lml"
    broken.write_bytes(b"")
    with pytest.raises(LmlError, match="broken"):
        train([replace(cohort[0], landmarks_path=broken)], TINY)


def test_a_scan_without_annotation_among_others_is_background(training_scans):
    bare = replace(training_scans[0], centroids=Centroids.from_points({}, "world"), patient="bare")
    model = train_on_scans([*training_scans, bare], TINY)
    assert model.provenance.n_patients == 4


def test_centroids_that_lie_outside_their_scan_are_an_error(training_scans):
    scan = training_scans[0]
    away = Centroids(scan.centroids.labels, scan.centroids.points_mm + 5000, "world")
    with pytest.raises(ValueError, match=r"its annotation does not fit the volume: .* outside the image"):
        replace(scan, centroids=away)


def test_one_scan_with_one_vertebra_is_enough():
    scan = make_toy_scan(0, levels=("L1",)).training_scan(TINY)
    model = train_on_scans([scan], TINY)
    assert model.provenance.labels == {"L1": 1}
