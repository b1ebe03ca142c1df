"""The numbers that the table of quality shows, on a case that can be counted by hand."""

import numpy as np
import pyarrow as pa
import pytest
from quality import Found, People, by_rules, measure, sides_of
from quality_worlds import golden_worlds


def people(within: bool) -> People:
    """Rows 0 to 3: the originals of persons 0 to 3; rows 4 to 7: duplicates of persons 0, 0, 1 and 2."""
    records = pa.table({name: ["x"] * 8 for name in ("first_name", "last_name", "address")})
    return People(records, np.array([0, 1, 2, 3, 0, 0, 1, 2]), np.arange(8) >= 4, within)


def found(*pairs: tuple[int, int, float], accept_at: float = 0.8, review_at: float = 0.4) -> Found:
    score = np.array([score for *_, score in pairs])
    return Found(np.array([pair[:2] for pair in pairs]), score, score >= accept_at, score >= review_at)


FOUND = found((4, 0, 0.9), (5, 0, 0.5), (6, 1, 0.9), (6, 3, 0.8), (7, 3, 0.6), (7, 2, 0.1))


def test_true_pairs() -> None:
    assert people(False).true_pairs().tolist() == [[4, 0], [5, 0], [6, 1], [7, 2]]
    assert sorted(people(True).true_pairs().tolist()) == [[0, 4], [0, 5], [1, 6], [2, 7], [4, 5]]
    duplicates, originals = sides_of(people(False))
    assert (duplicates.tolist(), originals.tolist()) == ([4, 5, 6, 7], [0, 1, 2, 3])


def test_accepted() -> None:
    row = measure(people(False), FOUND)
    assert (row["precision"], row["recall"], row["F1"]) == pytest.approx((2 / 3, 2 / 4, 4 / 7))
    assert row["re-inserted %"] == 50, "5 and 7"
    assert row["wrongly dropped %"] == 25, "6, for 3"
    assert row["in review %"] == 0


def test_accepted_or_in_review() -> None:
    row = measure(people(False), FOUND, review=True)
    assert (row["precision"], row["recall"], row["F1"]) == pytest.approx((3 / 5, 3 / 4, 6 / 9))
    assert row["re-inserted %"] == 25, "7, of which somebody looks at the wrong pair"
    assert row["wrongly dropped %"] == 25
    assert row["in review %"] == 50, "5 and 7"


def test_pairs_of_duplicates_count_as_pairs_but_no_record_plays_the_table() -> None:
    row = measure(people(True), found((0, 4, 0.9), (4, 5, 0.9), (6, 7, 0.9)))
    assert (row["precision"], row["recall"]) == pytest.approx((2 / 3, 2 / 5))
    assert row["re-inserted %"] == 75
    assert row["wrongly dropped %"] == 0


def test_what_the_rules_leave() -> None:
    """Of three people one comes back as she is, one with another first name, and one with another name elsewhere."""
    records = [
        *(("Ann", "Smith", "12 Main Street, Salem"), ("Bob", "Jones", "4 Oak Lane, Troy"), ("Cy", "Poe", "7 Elm Road")),
        *(
            ("Ann", "Smith", "12 Main Street, Salem"),
            ("Zelda", "Jones", "4 Oak Lane, Troy"),
            ("Wim", "Orr", "9 Far Row"),
        ),
    ]
    columns = dict(zip(("first_name", "last_name", "address"), zip(*records, strict=True), strict=True))
    known = People(pa.table(columns), np.array([0, 1, 2, 0, 1, 2]), np.arange(6) >= 3, within=False)
    left = by_rules(known)
    assert left.pairs.tolist() == [[3, 0], [4, 1], [5, 2]]
    assert (left.accepted.tolist(), left.found.tolist()) == ([True, False, False], [True, True, False])


def test_golden_pairs_are_worlds_of_their_own() -> None:
    """Everybody among 200 others; 25 of 40 records are of somebody there."""
    worlds = golden_worlds()
    assert set(worlds) == {"Cyrillic", "Greek", "Arabic", "Chinese", "Vietnamese"}
    for world in worlds.values():
        assert (len(world.existing), len(world.incoming)) == (240, 40)
        assert sum(person >= 0 for person in world.person) == 25
    who = worlds["Cyrillic"].person.index(0)
    assert worlds["Cyrillic"].existing["address"][0].as_py() == "144 Station Road, Omaha, NE 68102"
    assert worlds["Cyrillic"].incoming["first_name"][who].as_py() == "Militsa"


def test_the_best_cut_off_does_not_part_equal_scores() -> None:
    best = FOUND.at_best(people(False))
    assert best.accepted.tolist() == [True, True, True, True, True, True], "F1 8 / 10"
    tied = found((4, 0, 0.9), (6, 1, 0.5), (6, 3, 0.5), (7, 3, 0.5), (5, 3, 0.5), (5, 2, 0.5))
    assert tied.at_best(people(False)).accepted.tolist() == [True] + [False] * 5
