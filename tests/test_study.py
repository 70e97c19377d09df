import dataclasses
import json
import os
from pathlib import Path

import pytest
from toy import make_toy_scan, toy_config, write_toy_cohort

from vertloc import study as study_module
from vertloc.cohorts.case import Cohort
from vertloc.cohorts.loading import load_folds
from vertloc.errors import OutputError
from vertloc.evaluation.scores import evaluate
from vertloc.model import load_model
from vertloc.report.runs import read_run
from vertloc.study import StudyOptions, n_study_steps, run_study

SCANS = {"fold1": ["toy00", "toy01"], "fold2": ["toy02", "toy03"]}

ALL_SCANS = SCANS["fold1"] + SCANS["fold2"]


def tiny_config():
    config = toy_config()
    groups = {name: getattr(config, name) for name in ("classifier", "centres")}
    small = {
        name: dataclasses.replace(group, forest=dataclasses.replace(group.forest, n_trees=3, max_depth=10))
        for name, group in groups.items()
    }
    return dataclasses.replace(config, **small)


def toy_folds(folder):
    write_toy_cohort(folder / "data", [make_toy_scan(seed) for seed in range(4)])
    paths = []
    for name, scans in SCANS.items():
        paths.append(folder / f"{name}.txt")
        paths[-1].write_text("\n".join(scans))
    return load_folds(folder / "data", paths)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def folds(folder):
    return toy_folds(folder)


@pytest.fixture(scope="module")
def steps():
    return []


@pytest.fixture(scope="module")
def study(folds, steps):
    def step():
        steps.append(1)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folds[0].root.parent)
        relative = load_folds(Path("data"), [Path(f"{fold.name}.txt") for fold in folds])
        options = StudyOptions(seed=3, n_jobs=2, command=("vertloc", "study"))
        return run_study(relative, tiny_config(), Path("out"), options, step)


@pytest.mark.usefixtures("study")
def test_the_results_of_relative_folders_are_read_from_elsewhere_with_images_and_truth(folder):
    run = read_run(folder / "out")
    assert run.scores is not None
    assert len(run.scores.scans) == 4
    assert all(scan.image.is_absolute() and scan.image.exists() for scan in run.scans)


@pytest.mark.usefixtures("study")
def test_every_promised_file_is_there_and_no_other(folder):
    expected = {f"{kind}/{scan}.lml" for kind in ("lml", "lml-without-chain") for scan in ALL_SCANS}
    expected |= {f"report/scan-{i:04d}.js" for i in range(len(ALL_SCANS))}
    expected |= {f"model-{fold}.npz{note}" for fold in SCANS for note in ("", ".training")}
    expected |= {f"run-{fold}.json" for fold in SCANS}
    expected |= {f"lml/records/{scan}.record" for scan in ALL_SCANS} | {"lml/records/.lock"}
    expected |= {"scores.json", "scores.csv", "table.md", "report.html"}
    out = folder / "out"
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == expected


@pytest.mark.usefixtures("study")
def test_progress_is_called_as_often_as_announced(folds, steps):
    assert len(steps) == n_study_steps(folds, tiny_config(), report=True)


@pytest.mark.usefixtures("study")
def test_each_fold_is_tested_with_the_model_of_the_other(folder):
    for tested, trained in (("fold1", "fold2"), ("fold2", "fold1")):
        run = json.loads((folder / f"out/run-{tested}.json").read_text())
        assert [case["scan"] for case in run["cases"]] == SCANS[tested]
        assert run["model"]["path"].endswith(f"model-{trained}.npz")
        assert run["model"]["folds"] == [trained]
        assert run["command"] == ["vertloc", "study"]
        assert load_model(folder / f"out/model-{trained}.npz").provenance.n_scans == 2


def test_the_written_scores_are_those_of_the_written_landmarks(study, folder):
    again = evaluate(folder / "data", folder / "out/lml", ALL_SCANS)
    assert again == study.scores
    written = json.loads((folder / "out/scores.json").read_text())
    assert [row["scan"] for row in written["scans"]] == ALL_SCANS
    assert [row["annotated"] for row in written["scans"]] == [scan.n for scan in again.scans] == [7] * 4
    assert [row["identified"] for row in written["scans"]] == [scan.n_identified for scan in again.scans]
    assert [scan.scan for scan in again.scans] == ALL_SCANS
    without = evaluate(folder / "data", folder / "out/lml-without-chain", ALL_SCANS)
    assert without == study.scores_without_chain


@pytest.mark.usefixtures("study")
def test_the_scores_say_what_they_were_measured_on(folder):
    text = (folder / "out/scores.json").read_text()
    settings = next(value for value in json.loads(text).values() if isinstance(value, dict) and "seed" in value)
    assert settings["seed"] == 3
    assert [fold["name"] for fold in settings["folds"]] == ["fold1", "fold2"]
    assert settings["configuration"] == tiny_config().as_dict()


def test_the_same_study_gives_the_same_landmarks_and_pictures_on_another_number_of_threads(study, folds, folder):
    again = run_study(folds, tiny_config(), folder / "again", StudyOptions(seed=3))
    assert again.scores == study.scores
    for kind in ("lml", "lml-without-chain", "report"):
        for path in (folder / "out" / kind).glob("*.*"):
            assert (folder / "again" / kind / path.name).read_bytes() == path.read_bytes()
    assert (folder / "again/model-fold1.npz").read_bytes() == (folder / "out/model-fold1.npz").read_bytes()


