import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from toy import make_toy_scan, toy_config, write_toy_cohort

from vertloc import models
from vertloc.cli import main
from vertloc.config import config_from_dict
from vertloc.io.landmarks.lml import read_lml
from vertloc.model import load_model, save_model

ROOT = Path(__file__).parents[2]

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def work(tmp_path_factory, toy_model):
    """A folder with a cohort of four scans, two folds, a configuration and a model of five others and the first."""
    folder = tmp_path_factory.mktemp("work")
    write_toy_cohort(folder / "data", [make_toy_scan(seed) for seed in (0, 5, 6, 7)])
    (folder / "fold1.txt").write_text("toy00\ntoy06\n")
    (folder / "fold2.txt").write_text("toy05\ntoy07\n")
    (folder / "small.yaml").write_text(yaml.safe_dump(toy_config().as_dict()))
    save_model(toy_model, folder / "model.npz")
    return folder


@pytest.fixture
def run(work, tmp_path, monkeypatch, capfd):
    """Run a command in an empty folder with links to the data; give the exit code and both outputs."""
    for path in work.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)

    def run(line):
        capfd.readouterr()
        try:
            code = main(line.split())
        except SystemExit as stop:
            code = stop.code
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


def names_in(folder):
    """Name what lies in a folder, but for the records of results."""
    return sorted(path.name for path in Path(folder).iterdir() if path.name != "records")


# The normal course


def test_train_writes_a_model_that_predict_uses_and_evaluate_scores(run):
    code, out, err = run(
        "train --data data --folds fold2.txt --config small.yaml --out models/2.npz --seed 4 --n-jobs 2"
    )
    assert (code, err) == (0, "")
    assert "models/2.npz: trained on 2 scans of 2 patients, 14 vertebrae" in out
    model = load_model("models/2.npz")
    assert (model.provenance.seed, model.provenance.folds) == (4, ("fold2.txt",))
    assert config_from_dict(yaml.safe_load(model.provenance.configuration), "model") == toy_config()

    code, out, err = run("predict --model models/2.npz --out results --data data --folds fold1.txt")
    assert (code, err) == (0, "")
    assert names_in("results") == ["run.json", "toy00.lml", "toy06.lml"]
    assert "toy00  T10 to L4, 7 vertebrae, least sure of " in out
    assert "2 of 2 scans in " in out

    code, out, err = run(
        "evaluate --truth data --pred results --folds fold1.txt --json scores/s.json --csv scores/s.csv"
    )
    assert (code, err) == (0, "")
    assert "| all" in out
    assert [row["scan"] for row in json.loads(Path("scores/s.json").read_text())["scans"]] == ["toy00", "toy06"]
    assert Path("scores/s.csv").read_text().count("\ntoy06,") == 7


def test_the_same_seed_gives_the_same_model_on_another_number_of_threads(run):
    for jobs in (1, 3):
        line = f"train --data data --folds fold1.txt --config small.yaml --out {jobs}.npz --n-jobs {jobs}"
        assert run(line)[0] == 0
    assert Path("1.npz").read_bytes() == Path("3.npz").read_bytes()
    assert run("train --data data --folds fold1.txt --config small.yaml --out other.npz --seed 1")[0] == 0
    assert Path("other.npz").read_bytes() != Path("1.npz").read_bytes()


def test_study_writes_and_prints_its_table(run):
    code, out, err = run("study --data data --folds fold1.txt fold2.txt --config small.yaml --out study --no-report")
    assert (code, err) == (0, "")
    assert Path("study/table.md").read_text() in out
    assert names_in("study/lml") == ["toy00.lml", "toy05.lml", "toy06.lml", "toy07.lml"]
    assert not Path("study/report.html").exists()


