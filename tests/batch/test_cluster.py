"""Prediction, training and studies on real worker processes, one of which is killed in the middle."""

import os
import signal
import sys

import pytest
from local_cluster import cluster
from toy import make_toy_scan, toy_config, write_toy_cohort

pytest.importorskip("distributed")

from distributed import Client

from vertloc.batch import cluster as cluster_module
from vertloc.batch.cluster import connected
from vertloc.batch.cluster_training import preprocess_on_cluster, shared_cache
from vertloc.batch.predicting import ModelSource, PredictOptions, predict_cases
from vertloc.cohorts.case import Case
from vertloc.cohorts.loading import load_cohort, load_folds
from vertloc.errors import ClusterError, ImageError
from vertloc.io.images import write_image
from vertloc.io.model_file import file_sha256
from vertloc.model import save_model
from vertloc.study import StudyOptions, run_study
from vertloc.training import train

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes"),
    # Dask's own, at its end.
    pytest.mark.filterwarnings("default::ResourceWarning", "default::DeprecationWarning"),
    pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("cluster"), n_workers=2) as address:
        yield address


@pytest.fixture(scope="module")
def work(tmp_path_factory, toy_model):
    """Twelve scans, one of them broken, and a model."""
    folder = tmp_path_factory.mktemp("work")
    for i in range(11):
        write_image(make_toy_scan(5 + i % 3).volume, folder / f"s{i:02d}.mhd")
    (folder / "broken.mhd").write_text("no header")
    save_model(toy_model, folder / "model.npz")
    return folder


def cases_in(work):
    return [Case(path.stem, path.stem, path) for path in sorted(work.glob("*.mhd"))]


def predict(work, model, out, progress=lambda _: None, address=""):
    source = ModelSource(work / "model.npz", lambda: file_sha256(work / "model.npz"))
    return predict_cases(cases_in(work), model, out, 1, PredictOptions(cluster=address), progress, source)


def landmarks_in(out):
    return {path.name: path.read_bytes() for path in out.glob("*.lml")}


def described(results):
    return [(result.scan, result.status, result.message, result.confidence) for result in results]


def test_a_worker_that_is_killed_is_replaced_and_its_scans_are_redone(work, toy_model, tmp_path, address):
    here = predict(work, toy_model, tmp_path / "here")
    killed = []

    def kill_one(_):
        if not killed:
            with Client(address, set_as_default=False) as client:
                killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    there = predict(work, toy_model, tmp_path / "there", kill_one, address)
    assert killed
    assert described(there) == described(here)
    assert [result.status for result in there].count("failed") == 1
    assert landmarks_in(tmp_path / "there") == landmarks_in(tmp_path / "here")
    assert len(landmarks_in(tmp_path / "there")) == 11
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        assert killed[0] not in client.run(os.getpid).values()


def test_a_scan_that_kills_every_worker_fails_and_the_others_are_done(work, toy_model, tmp_path, address, monkeypatch):
    monkeypatch.setattr("vertloc.batch.predicting._predict_on_worker", predict_or_die)
    results = predict(work, toy_model, tmp_path / "out", address=address)
    assert {result.scan for result in results if result.status == "failed"} == {"broken", "s03"}
    died = next(result for result in results if result.scan == "s03")
    assert "its workers died" in died.message
    assert len(landmarks_in(tmp_path / "out")) == 10


def predict_or_die(task):
    """Do what a worker does, but for one scan; found by the workers as `test_cluster.predict_or_die`."""
    from vertloc.batch.job import CaseResult
    from vertloc.batch.records import Record

    case, job = task
    if case.scan == "s03":
        os.kill(os.getpid(), signal.SIGKILL)
    (job.out / f"{case.scan}.lml").write_text("# 0\n") if case.scan != "broken" else None
    status = "failed" if case.scan == "broken" else "done"
    return CaseResult(status, Record(case.scan, str(case.image_path), None, status))


