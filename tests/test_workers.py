"""Work in pieces, and what n_jobs means."""

import os
import threading

import pytest

from vertloc import workers
from vertloc.workers import available_cores, n_workers, run_pieces


@pytest.mark.parametrize("n_jobs", [-1, 1, 2, 5])
@pytest.mark.parametrize("n_pieces", [0, 1, 3, 20])
def test_pieces_come_back_in_their_order_on_any_number_of_threads(n_pieces, n_jobs):
    assert run_pieces(lambda i: i * i, n_pieces, n_jobs) == [i * i for i in range(n_pieces)]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_error_of_a_piece_reaches_the_caller(n_jobs):
    with pytest.raises(ZeroDivisionError):
        run_pieces(lambda i: 1 // (i - 2), 4, n_jobs)


@pytest.mark.parametrize(
    ("n_jobs", "n_pieces", "expected"),
    [
        (1, None, 1),
        (3, None, 3),
        (100_000, None, 4),
        (-1, None, 4),
        (-2, None, 3),
        (-9, None, 1),
        (-1, 2, 2),
        (8, 0, 1),
    ],
)
def test_n_jobs_is_cut_to_the_cores_and_the_work(monkeypatch, n_jobs, n_pieces, expected):
    monkeypatch.setattr(workers, "available_cores", lambda: 4)
    assert n_workers(n_jobs, n_pieces) == expected


def test_no_job_at_all_is_an_error():
    with pytest.raises(ValueError, match="at least 1, or -1 for all cores, got 0"):
        n_workers(0)


def test_a_hundred_thousand_jobs_do_not_start_a_hundred_thousand_threads():
    seen = set()
    run_pieces(lambda _: seen.add(threading.get_ident()), 1000, 100_000)
    assert 1 <= len(seen) <= available_cores()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_the_affinity_of_the_process_is_respected():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_cores() == n_workers(-1) == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"cpu.max": "max 100000\n"}, "0::/\n", float("inf")),
        ({"a/cpu.max": "max 100000\n", "a/b/cpu.max": "300000 100000\n"}, "0::/a/b\n", 3.0),
        ({"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "300000 100000\n"}, "0::/a/b\n", 2.0),
        ({"cpu.max": "200000 100000\n"}, "0::/docker/not-seen-from-inside\n", 2.0),
        (
            {"cpu/x/cpu.cfs_quota_us": "50000", "cpu/x/cpu.cfs_period_us": "100000"},
            "4:cpu,cpuacct:/x\n3:pids:/y\n",
            0.5,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/\n", float("inf")),
        ({"cpu.max": "nonsense"}, "0::/\n", float("inf")),
        ({}, "", float("inf")),
    ],
)
def test_the_share_of_the_control_group_is_respected(tmp_path, files, own, expected):
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "own").write_text(own)
    assert workers._cores_of_control_group(tmp_path / "cgroup", tmp_path / "own") == expected