def test_predict_takes_files_and_folders_and_writes_the_frame_and_previews_that_were_asked_for(run):
    code, _, err = run(
        "predict --model model.npz --out out data/patient0005/toy05.mhd data/patient0006 --frame world --preview"
    )
    assert (code, err) == (0, "")
    assert names_in("out") == ["run.json", "toy05.lml", "toy05.png", "toy06.lml", "toy06.png"]
    truth = make_toy_scan(5).centroids
    found = read_lml("out/toy05.lml")
    shared = [label for label in truth.labels if label in found]
    assert len(shared) >= 5
    distances = [np.linalg.norm(found[label] - truth[label]) for label in shared]
    assert np.median(distances) < 10
    manifest = json.loads(Path("out/run.json").read_text())
    assert manifest["frame"] == "world"
    assert list(manifest["cases"][0]["confidence"]) == list(found.labels)


def test_predict_takes_a_whole_database_without_fold_files(run):
    code, _, _ = run("predict --model model.npz --out out --data data --quiet")
    assert code == 0
    assert names_in("out") == ["run.json", "toy00.lml", "toy05.lml", "toy06.lml", "toy07.lml"]


def test_resume_does_only_what_is_left_and_the_manifest_keeps_all(run):
    line = "predict --model model.npz --out out data/patient0005 data/patient0006 --resume"
    assert run(line.replace("data/patient0006 ", ""))[0] == 0
    first = json.loads(Path("out/run.json").read_text())["cases"][0]
    before = Path("out/toy05.lml").stat().st_mtime_ns
    code, out, _ = run(line)
    assert code == 0
    assert "toy05  skipped: the same result is already there" in out
    assert Path("out/toy05.lml").stat().st_mtime_ns == before
    assert len(read_lml("out/toy06.lml")) > 0
    cases = json.loads(Path("out/run.json").read_text())["cases"]
    assert [case["scan"] for case in cases] == ["toy05", "toy06"]
    assert cases[0] == {**first, "this_run": False}


def test_a_result_of_another_model_is_not_resumed_and_that_is_said(run):
    assert run("train --data data --folds fold1.txt --config small.yaml --out other.npz")[0] == 0
    assert run("predict --model other.npz --out out data/patient0005")[0] == 0
    code, _, err = run("predict --model model.npz --frame world --out out data/patient0005 --resume")
    assert code == 0
    assert "toy05: predicted again: the result that is there is of another model and frame and settings" in err or (
        "toy05: predicted again: the result that is there is of another model and frame" in err
    )
    manifest = json.loads(Path("out/run.json").read_text())
    assert manifest["cases"][0]["model"] == manifest["model"]["sha256"]
    assert manifest["cases"][0]["frame"] == "world"


def test_info_tells_where_a_model_comes_from_and_describes_what_it_holds(run):
    code, out, err = run("info model.npz")
    assert (code, err) == (0, "")
    assert "5 scans of 5 patients, 35 vertebrae" in out
    for part in ("classification forest: 4 trees", "centre forest: 4 trees", "naming discriminant: 300 features"):
        assert part in out
    applied, _, trained = out.partition("applied with:\n")[2].partition("trained with:\n")
    assert yaml.safe_load(trained) == toy_config().as_dict()
    assert yaml.safe_load(applied) == {key: toy_config().as_dict()[key] for key in ("preprocess", "prediction")}


def test_predict_takes_prediction_settings_from_a_file_and_leaves_the_others_to_the_model(run):
    line = "predict --model model.npz --out out data/patient0005 --config apply.yaml"
    Path("apply.yaml").write_text("prediction: {chain: {smallest_confidence: 1.0}}")
    code, out, _ = run(line)
    assert code == 0
    assert "no vertebra found" in out
    settings = json.loads(Path("out/run.json").read_text())["settings"]
    assert settings["chain"]["smallest_confidence"] == 1.0
    assert settings["votes"] == toy_config().as_dict()["prediction"]["votes"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classifier: {forest: {n_trees: 3}}", "classifier: taken from the model, which was trained with it"),
        ("preprocess: {spacing_mm: 2}\nprediction: {}", "preprocess: taken from the model"),
        ("prediction: {chain: {gapcost: 3}}", "prediction.chain.gapcost: unknown key; the nearest known one is"),
        ("prediction: {chain: {gap_cost: -1}}", "prediction.chain.gap_cost: Input should be greater than or equal to"),
    ],
)
def test_predict_refuses_settings_that_take_no_effect_any_more_or_that_nobody_knows(run, text, message):
    Path("apply.yaml").write_text(text)
    code, out, err = run("predict --model model.npz --out out data/patient0005 --config apply.yaml")
    assert (code, out) == (2, "")
    assert f"apply.yaml: {message}" in err


