"""`vertloc report` and `vertloc plot` from the command line."""

import pytest
from toy_run import write_toy_run

from vertloc.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_toy_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_report_says_where_the_page_is(folder, capsys):
    assert main(["report", "results", "--truth", "data"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("3 scans in ")
    assert out.rstrip().endswith("results/report.html")
    assert (folder / "results/report.html").exists()


@pytest.mark.usefixtures("folder")
def test_a_folder_without_results_is_a_message_and_not_a_traceback(capsys):
    assert main(["report", "data"]) == 2
    assert "data: holds no run.json" in capsys.readouterr().err


def test_plot_draws_the_errors_of_a_run_and_a_learning_curve(folder, capsys):
    assert main(["plot", "errors", "results", "--truth", "data", "--out", "figures/errors.svg"]) == 0
    assert "figures/errors.svg" in capsys.readouterr().out
    assert (folder / "figures/errors.svg").read_text().count("<svg") == 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("errors results --out a.gif", "expected a name ending in"),
        ("errors --out a.png", "errors: expected 1 input, got 0"),
        ("errors results --out a.png", "its scans have no annotation"),
        ("tree --model gone.npz --out a.png", "gone.npz"),
        ("learning results --out a.png", "expected at least two studies, got 1"),
        ("posterior a.nii b.nii --model m.npz --out a.png", "posterior: expected 1 input, got 2"),
    ],
)
def test_what_cannot_be_drawn_is_said(capsys, line, message):
    assert main(["plot", *line.split()]) == 2
    assert message in capsys.readouterr().err
