import json
import subprocess
import sys
from random import Random

import pytest
from common.linkage import corruption
from common.linkage.corruption import CORRUPTIONS, FREQUENCIES, Corruption, Record, corrupt
from common.linkage.standardise import standardise_address, standardise_name
from hypothesis import given
from hypothesis import strategies as st

ADDRESS = "123 North Maple Street Apt. 042, Port Kelly, GU 38603"
WILLIAM = Record("William", "O'Brien", ADDRESS)

NAMES = {"first_name", "last_name"}
CHANGED_FIELDS = {
    Corruption.KEYBOARD_TYPO: {*Record._fields},
    Corruption.OCR_CONFUSION: {*Record._fields},
    Corruption.TRANSPOSED_LETTERS: {*Record._fields},
    Corruption.DROPPED_LETTER: {*Record._fields},
    Corruption.DOUBLED_LETTER: {*Record._fields},
    Corruption.PHONETIC_SPELLING: NAMES,
    Corruption.NICKNAME: {"first_name"},
    Corruption.INITIAL: {"first_name"},
    Corruption.SWAPPED_NAMES: NAMES,
    Corruption.MARRIED: {"last_name"},
    Corruption.DOUBLE_BARRELLED: {"last_name"},
    Corruption.MISSING_FIRST_NAME: {"first_name"},
    Corruption.MOVED: {"address"},
    Corruption.ABBREVIATED_ADDRESS: {"address"},
    Corruption.REORDERED_ADDRESS: {"address"},
    Corruption.MISSING_UNIT: {"address"},
    Corruption.MISSING_POSTCODE: {"address"},
    Corruption.MISSING_CITY: {"address"},
    Corruption.MISSING_ADDRESS: {"address"},
    Corruption.CASE_AND_SPACES: {*Record._fields},
    Corruption.ACCENTS: NAMES,
}

texts = st.none() | st.text(max_size=20) | st.sampled_from(["Bob", "Smith-Jones", ADDRESS, "#4", "Apt 4", ","])
records = st.builds(Record, texts, texts, texts)


def rng(seed: int) -> Random:
    return Random(seed)  # noqa: S311


def outcomes(kind: Corruption, record: Record = WILLIAM, seeds: int = 200) -> set[Record]:
    """What an error makes of a record, over many seeds."""
    return {CORRUPTIONS[kind](record, rng(seed)) for seed in range(seeds)}


def one_field(kind: Corruption, field: str, value: str | None, seeds: int = 200) -> set[str | None]:
    """What an error makes of one field where the others are missing."""
    record = Record(None, None, None)._replace(**{field: value})
    return {getattr(found, field) for found in outcomes(kind, record, seeds)}


@pytest.mark.parametrize("kind", Corruption)
def test_an_error_changes_only_its_fields_and_every_one_of_them(kind: Corruption) -> None:
    changed = {
        field
        for found in outcomes(kind)
        for field in Record._fields
        if getattr(found, field) != getattr(WILLIAM, field)
    }
    assert changed == CHANGED_FIELDS[kind]


@pytest.mark.parametrize("kind", Corruption)
@given(record=records, seed=st.integers())
def test_any_record_can_have_any_error(kind: Corruption, record: Record, seed: int) -> None:
    found = CORRUPTIONS[kind](record, rng(seed))
    assert CORRUPTIONS[kind](record, rng(seed)) == found
    for before, after in zip(record, found, strict=True):
        assert after is None or isinstance(after, str)
        assert kind is Corruption.SWAPPED_NAMES or before is not None or after is None


def test_keyboard_typo_hits_the_key_beside() -> None:
    assert one_field(Corruption.KEYBOARD_TYPO, "last_name", "G") == set("TYFHVB")


def test_ocr_confusion_knows_shapes() -> None:
    assert {"Bumett", "Bunnett", "Burrrett"} & one_field(Corruption.OCR_CONFUSION, "last_name", "Burnett") == {"Bumett"}


def test_transposed_letters_keep_the_shift_key_in_place() -> None:
    assert one_field(Corruption.TRANSPOSED_LETTERS, "first_name", "Ann") == {"Nan"}


def test_dropped_letter_leaves_something() -> None:
    assert one_field(Corruption.DROPPED_LETTER, "first_name", "Al") == {"A", "l"}
    assert one_field(Corruption.DROPPED_LETTER, "first_name", "A") == {"A"}


def test_doubled_letter() -> None:
    assert one_field(Corruption.DOUBLED_LETTER, "first_name", "Al") == {"Aal", "All"}


def test_phonetic_spelling_sounds_alike() -> None:
    found = {record.first_name for record in outcomes(Corruption.PHONETIC_SPELLING, Record("Philip", None, None))}
    assert "Filip" in found


def test_nickname_goes_both_ways() -> None:
    assert {"Bill", "Will"} <= one_field(Corruption.NICKNAME, "first_name", "William")
    assert "William" in one_field(Corruption.NICKNAME, "first_name", "Bill")
    assert one_field(Corruption.NICKNAME, "first_name", "Zbigniewa") == {"Zbigniewa"}


def test_initial() -> None:
    assert one_field(Corruption.INITIAL, "first_name", "William") == {"W", "W."}


def test_swapped_names() -> None:
    assert outcomes(Corruption.SWAPPED_NAMES) == {WILLIAM._replace(first_name="O'Brien", last_name="William")}