def test_the_packaged_model_needs_no_name(run, work, monkeypatch):
    (work / "packaged").mkdir(exist_ok=True)
    shutil.copy(work / "model.npz", work / "packaged/ct-spine.npz")
    monkeypatch.setattr(models, "_FOLDER", work / "packaged")
    code, out, err = run("info")
    assert (code, err) == (0, "")
    assert "ct-spine.npz: vertloc model" in out
    assert run("predict --out out data/patient0005")[0] == 0
    assert run("predict --model ct-spine --out named data/patient0005")[0] == 0
    assert Path("out/toy05.lml").read_bytes() == Path("named/toy05.lml").read_bytes()
    assert json.loads(Path("out/run.json").read_text())["model"]["path"].endswith("ct-spine.npz")


def test_quiet_prints_nothing(run):
    assert run("train --data data --folds fold1.txt --config small.yaml --out m.npz --quiet") == (0, "", "")
    assert run("predict --model m.npz --out out data/patient0005 --quiet") == (0, "", "")
    assert Path("out/toy05.lml").exists()


def test_verbose_tells_what_is_going_on_on_standard_error(run):
    code, _, err = run("train --data data --folds fold1.txt --config small.yaml --out m.npz --verbose")
    assert code == 0
    assert "read and preprocess 2 scans" in err
    assert "grow the classification forest" in err


# When some fail


def test_one_bad_scan_gives_1_and_its_name_on_standard_error(run):
    Path("bad.nii.gz").write_bytes(b"not a scan")
    code, out, err = run("predict --model model.npz --out out bad.nii.gz data/patient0005")
    assert code == 1
    assert "toy05  T10 to L4" in out
    assert "bad.nii.gz" in err
    assert "1 of 2 scans failed; see out/run.json" in err
    assert names_in("out") == ["run.json", "toy05.lml"]
    assert json.loads(Path("out/run.json").read_text())["counts"]["failed"] == 1


def test_all_bad_scans_give_2(run):
    Path("bad.nii.gz").write_bytes(b"not a scan")
    code, _, err = run("predict --model model.npz --out out bad.nii.gz --quiet")
    assert code == 2
    assert "bad.nii.gz" in err
    assert names_in("out") == ["run.json"]