def test_a_model_is_the_same_when_workers_preprocess_its_scans(tmp_path, address):
    write_toy_cohort(tmp_path / "data", [make_toy_scan(seed) for seed in range(3)])
    cases, config = load_cohort(tmp_path / "data").cases, toy_config()
    save_model(train(cases, config, 3), tmp_path / "here.npz")
    steps = []
    with shared_cache(None, tmp_path) as cache:
        preprocess_on_cluster(address, cases, config.preprocess, cache, lambda: steps.append(1))
        assert len(list(cache.glob("*.vol"))) == len(steps) == 3
        save_model(train(cases, config, 3, cache=cache), tmp_path / "there.npz")
    assert not cache.exists()
    assert (tmp_path / "there.npz").read_bytes() == (tmp_path / "here.npz").read_bytes()


def test_a_scan_that_cannot_be_read_stops_the_training_with_its_error(work, tmp_path, address):
    cases = [case for case in cases_in(work) if case.scan == "broken"]
    with pytest.raises(ImageError, match=r"broken\.mhd: not a MetaImage header"):
        preprocess_on_cluster(address, cases, toy_config().preprocess, tmp_path / "cache")


def test_a_study_is_the_same_on_a_cluster(tmp_path, address):
    write_toy_cohort(tmp_path / "data", [make_toy_scan(seed) for seed in range(4)])
    for name, scans in (("a", "toy00\ntoy01\n"), ("b", "toy02\n"), ("c", "toy03\n")):
        (tmp_path / f"{name}.txt").write_text(scans)
    folds = load_folds(tmp_path / "data", [tmp_path / f"{name}.txt" for name in "abc"])
    here = run_study(folds, toy_config(), tmp_path / "here", StudyOptions(report=False))
    there = run_study(folds, toy_config(), tmp_path / "there", StudyOptions(report=False, cluster=address))
    assert there.scores == here.scores
    for path in (tmp_path / "here").rglob("*.*"):
        if path.suffix in (".lml", ".npz", ".csv", ".md"):
            assert (tmp_path / "there" / path.relative_to(tmp_path / "here")).read_bytes() == path.read_bytes()


def test_a_worker_that_does_not_see_the_files_is_refused_before_any_work(tmp_path, address):
    with (
        pytest.raises(ClusterError, match=r"does not see .*none\.mhd; scans and model need a file system"),
        connected(address, tmp_path, [tmp_path / "none.mhd"]),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_does_not_see_the_results_is_refused(tmp_path):
    problem = cluster_module._problem_of_this_worker
    assert "results need a file system that all machines share" in problem(tmp_path / "mark", "1", [], {})
    (tmp_path / "mark").write_text("2")
    assert "sees another folder as" in problem(tmp_path / "mark", "1", [], {})
    assert problem(tmp_path / "mark", "2", [tmp_path], {}) == ""
    assert "has numpy" in problem(tmp_path / "mark", "2", [], {"numpy": "0.1"})


def test_an_address_where_nobody_answers_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "_SECONDS_TO_CONNECT", 0.5)
    with (
        pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9: no Dask scheduler answers"),
        connected("tcp://127.0.0.1:9", tmp_path),
    ):
        pass


def test_without_dask_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "find_spec", lambda _: None)
    with (
        pytest.raises(ClusterError, match=r"pip install 'vertloc\[cluster\]'"),
        connected("tcp://127.0.0.1:9", tmp_path),
    ):
        pass


def test_results_of_a_cluster_are_resumed_without_one(work, toy_model, tmp_path, address):
    predict(work, toy_model, tmp_path / "out", address=address)
    source = ModelSource(work / "model.npz", lambda: file_sha256(work / "model.npz"))
    again = predict_cases(cases_in(work), toy_model, tmp_path / "out", 1, PredictOptions(resume=True), source=source)
    assert [result.status for result in again].count("skipped") == 11
