"""The kernels without compilation, and where compiled ones are kept."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from vertloc.kernels import jit


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="this is the run without compilation")
def test_the_kernel_tests_also_pass_without_compilation():
    # Compiled code reads unset names and out-of-range cells without complaint; plain Python does not.
    folder = Path(__file__).parent
    places = [str(folder), str(folder.parent / "phantom/test_phantom_kernels.py")]
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--ignore", __file__]
    command = [sys.executable, "-m", "pytest", *options, *places]
    done = subprocess.run(
        command, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, cwd=folder.parent.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


ROOT = Path(__file__).parents[2]

CALLEE = "from vertloc.kernels.jit import kernel\n\n@kernel\ndef callee(x):\n    return x + {}\n"
CALLER = """
from callee import callee
from vertloc.kernels.jit import kernel

@kernel
def caller(x):
    return 10 * callee(x)

print(caller(1))
"""


def call(folder, script="caller.py", **environment):
    """Run the two kernels of a folder in a new process; return what it printed and what it warned of."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run([sys.executable, script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def kernels(tmp_path):
    (tmp_path / "callee.py").write_text(CALLEE.format(1))
    (tmp_path / "caller.py").write_text(CALLER)
    return tmp_path


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="without compilation nothing is cached")
def test_a_kernel_whose_callee_in_another_file_has_changed_is_compiled_anew(kernels):
    assert call(kernels) == ("20\n", "")
    assert list(kernels.rglob("*.nbi")), "nothing was cached"
    (kernels / "callee.py").write_text(CALLEE.format(2))
    assert call(kernels) == ("30\n", "")


STARTED = """
import sys
from vertloc.kernels.jit import start_kernels

start_kernels()
assert "scipy.linalg" not in sys.modules
import caller
import scipy.linalg
assert scipy.linalg.det([[2.0]]) == 2
"""


def test_kernels_that_were_made_ready_work_and_hide_nothing_afterwards(kernels):
    (kernels / "started.py").write_text(STARTED)
    assert call(kernels, "started.py") == ("20\n", "")


def test_what_is_compiled_once_is_not_compiled_again(kernels):
    call(kernels)
    before = {path: path.stat().st_mtime_ns for path in kernels.rglob("*.nbi")}
    call(kernels)
    assert {path: path.stat().st_mtime_ns for path in kernels.rglob("*.nbi")} == before


def test_the_key_is_over_the_kernels_of_the_folder_and_over_the_shared_ones(kernels):
    before = jit.sources_key(kernels)
    (kernels / "another.py").write_text("# nothing")
    assert jit.sources_key(kernels) != before
    assert jit.sources_key(kernels) != jit.sources_key(Path(jit.__file__).parent)


def nowhere(folder):
    """Take away every place for compiled code but the temporary folder: a file stands where a folder should."""
    (folder / "__pycache__").write_text("")
    (folder / "tmp").mkdir()
    home = folder / "file"
    home.write_text("")
    return {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(folder / "tmp")}


def test_without_a_writable_place_kernels_are_kept_in_a_private_temporary_folder_and_one_line_says_so(kernels):
    environment = nowhere(kernels)
    out, err = call(kernels, **environment)
    assert out == "20\n"
    (private,) = (kernels / "tmp").iterdir()
    assert err.splitlines() == [
        f"no writable place for compiled kernels: compiled kernels are kept in {private};"
        " NUMBA_CACHE_DIR names another place"
    ]
    assert private.stat().st_mode & 0o777 == 0o700
    assert list(private.rglob("*.nbi"))


def test_a_temporary_folder_that_others_can_write_to_is_not_trusted(kernels):
    environment = nowhere(kernels)
    private = kernels / "tmp" / f"vertloc-{os.getuid()}"
    private.mkdir()
    private.chmod(0o777)
    out, err = call(kernels, **environment)
    assert out == "20\n"
    assert "compiled anew in every run" in err
    assert len(err.splitlines()) == 1
    assert not list(private.iterdir())


def test_a_place_that_the_user_names_comes_first(kernels, tmp_path):
    assert call(kernels, NUMBA_CACHE_DIR=str(tmp_path / "named")) == ("20\n", "")
    assert list((tmp_path / "named").rglob("*.nbi"))
    assert not (kernels / "__pycache__").exists()