# When nothing can be done


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("predict --model none.npz --out out data", "none.npz: cannot be read: No such file or directory"),
        ("predict --model small.yaml --out out data", "small.yaml: not a model file, or a damaged one"),
        ("predict --model data --out out data", "data: expected a model file, got a folder"),
        ("predict --model model.npz --out out", "expected either image files and folders, or --data DIR"),
        ("predict --model model.npz --out out x.mhd --data data", "expected either image files and folders, or --data"),
        ("predict --model model.npz --out out --folds fold1.txt", "expected either image files and folders, or --data"),
        ("predict --model model.npz --out out none.mhd", "none.mhd: no such file or folder"),
        ("predict --model model.npz --out out empty", "empty: no image found in this folder or below"),
        ("predict --model model.npz --out out --data empty", "empty: no image found in this folder or below"),
        ("predict --model model.npz --out out --data none", "none: expected a data folder, got nothing there"),
        ("predict --model model.npz --out out --data data --folds none.txt", "none.txt: cannot be read"),
        ("predict --model model.npz --out out --data data --folds bad-fold.txt", "bad-fold.txt:1: scan 99 is not in"),
        ("predict --model model.npz --out file data", "file: expected a folder for the results, but there is a file"),
        ("predict --model model.npz --out file/below data", "file/below: expected a folder for the results"),
        ("predict --model model.npz --out same/sub same/sub", "toy05.lml: lies beside its image and may be an annot"),
        ("train --data none --out m.npz", "none: expected a data folder, got nothing there"),
        ("train --data empty --out m.npz", "empty: no image found in this folder or below"),
        ("train --data bare --out m.npz", "scan toy06 has no annotation toy06.lml beside"),
        (
            "train --data unknown --config small.yaml --out m.npz",
            "none of the 1 training scans has an annotated verteb",
        ),
        ("train --data data --folds fold1.txt fold1.txt --out m.npz", "scan toy00 is also in fold1.txt:1"),
        ("train --data data --config none.yaml --out m.npz", "none.yaml: cannot be read: No such file or directory"),
        (
            "train --data data --config bad.yaml --out m.npz",
            "shape.prior_pair: unknown key; the nearest known one is shape.prior_pairs",
        ),
        ("train --data data --config fold1.txt --out m.npz", "fold1.txt: expected a mapping of sections to settings"),
        ("train --data data --out m.npz --cache file", "file: expected a folder for the results, but there is a file"),
        (
            "study --data data --folds fold1.txt fold2.txt --out o --cache file",
            "file: expected a folder for the results",
        ),
        ("train --data data --out data", "data: expected the name of a file to write, but there is a folder"),
        ("train --data data --out file/m.npz", "file: expected a folder for the results, but there is a file"),
        ("study --data data --folds fold1.txt --out out", "expected two fold files or more, got fold1.txt alone"),
        ("study --data data --folds fold1.txt fold1.txt --out out", "scan toy00 is also in fold1.txt:1"),
        ("study --data data --folds fold1.txt fold2.txt --out file", "file: expected a folder for the results"),
        ("study --data data --folds fold1.txt fold2.txt --out data/out", "data/out: lies in the data folder data"),
        ("evaluate --truth none --pred data", "none: no such folder"),
        ("evaluate --truth data --pred none", "none: no such folder"),
        ("evaluate --truth empty --pred data", "empty: no .lml file in this folder or below it"),
        ("evaluate --truth data --pred empty --folds bad-fold.txt", "99: no 99.lml below data"),
        ("evaluate --truth data --pred empty --json data", "data: expected the name of a file to write"),
        ("info none.npz", "none.npz: cannot be read: No such file or directory"),
        ("info file", "file: not a model file, or a damaged one"),
    ],
)
def test_what_cannot_be_done_is_said_in_words_with_the_file_and_gives_2(run, line, message):
    Path("empty").mkdir()
    Path("file").write_text("text")
    Path("bad.yaml").write_text("shape: {prior_pair: 3}")
    Path("bad-fold.txt").write_text("99\n")
    for folder, seed in (("same/sub", 5), ("bare", 6), ("unknown", 7)):
        scan = make_toy_scan(seed)
        write_toy_cohort(Path(folder), [scan])
        for path in (Path(folder) / scan.patient).iterdir():
            path.rename(Path(folder) / path.name)
    Path("bare/toy06.lml").unlink()
    Path("unknown/toy07.lml").write_text("# 0\n")
    before = names_in(".")
    code, out, err = run(line)
    assert (code, out) == (2, "")
    assert err.startswith(f"vertloc {line.split()[0]}: ")
    assert message in err
    assert set(names_in(".")) - set(before) <= {"out"}
    assert not Path("out").exists() or names_in("out") == []


def test_wrong_arguments_give_2_and_the_usage(run):
    code, out, err = run("predict --model model.npz")
    assert (code, out) == (2, "")
    assert err.startswith("usage: vertloc predict")


def test_ctrl_c_gives_130_without_a_traceback(run, monkeypatch):
    from vertloc.batch import predicting

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(predicting, "predict_cases", interrupt)
    assert run("predict --model model.npz --out out data") == (130, "", "vertloc predict: stopped\n")


def test_too_little_memory_gives_2_and_advice(run, monkeypatch):
    from vertloc.cli import train

    def exhaust(*_, **__):
        raise MemoryError

    monkeypatch.setattr(train, "train", exhaust)
    code, _, err = run("train --data data --config small.yaml --out m.npz")
    assert code == 2
    assert "not enough memory; a smaller --n-jobs" in err


# Names, numbers of threads, signals


@pytest.mark.parametrize("jobs", ["-1", "-2", "100000"])
def test_any_number_of_threads_is_cut_to_what_there_is(run, jobs):
    assert run(f"predict --model model.npz --out out data --n-jobs {jobs}")[0] == 0
    assert len(names_in("out")) == 5