def test_married_takes_another_name() -> None:
    assert "O'Brien" not in one_field(Corruption.MARRIED, "last_name", "O'Brien")


def test_double_barrelled_keeps_the_name_and_parts_two() -> None:
    assert all("Lee" in str(name) for name in one_field(Corruption.DOUBLE_BARRELLED, "last_name", "Lee"))
    assert one_field(Corruption.DOUBLE_BARRELLED, "last_name", "Lee-Hale") == {"Lee", "Hale"}


def test_missing_first_name_needs_a_last_name() -> None:
    assert outcomes(Corruption.MISSING_FIRST_NAME) == {WILLIAM._replace(first_name=None)}
    assert one_field(Corruption.MISSING_FIRST_NAME, "first_name", "Ann") == {"Ann"}


def test_moved_is_another_address() -> None:
    assert not {ADDRESS} & {record.address for record in outcomes(Corruption.MOVED)}
    assert one_field(Corruption.MOVED, "address", None) == {None}


def test_abbreviated_address_means_the_same() -> None:
    found = one_field(Corruption.ABBREVIATED_ADDRESS, "address", ADDRESS)
    assert "123 N Maple St Apt 042, Port Kelly, GU 38603" in found
    assert {standardise_address(text) for text in found} <= {
        standardise_address(ADDRESS),
        standardise_address(ADDRESS.replace("Street", "Str")),
    }


def test_reordered_address_has_the_same_words() -> None:
    found = one_field(Corruption.REORDERED_ADDRESS, "address", ADDRESS)
    assert "Apt. 042, 123 North Maple Street, Port Kelly, GU 38603" in found
    assert {tuple(sorted(str(text).replace(",", "").split())) for text in found} == {
        tuple(sorted(ADDRESS.replace(",", "").split()))
    }


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Corruption.MISSING_UNIT, "123 North Maple Street, Port Kelly, GU 38603"),
        (Corruption.MISSING_POSTCODE, "123 North Maple Street Apt. 042, Port Kelly, GU"),
        (Corruption.MISSING_CITY, "123 North Maple Street Apt. 042, GU 38603"),
        (Corruption.MISSING_ADDRESS, None),
    ],
)
def test_missing_part(kind: Corruption, expected: str | None) -> None:
    assert one_field(kind, "address", ADDRESS) == {expected}


@pytest.mark.parametrize("kind", [Corruption.MISSING_UNIT, Corruption.MISSING_POSTCODE, Corruption.MISSING_CITY])
def test_a_part_that_is_not_there_cannot_be_left_out(kind: Corruption) -> None:
    assert one_field(kind, "address", "5 Elm Road") == {"5 Elm Road"}


@pytest.mark.parametrize("kind", [Corruption.CASE_AND_SPACES, Corruption.ACCENTS])
def test_what_standardising_takes_back(kind: Corruption) -> None:
    for found in outcomes(kind):
        assert standardise_name(found.first_name) == "william"
        assert standardise_name(found.last_name) == "obrien"
        assert standardise_address(found.address) == standardise_address(ADDRESS)


def test_every_kind_has_a_function_and_a_frequency() -> None:
    assert list(CORRUPTIONS) == list(FREQUENCIES) == list(Corruption)
    assert all(function is getattr(corruption, kind.value) for kind, function in CORRUPTIONS.items())


@given(records, st.integers(), st.lists(st.sampled_from(Corruption)), st.none() | st.integers(0, 5))
def test_corrupt_names_what_it_did(record: Record, seed: int, kinds: list[Corruption], errors: int | None) -> None:
    found, made = corrupt(record, rng(seed), kinds, errors)
    assert (found, made) == corrupt(record, rng(seed), kinds, errors)
    assert set(made) <= set(kinds)
    assert len(set(made)) == len(made) <= (3 if errors is None else errors)
    assert (found == record) == (not made)
    assert not (record.first_name or record.last_name) or found.first_name or found.last_name


def test_corrupt_makes_as_many_errors_as_asked() -> None:
    for seed in range(100):
        assert len(corrupt(WILLIAM, rng(seed), errors=3)[1]) == 3


def test_corrupt_leaves_the_names_of_who_moved() -> None:
    for seed in range(2_000):
        made = set(corrupt(WILLIAM, rng(seed), errors=4)[1])
        assert not {Corruption.MOVED, Corruption.MARRIED} <= made
        assert not {Corruption.MISSING_ADDRESS, Corruption.INITIAL} <= made


def test_corrupt_follows_the_frequencies() -> None:
    counts = dict.fromkeys(Corruption, 0)
    for seed in range(3_000):
        counts[corrupt(WILLIAM, rng(seed), errors=1)[1][0]] += 1
    assert all(counts.values())
    assert counts[Corruption.KEYBOARD_TYPO] > 3 * counts[Corruption.MARRIED]


def test_the_same_seed_gives_the_same_in_another_process() -> None:
    code = (
        "import json; from random import Random; from common.linkage.corruption import *;"
        f"print(json.dumps([corrupt(Record(*{tuple(WILLIAM)!r}), Random(seed)) for seed in range(300)]))"
    )
    env = {"PYTHONPATH": "dags", "PYTHONHASHSEED": "7"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert json.loads(found.stdout) == json.loads(json.dumps([corrupt(WILLIAM, rng(seed)) for seed in range(300)]))
