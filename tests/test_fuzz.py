"""The short form of `make fuzz`: hostile files through every door, chosen by hypothesis."""

import gzip
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from fuzz import opened, put_through
from fuzz_parts.doors import DOORS
from fuzz_parts.mutations import mutate


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_a_damaged_file_is_a_clean_error_or_opens(door):
    with opened(door) as (folder, good):

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.integers(0, 2**32))
        def check(seed):
            assert put_through(door, seed, folder, good) in ("error", "success")

        check()


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_the_good_files_of_a_door_open(door):
    with opened(door) as (folder, good):
        for data in good:
            path = folder / f"x{door.suffix}"
            path.write_bytes(gzip.compress(data) if door.is_gzip else data)
            door.open(path)


def test_mutations_are_the_same_by_seed_and_change_something():
    good = b"ObjectType = Image\nNDims = 3\n" * 4
    made = [mutate(good, Random(seed)) for seed in range(200)]
    assert made == [mutate(good, Random(seed)) for seed in range(200)]
    assert sum(data != good for data in made) > 190
