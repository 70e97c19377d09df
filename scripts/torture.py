"""Kill predict, train and study at random moments, resume them, and compare with undisturbed runs: see `--help`.

Also: a full disk, two processes on one folder, and a damaged cache. Prints one table; exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_SMALL = """
preprocess: {spacing_mm: 4.0}
classifier: {forest: {n_trees: 4, max_depth: 12}}
centres: {forest: {n_trees: 3, max_depth: 12}}
naming: {discriminant: {n_features: 600}}
"""
_LARGEST_WAIT_SECONDS = 600.0


@dataclass
class Outcome:
    """What one kind of disturbance did: how often, and what was found to be wrong."""

    name: str
    kills: int = 0
    cycles: int = 0
    note: str = ""
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Where the data, the models and the results of all runs lie."""

    root: Path
    data: Path
    config: Path
    model: Path
    other_model: Path

    def command(self, kind: str, out: Path) -> list[str]:
        """Return the command line of a run, ready to be resumed."""
        line = {
            "predict": f"predict --model {self.model} --out {out} --data {self.data} --preview --resume",
            "train": f"train --data {self.data} --folds {self.data}/fold1.txt --config {self.config} --seed 3"
            f" --cache {out}/cache --out {out}/model.npz",
            "study": f"study --data {self.data} --folds {self.data}/fold1.txt {self.data}/fold2.txt"
            f" --config {self.config} --seed 3 --out {out} --cache {out}-cache --resume",
        }[kind]
        return [sys.executable, "-m", "vertloc", *line.split(), "--quiet"]


def main() -> int:
    """Run all disturbances; 1 if one of them left a trace."""
    args = _arguments()
    place = _prepare(args.out.resolve())
    rng = random.Random(args.seed)
    shares = {"predict": 0.5, "train": 0.25, "study": 0.25}
    outcomes = [_killed(place, kind, round(args.kills * share), rng) for kind, share in shares.items()]
    outcomes += [_two_processes(place), _two_models(place), _damaged_cache(place, rng), _full_disk(place)]
    print(_table(outcomes))
    return int(any(outcome.faults for outcome in outcomes))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for data and results; emptied")
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="half of predict, a quarter each of others")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the moments")
    return parser.parse_args()


def _prepare(root: Path) -> Place:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    place = Place(root, root / "data", root / "small.yaml", root / "model.npz", root / "other.npz")
    place.config.write_text(_SMALL)
    _run(["phantom", "--out", str(place.data), "--patients", "4", "--seed", "5", "--coarse"])
    for model, fold in ((place.model, "fold2"), (place.other_model, "fold1")):
        folds = str(place.data / f"{fold}.txt")
        _run(["train", "--data", str(place.data), "--folds", folds, "--config", str(place.config), "--out", str(model)])
    return place


def _run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "vertloc", *arguments, "--quiet"], check=True)


def _killed(place: Place, kind: str, kills: int, rng: random.Random) -> Outcome:
    """Kill a command at random moments of its life until it gets through, again and again."""
    outcome = Outcome(f"{kind}, kill -9")
    reference = place.root / f"{kind}-undisturbed"
    for _ in range(2):  # the first run compiles the kernels
        _empty(reference)
        start = time.monotonic()
        subprocess.run(place.command(kind, reference), check=True)
        lasts = 0.9 * (time.monotonic() - start)
    wanted = _contents(reference, kind)
    out = place.root / f"{kind}-killed"
    while outcome.kills < kills:
        outcome.cycles += 1
        _empty(out)
        is_whole = True
        start = time.monotonic()
        while not _survives(place.command(kind, out), rng.uniform(0.0, lasts), outcome, kills):
            _expect_no_half_files(out, reference, outcome)
            is_whole = False
        if is_whole:  # the machine has become faster
            lasts = min(lasts, 0.9 * (time.monotonic() - start))
        _compare(out, wanted, kind, outcome)
        print(f"{outcome.name}: {outcome.kills} of {kills}", file=sys.stderr, flush=True)
    return outcome


def _survives(command: list[str], seconds: float, outcome: Outcome, kills: int) -> bool:
    """Start a command and kill it after a while, with all its threads; tell whether it was done before."""
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        timeout = seconds if outcome.kills < kills else _LARGEST_WAIT_SECONDS
        _, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        outcome.kills += 1
        return False
    if process.returncode != 0:
        outcome.faults.append(f"exit {process.returncode}: {err.decode(errors='replace')[-300:]}")
    return True


def _contents(out: Path, kind: str) -> dict[str, bytes]:
    """Return what a run made, by name: files to the last byte; of manifests what does not depend on the time."""
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        name = path.relative_to(out).as_posix()
        if path.name.startswith("run"):
            cases = json.loads(path.read_text())["cases"]
            kept = [[case[key] for key in ("scan", "status", "confidence", "model", "frame")] for case in cases]
            found[name] = json.dumps(kept).encode()
        elif path.suffix in (".lml", ".npz", ".png", ".csv", ".md", ".html", ".vol"):
            found[name] = path.read_bytes()
        elif path.name.startswith(".vertloc-"):
            found[name] = b"left by a dead process"
    return found if kind != "study" else {name: data for name, data in found.items() if not name.endswith(".html")}


def _expect_no_half_files(out: Path, reference: Path, outcome: Outcome) -> None:
    """After a kill, every file that has its name must be whole."""
    for path in out.rglob("*"):
        twin = reference / path.relative_to(out)
        if path.suffix in (".lml", ".npz", ".vol") and path.read_bytes() != twin.read_bytes():
            outcome.faults.append(f"{path.name} is half written, or another, after kill {outcome.kills}")