def test_a_scan_that_fails_is_missed_and_not_scored_by_an_earlier_result(tmp_path, monkeypatch):
    folds = toy_folds(tmp_path)
    out = tmp_path / "out"
    for kind in ("lml", "lml-without-chain"):
        (out / kind).mkdir(parents=True)
        truth = (tmp_path / "data/patient0000/toy00.lml").read_bytes()
        (out / kind / "toy00.lml").write_bytes(truth)

    def fail_on_toy00(path):
        if path.name == "toy00.mhd":
            raise MemoryError
        return open_image(path)

    from vertloc.batch import predicting

    open_image = predicting.open_image
    monkeypatch.setattr(predicting, "open_image", fail_on_toy00)
    steps = []
    study = run_study(folds, tiny_config(), out, progress=lambda: steps.append(1))
    assert [result.scan for result in study.results if result.status == "failed"] == ["toy00"]
    for scores in (study.scores, study.scores_without_chain):
        assert scores.without_prediction == ("toy00",)
    assert len(steps) == n_study_steps(folds, tiny_config())


def test_results_inside_the_data_folder_are_refused_before_the_work_starts(folds, folder):
    with pytest.raises(OutputError, match="lies in the data folder"):
        run_study(folds, tiny_config(), folder / "data" / "results")


def test_every_fold_is_tested_with_a_model_of_all_others(folds, tmp_path):
    data = folds[0].root
    cases = {case.scan: case for fold in folds for case in fold.cases}
    three = [
        Cohort(name, data, tuple(cases[scan] for scan in scans))
        for name, scans in (("a", ["toy00"]), ("b", ["toy01"]), ("c", ["toy02", "toy03"]))
    ]
    steps = []
    study = run_study(
        three, tiny_config(), tmp_path / "out", StudyOptions(report=False), progress=lambda: steps.append(1)
    )
    assert len(steps) == n_study_steps(three, tiny_config(), report=False)
    assert sorted(result.scan for result in study.results) == ALL_SCANS
    for fold, others in (("a", ("b", "c")), ("b", ("a", "c")), ("c", ("a", "b"))):
        model = load_model(tmp_path / f"out/model-without-{fold}.npz")
        assert model.provenance.folds == others
        assert model.provenance.n_scans == 4 - len(next(f for f in three if f.name == fold).cases)


def contents(out):
    return {
        path.relative_to(out): path.read_bytes()
        for path in out.rglob("*")
        if path.suffix in (".lml", ".npz", ".csv", ".md")
    }


def test_a_resumed_study_trains_and_predicts_nothing_twice(folds, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = run_study(folds, tiny_config(), out)
    before = contents(out)
    (out / "lml/toy00.lml").unlink()
    (out / "table.md").unlink()
    monkeypatch.setattr(study_module, "train", lambda *_: pytest.fail("trained again"))
    steps = []
    again = run_study(folds, tiny_config(), out, StudyOptions(resume=True), lambda: steps.append(1))
    assert len(steps) == n_study_steps(folds, tiny_config())
    assert {r.scan: r.status for r in again.results} == {
        "toy00": "done", "toy01": "skipped", "toy02": "skipped", "toy03": "skipped"
    }  # fmt: skip
    assert contents(out) == before
    assert again.scores == first.scores


@pytest.mark.parametrize("change", ["seed", "settings", "annotation", "model"])
def test_a_resumed_study_trains_again_what_was_made_of_something_else(tmp_path, monkeypatch, change):
    folds = toy_folds(tmp_path)
    out, config, options = tmp_path / "out", tiny_config(), StudyOptions(report=False, resume=True)
    run_study(folds, config, out, options)
    trained = []
    train = study_module.train
    monkeypatch.setattr(study_module, "train", lambda cases, *rest: trained.append(len(cases)) or train(cases, *rest))
    if change == "seed":
        options = dataclasses.replace(options, seed=9)
    if change == "settings":
        config = toy_config()
    if change == "annotation":
        os.utime(tmp_path / "data/patient0000/toy00.lml", ns=(1, 1))
    if change == "model":
        (out / "model-fold1.npz").write_bytes(b"damaged")
    run_study(folds, config, out, options)
    assert len(trained) == (2 if change in ("seed", "settings") else 1)


def test_several_data_folders_have_a_row_each(tmp_path):
    for name, seeds in (("one", (0, 1)), ("two", (2, 3))):
        write_toy_cohort(tmp_path / name, [make_toy_scan(seed) for seed in seeds])
    paths = [tmp_path / "fold1.txt", tmp_path / "fold2.txt"]
    paths[0].write_text("toy00\ntoy02\n")
    paths[1].write_text("toy01\ntoy03\n")
    data = (tmp_path / "one", tmp_path / "two")
    study = run_study(load_folds(data, paths), tiny_config(), tmp_path / "out", StudyOptions(data=data))
    rows = [line for line in study.table.splitlines() if "(2 scans)" in line]
    assert [line.split("|")[1].strip() for line in rows] == [f"{folder} (2 scans)" for folder in data]
    n_all = int(next(line for line in study.table.splitlines() if line.startswith("| all ")).split("|")[2])
    assert sum(int(line.split("|")[2]) for line in rows) == n_all == 28
    page = (tmp_path / "out/report.html").read_text()
    assert all(f"toy0{i}" in page for i in range(4))
    assert read_run(tmp_path / "out").scores == study.scores
