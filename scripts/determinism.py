"""Train and predict under many circumstances and compare model bytes and landmarks: see `--help`.

Threads, hash seeds, BLAS threads and kernels for other processors, numba's processor and thread layer, the order of the
file system, the time zone and the language. Prints one table; exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

_SMALL = """
preprocess: {spacing_mm: 4.0}
classifier: {forest: {n_trees: 4, max_depth: 12}}
centres: {forest: {n_trees: 3, max_depth: 12}}
naming: {discriminant: {n_features: 600}}
"""

# Name: environment and number of threads.
_MATRIX: dict[str, tuple[dict[str, str], str]] = {
    "as it comes, 1 thread": ({}, "1"),
    "all threads": ({}, "-1"),
    "hash seed 1": ({"PYTHONHASHSEED": "1"}, "2"),
    "hash seed 4242": ({"PYTHONHASHSEED": "4242"}, "2"),
    "BLAS on 1 thread": ({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}, "2"),
    "BLAS on 2 threads": ({"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}, "2"),
    "BLAS for Prescott": ({"OPENBLAS_CORETYPE": "Prescott"}, "2"),
    "BLAS for Nehalem": ({"OPENBLAS_CORETYPE": "Nehalem"}, "2"),
    "BLAS for Sandybridge": ({"OPENBLAS_CORETYPE": "Sandybridge"}, "2"),
    "BLAS for Haswell": ({"OPENBLAS_CORETYPE": "Haswell"}, "2"),
    "BLAS for SkylakeX": ({"OPENBLAS_CORETYPE": "SkylakeX"}, "2"),
    "numpy without AVX2, FMA3, AVX512": (
        {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"},
        "2",
    ),
    "kernels for any x86-64": ({"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}, "2"),
    "kernels for Nehalem": ({"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": ""}, "2"),
    "kernels for Haswell": ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}, "2"),
    "thread layer workqueue": ({"NUMBA_THREADING_LAYER": "workqueue"}, "2"),
    "thread layer omp": ({"NUMBA_THREADING_LAYER": "omp"}, "2"),
    "C locale": ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "2"),
    "another time zone": ({"TZ": "Asia/Kathmandu"}, "2"),
}


_UNABLE = "this processor lacks the instructions"


def main() -> int:
    """Run the matrix; 1 if a circumstance changes a bit, 2 if one does not run."""
    args = _arguments()
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    (args.out / "small.yaml").write_text(_SMALL)
    cohort = args.out / "cohort"
    _run(["phantom", "--out", str(cohort), "--patients", "6", "--seed", "5", "--coarse"], {}).check_returncode()
    chosen = {name: how for name, how in _MATRIX.items() if not args.only or args.only in name}
    rows, first = [], None
    for number, (name, (environment, jobs)) in enumerate(chosen.items()):
        found = _fingerprint(args.out, cohort, number, environment, jobs)
        first = first or found
        is_able = found[0] != _UNABLE
        rows.append((name, *found, "skipped" if not is_able else "same" if found == first else "DIFFERS"))
        print(f"{name}: {rows[-1][-1]}", file=sys.stderr, flush=True)
    print("| circumstance | model | landmarks | |\n|---|---|---|---|")
    print("\n".join("| " + " | ".join(row) + " |" for row in rows))
    if any("did not run" in row for row in rows):
        return 2
    return int(any(row[-1] == "DIFFERS" for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for data and results; emptied")
    parser.add_argument("--only", default="", metavar="TEXT", help="only circumstances whose name holds this")
    return parser.parse_args()


def _fingerprint(out: Path, cohort: Path, number: int, environment: dict[str, str], jobs: str) -> tuple[str, str]:
    """Train on one fold, predict the other; return checksums of the model and of all landmarks with confidences."""
    model, results = out / f"{number}.npz", out / f"results-{number}"
    data = ["--data", str(cohort), "--n-jobs", jobs]
    trained = _run(
        ["train", *data, "--folds", f"{cohort}/fold1.txt", "--config", f"{out}/small.yaml", "--out", str(model)],
        environment,
    )
    if trained.returncode == -signal.SIGILL:
        return _UNABLE, ""
    if trained.returncode:
        print(trained.stderr[-500:], file=sys.stderr)
        return "did not run", ""
    predicted = _run(
        ["predict", *data, "--folds", f"{cohort}/fold2.txt", "--model", str(model), "--out", str(results)], environment
    )
    if predicted.returncode:
        print(predicted.stderr[-500:], file=sys.stderr)
        return "did not run", ""
    landmarks = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(results.glob("*.lml"))))
    return hashlib.sha256(model.read_bytes()).hexdigest()[:12], landmarks.hexdigest()[:12]


def _run(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vertloc", *arguments, "--quiet"]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main())