def _compare(out: Path, wanted: dict[str, bytes], kind: str, outcome: Outcome) -> None:
    found = _contents(out, kind)
    for name in sorted(found.keys() ^ wanted.keys()):
        outcome.faults.append(f"{name} is {'missing' if name in wanted else 'left over'} after cycle {outcome.cycles}")
    for name in sorted(found.keys() & wanted.keys()):
        if found[name] != wanted[name]:
            outcome.faults.append(f"{name} differs after cycle {outcome.cycles}")


def _two_processes(place: Place) -> Outcome:
    """Two processes predict the same scans into one folder at once."""
    outcome = Outcome("two processes, one folder", cycles=1)
    out = place.root / "shared"
    _empty(out)
    processes = [subprocess.Popen(place.command("predict", out)) for _ in range(2)]
    codes = [process.wait() for process in processes]
    if codes != [0, 0]:
        outcome.faults.append(f"exit codes {codes}")
    _compare(out, _contents(place.root / "predict-undisturbed", "predict"), "predict", outcome)
    return outcome


def _two_models(place: Place) -> Outcome:
    """Two processes with different models in one folder: whoever wins a scan, its files and record are of one model."""
    outcome = Outcome("two models, one folder", cycles=1)
    out = place.root / "two-models"
    _empty(out)
    commands = [place.command("predict", out) for _ in range(2)]
    commands[1] = [str(place.other_model) if part == str(place.model) else part for part in commands[1]]
    for process in [subprocess.Popen(command, stderr=subprocess.DEVNULL) for command in commands]:
        process.wait()
    subprocess.run(commands[0], check=True, stderr=subprocess.DEVNULL)
    wanted = {k: v for k, v in _contents(place.root / "predict-undisturbed", "predict").items() if k.endswith(".lml")}
    found = {k: v for k, v in _contents(out, "predict").items() if k.endswith(".lml")}
    if found != wanted:
        outcome.faults.append("a resumed run with one of the models did not give that model's results")
    return outcome


def _damaged_cache(place: Place, rng: random.Random) -> Outcome:
    """Flip bits of cached volumes, cut them, swap them: the model must stay the same."""
    outcome = Outcome("damaged cache")
    out = place.root / "damaged-cache"
    reference = place.root / "train-undisturbed"
    _empty(out)
    for damage in (_flip, _cut, _swap):
        outcome.cycles += 1
        shutil.rmtree(out / "cache", ignore_errors=True)
        shutil.copytree(reference / "cache", out / "cache")
        damage(sorted((out / "cache").iterdir()), rng)
        subprocess.run(place.command("train", out), check=True, stderr=subprocess.DEVNULL)
        if (out / "model.npz").read_bytes() != (reference / "model.npz").read_bytes():
            outcome.faults.append(f"another model after {damage.__name__}")
    return outcome


def _flip(paths: list[Path], rng: random.Random) -> None:
    for path in paths:
        data = bytearray(path.read_bytes())
        data[rng.randrange(min(len(data), 400))] ^= 1 << rng.randrange(8)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(data))


def _cut(paths: list[Path], rng: random.Random) -> None:
    for path in paths:
        path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def _swap(paths: list[Path], _: random.Random) -> None:
    contents = [path.read_bytes() for path in paths]
    for path, data in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(data)


def _full_disk(place: Place) -> Outcome:
    """Predict onto a disk with room for some results only, then make room and resume."""
    outcome = Outcome("full disk")
    out = place.root / "small-disk"
    out.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "vertloc-torture", str(out)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
        outcome.note = "skipped: needs root, to mount a small disk"
        return outcome
    try:
        outcome.cycles = 1
        (out / "filler").write_bytes(bytes(340_000))
        (out / "mine.png").write_bytes(b"the user's own")
        done = subprocess.run(place.command("predict", out / "results"), capture_output=True, text=True)
        if done.returncode not in (1, 2) or "Traceback" in done.stderr or str(out) not in done.stderr:
            outcome.faults.append(f"exit {done.returncode}: {done.stderr[-300:]}")
        outcome.note = f"exit {done.returncode}; {len(list(out.glob('results/*.lml')))} results kept"
        (out / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,size=200m", str(out)], check=True)
        subprocess.run(place.command("predict", out / "results"), check=True, stderr=subprocess.DEVNULL)
        _compare(out / "results", _contents(place.root / "predict-undisturbed", "predict"), "predict", outcome)
        if (out / "mine.png").read_bytes() != b"the user's own":
            outcome.faults.append("a file of the user's is gone")
    finally:
        subprocess.run(["umount", str(out)], check=False)
    return outcome


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder.with_name(f"{folder.name}-cache"), ignore_errors=True)
    folder.mkdir(parents=True)


def _table(outcomes: list[Outcome]) -> str:
    rows = ["| disturbance | kills | runs brought to their end | faults |", "|---|---|---|---|"]
    for outcome in outcomes:
        faults = "; ".join(outcome.faults[:5]) if outcome.faults else outcome.note or "0"
        if outcome.faults and len(outcome.faults) > 5:
            faults += f" and {len(outcome.faults) - 5} more"
        elif not outcome.faults and outcome.note and not outcome.note.startswith("skipped"):
            faults = f"0 ({outcome.note})"
        rows.append(f"| {outcome.name} | {outcome.kills or ''} | {outcome.cycles or ''} | {faults} |")
    return "\n".join(rows)


Damage = Callable[[list[Path], random.Random], None]

if __name__ == "__main__":
    sys.exit(main())