AWKWARD = [b"\xe8\x84\x8a\xe6\x9f\xb1 1", b"N\xe4me", b"\x1b]0;title\x07\x1b[2J"]


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("name", AWKWARD)
def test_a_name_that_the_console_cannot_print_decides_nothing(work, name):
    folder = os.fsencode(Path.cwd()) + b"/in"
    os.mkdir(folder)  # noqa: PTH102
    data = (work / "data/patient0005/toy05.mhd").read_bytes().replace(b"toy05.raw", b"voxels.raw")
    with open(folder + b"/" + name + b".mhd", "wb") as file:  # noqa: PTH123
        file.write(data)
    Path("in/voxels.raw").write_bytes((work / "data/patient0005/toy05.raw").read_bytes())
    command = [sys.executable, "-m", "vertloc", "predict", "--model", "model.npz", "--out", "out", "in"]
    for encoding in ("ascii", "utf-8"):
        done = subprocess.run(command, capture_output=True, env={**ENVIRONMENT, "PYTHONIOENCODING": encoding})
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        assert b"1 of 1 scans in" in done.stdout
        assert not any(byte < 32 and byte != 10 for byte in done.stdout)
    scan = json.loads(Path("out/run.json").read_text())["cases"][0]["scan"]
    assert os.fsencode(scan) == name
    assert b"out/" + name + b".lml" in [b"out/" + entry for entry in os.listdir(b"out")]  # noqa: PTH208


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_run_which_tells_what_is_done_and_is_resumed(work, sent, code):
    for i in range(40):
        scan = Path(f"many/s{i:02d}.mhd")
        scan.parent.mkdir(exist_ok=True)
        shutil.copy(work / "data/patient0005/toy05.mhd", scan)
    shutil.copy(work / "data/patient0005/toy05.raw", "many")
    command = [
        sys.executable,
        "-m",
        "vertloc",
        "predict",
        "--model",
        "model.npz",
        "--out",
        "out",
        "many",
        "--n-jobs",
        "1",
    ]
    # A shell starts what runs in its background deaf to Ctrl-C, and children inherit that.
    process = subprocess.Popen(
        command,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while len(list(Path("out/records").glob("s*.record"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, b"vertloc predict: stopped\n")
    stopped = json.loads(Path("out/run.json").read_text())
    done = [case["scan"] for case in stopped["cases"]]
    assert stopped["stopped"]
    assert 2 <= len(done) < 40
    assert sorted(done + stopped["left"]) == [f"s{i:02d}" for i in range(40)]
    assert all(len(case["confidence"]) > 3 for case in stopped["cases"])
    assert subprocess.run([*command, "--resume", "--quiet"], env=ENVIRONMENT).returncode == 0
    whole = json.loads(Path("out/run.json").read_text())
    assert whole["left"] == []
    assert len({str(case["confidence"]) for case in whole["cases"]}) == 1
    assert whole["counts"]["skipped"] >= len(done)
    assert len({path.read_bytes() for path in Path("out").glob("*.lml")}) == 1


# As programs


def program(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT)


@pytest.mark.parametrize("script", ["train", "predict"])
def test_the_scripts_are_the_commands_of_their_names(script):
    text = program(f"scripts/{script}.py", "--help")
    assert (text.returncode, text.stderr) == (0, "")
    assert text.stdout.startswith(f"usage: vertloc {script} ")
    nothing = program(f"scripts/{script}.py")
    assert nothing.returncode == 2
    assert "the following arguments are required" in nothing.stderr


def test_the_module_is_the_command_and_passes_its_exit_code_on(tmp_path):
    failed = program("-m", "vertloc", "info", str(tmp_path / "none.npz"))
    assert failed.returncode == 2
    assert failed.stderr == f"vertloc info: {tmp_path}/none.npz: cannot be read: No such file or directory\n"


def test_a_reader_that_has_seen_enough_is_no_error(work):
    command = [sys.executable, "-m", "vertloc", "info", str(work / "model.npz")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0
