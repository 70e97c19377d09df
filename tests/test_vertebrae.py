import pytest

from vertloc.vertebrae import (
    BODY_DIAMETER_MM,
    RANK,
    REGIONS,
    VARIANTS,
    VERTEBRAE,
    anatomical_order,
    is_vertebra,
    lml_id,
    region_of,
)


def test_the_alphabet_has_the_26_labels_of_the_database_from_top_to_bottom():
    assert len(VERTEBRAE) == 26
    assert VERTEBRAE[:8] == ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "T1")
    assert VERTEBRAE[18:] == ("T12", "L1", "L2", "L3", "L4", "L5", "S1", "S2")
    assert [RANK[name] for name in VERTEBRAE] == list(range(26))


def test_variants_are_ordered_between_their_neighbours():
    names = sorted((*VERTEBRAE, *VARIANTS), key=anatomical_order)
    assert names[names.index("T13") - 1 : names.index("T13") + 2] == ["T12", "T13", "L1"]
    assert names[names.index("L6") - 1 : names.index("L6") + 2] == ["L5", "L6", "S1"]


# From the files of the database (FORMATS: id = 10 x rank, C1 = 10 ... S2 = 260).
@pytest.mark.parametrize(
    ("name", "number"), [("C1", 10), ("C7", 70), ("T1", 80), ("T12", 190), ("L1", 200), ("L5", 240), ("S2", 260)]
)
def test_lml_ids_are_those_of_the_database(name, number):
    assert lml_id(name) == number


def test_lml_ids_are_unique_and_in_anatomical_order():
    ids = [lml_id(name) for name in sorted((*VERTEBRAE, *VARIANTS), key=anatomical_order)]
    assert ids == sorted(set(ids))
    assert (lml_id("T13"), lml_id("L6")) == (195, 245)


def test_regions_follow_the_letter_and_are_counted_7_12_5_2():
    counts = {region: sum(region_of(name) == region for name in VERTEBRAE) for region in REGIONS}
    assert counts == {"cervical": 7, "thoracic": 12, "lumbar": 5, "sacral": 2}
    assert (region_of("T13"), region_of("L6")) == ("thoracic", "lumbar")


@pytest.mark.parametrize("name", ["", "C0", "C8", "T14", "L7", "S3", "c1", "C1 ", "C1_center", "background"])
def test_other_names_are_no_vertebrae(name):
    assert not is_vertebra(name)
    for function in (anatomical_order, region_of, lml_id):
        with pytest.raises(KeyError):
            function(name)


def test_every_trained_label_has_a_diameter_of_a_vertebra():
    assert tuple(BODY_DIAMETER_MM) == VERTEBRAE
    assert all(14 <= diameter <= 38 for diameter in BODY_DIAMETER_MM.values())
    assert (BODY_DIAMETER_MM["C1"], BODY_DIAMETER_MM["L3"], BODY_DIAMETER_MM["S2"]) == (14, 38, 34)
