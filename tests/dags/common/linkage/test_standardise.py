import re
import subprocess
import sys
from collections.abc import Callable, Sequence

import pyarrow as pa
import pytest
from common.linkage.standardise import (
    MAX_FIELD_CHARACTERS,
    STANDARDISER_VERSION,
    generation_suffix,
    standardise,
    standardise_address,
    standardise_name,
)
from hypothesis import example, given
from hypothesis import strategies as st

NAMES = [
    ("nothing to do", "smith", "smith"),
    ("case", "McDONALD", "mcdonald"),
    ("accent as one character", "Jos\u00e9", "jose"),
    ("accent as two characters", "Jose\u0301", "jose"),
    ("German", "Gro\u00dfmann-M\u00fcller", "grossmann muller"),
    ("Polish", "\u0141ukasz", "lukasz"),
    ("Turkish dotted capital", "\u0130brahim", "ibrahim"),
    ("Cyrillic", "\u0416\u0443\u043a\u043e\u0432", "zhukov"),
    ("Chinese", "\u5317\u4eac", "beijing"),
    ("homoglyph: a Cyrillic a", "\u0430nna", "anna"),
    ("full-width letters", "\uff21\uff4e\uff4e\uff41", "anna"),
    ("ligature", "\ufb01nn", "finn"),
    ("apostrophe", "O'Brien", "obrien"),
    ("typographic apostrophe", "O\u2019Brien", "obrien"),
    ("accent used as an apostrophe", "O\u00b4Brien", "obrien"),
    ("backtick", "O`Brien", "obrien"),
    ("hyphen", "Smith-Jones", "smith jones"),
    ("runs of spaces", "  Mary \t  Ann\n", "mary ann"),
    ("no-break space", "Mary\u00a0Ann", "mary ann"),
    ("zero-width space", "Ma\u200bry", "mary"),
    ("right-to-left override", "\u202eyraM", "yram"),
    ("soft hyphen", "Ma\u00adry", "mary"),
    ("control character", "Mary\x07Ann", "mary ann"),
    ("emoji", "Anna \U0001f600", "anna"),
    ("only an emoji", "\U0001f600", None),
    ("HTML", "<b>Bob</b>", "b bob b"),
    ("spreadsheet formula", "=cmd|' /C calc'!A0", "cmd c calc a0"),
    ("honorific", "Mr. Smith", "smith"),
    ("two honorifics", "Prof. Dr. Weber", "weber"),
    ("nothing but an honorific", "Dr.", "dr"),
    ("Mr T", "Mr. T", "t"),
    ("generation", "Smith Jr.", "smith"),
    ("generation after a comma", "Smith, III", "smith"),
    ("degree in points", "Weber, Ph.D.", "weber"),
    ("degrees one after the other", "Weber MD PhD", "weber"),
    ("initials are no degree", "M. D.", "m d"),
    ("initials J.R. are no junior", "J.R.", "j r"),
    ("Md in front is Mohammed", "Md Rahman", "md rahman"),
    ("V is an initial", "Malcolm V", "malcolm v"),
    ("first name Junior", "Junior", "junior"),
    ("saint, long", "Saint-Pierre", "st pierre"),
    ("saint, short", "St. Pierre", "st pierre"),
    ("Eva Marie Saint", "Saint", "saint"),
    ("last name first is left alone", "Smith, John", "smith john"),
    ("empty", "", None),
    ("blank", " \t ", None),
    ("dash", "-", None),
    ("dots", "...", None),
    ("n/a", " N/A ", None),
    ("unknown", "UNKNOWN", None),
    ("an honorific before unknown", "Mr Unknown", None),
    ("Ms Null exists", "Null", "null"),
    ("Mr Na exists", "Na", "na"),
    ("Mr None exists", "None", "none"),
    ("initials N. A.", "N. A.", "n a"),
    ("missing", None, None),
    ("too long", "x" * (MAX_FIELD_CHARACTERS + 1), None),
    ("just not too long", "x" * MAX_FIELD_CHARACTERS, "x" * MAX_FIELD_CHARACTERS),
]

ADDRESSES = [
    ("street", "12 High Street", "12 high st"),
    ("street, short", "12 High St.", "12 high st"),
    ("saint and street", "3 Saint Mary's Street", "3 st marys st"),
    ("saint and street, short", "3 St. Marys St", "3 st marys st"),
    ("avenue and direction", "123 North Fifth Avenue", "123 n 5th ave"),
    ("avenue and direction, short", "123 N. 5th Ave.", "123 n 5th ave"),
    ("apartment", "9 Elm Rd, Apartment 4", "9 elm rd apt 4"),
    ("apt", "9 Elm Road Apt. 4", "9 elm rd apt 4"),
    ("number sign", "9 Elm Road #4", "9 elm rd apt 4"),
    ("number sign apart", "9 Elm Road # 4", "9 elm rd apt 4"),
    ("apartment and number sign", "9 Elm Road Apt #4", "9 elm rd apt 4"),
    ("unit with a letter", "Unit B, 9 Elm Road", "apt b 9 elm rd"),
    ("flat in front", "Flat 4, 9 Elm Road", "apt 4 9 elm rd"),
    ("flat as a word", "9 Flat Rock Road", "9 flat rock rd"),
    ("suite", "9 Elm Road, Suite 200", "9 elm rd apt 200"),
    ("ste as Sainte", "Sault Ste. Marie", "sault ste marie"),
    ("house number with a word", "No. 9 Elm Road", "9 elm rd"),
    ("number word without a number", "No Name Road", "no name rd"),
    ("post office box", "Post Office Box 77", "po box 77"),
    ("post office box in points", "P.O. Box 77", "po box 77"),
    ("state in points", "Albany, N.Y.", "albany ny"),
    ("lines", "9 Elm Road\r\nSpringfield, IL 62701", "9 elm rd springfield il 62701"),
    ("zip plus four", "Springfield 62701-1234", "springfield 62701 1234"),
    ("accents", "Stra\u00dfe des 17. Juni", "strasse des 17 juni"),
    ("only punctuation", "#,-", None),
    ("n/a", "n/a", None),
    ("none", "None", None),
    ("unknown", "Unknown", None),
    ("no fixed abode", "No fixed abode", None),
    ("missing", None, None),
    ("ten million characters", "9 Elm Road " * 1_000_000, None),
]

DIFFERENT_ADDRESSES = [
    ("the number tells", "12 High St", "21 High St"),
    ("the unit tells", "9 Elm Rd Apt 4", "9 Elm Rd Apt 5"),
    ("street is not road", "9 Elm Street", "9 Elm Road"),
    ("north is not south", "9 North St", "9 South St"),
]

any_text = st.text(max_size=60) | st.text(st.sampled_from("aA .#'-4,\u00e9\u4eac\U0001f600"), max_size=30)
TRICKY_WORDS = """
    mr dr jr sr saint ph.d. md unknown n/a no number # apt flat unit ste north e 4 12b p.o. box po st null same as
    above O'Neil first third
"""
tricky_words = st.lists(st.sampled_from(TRICKY_WORDS.split()), max_size=7).map(" ".join)
texts = any_text | tricky_words


@pytest.mark.parametrize(("raw", "expected"), [pytest.param(r, e, id=idea) for idea, r, e in NAMES])
def test_name(raw: str | None, expected: str | None) -> None:
    assert standardise_name(raw) == expected


@pytest.mark.parametrize(("raw", "expected"), [pytest.param(r, e, id=idea) for idea, r, e in ADDRESSES])
def test_address(raw: str | None, expected: str | None) -> None:
    assert standardise_address(raw) == expected


@pytest.mark.parametrize(("one", "other"), [pytest.param(a, b, id=idea) for idea, a, b in DIFFERENT_ADDRESSES])
def test_addresses_that_differ_stay_different(one: str, other: str) -> None:
    assert standardise_address(one) != standardise_address(other)


@pytest.mark.parametrize("rule", [standardise_name, standardise_address])
@given(text=texts)
@example(text="no no 4")
@example(text="apt apt unit # # 4")
@example(text="mr mr jr jr")
@example(text="#4 " * 333)
@example(text="\U0001f468\u200d\U0001f469\u200d\U0001f467")
@example(text="\ufdfa" * 900)
def test_what_comes_out_is_ascii_and_stays_as_it_is(rule: Callable[[str | None], str | None], text: str) -> None:
    standardised = rule(text)
    if standardised is not None:
        assert re.fullmatch(r"[a-z0-9]+( [a-z0-9]+)*", standardised)
        assert len(standardised) <= MAX_FIELD_CHARACTERS
    assert rule(standardised) == standardised


@given(text=texts)
def test_case_and_surrounding_spaces_never_matter(text: str) -> None:
    ascii_only = text.encode("ascii", "ignore").decode()
    for rule in (standardise_name, standardise_address):
        assert rule(f"  {ascii_only.upper()} ") == rule(ascii_only.lower())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Smith Jr.", "jr"),
        ("Smith, Senior", "sr"),
        ("Bob III", "iii"),
        ("Smith 2nd MD", "ii"),
        ("Smith", None),
        ("Junior", None),
        ("J.R.", None),
        (None, None),
        ("x" * 1_000_000 + " Jr.", None),
    ],
)
def test_generation_suffix(name: str | None, expected: str | None) -> None:
    assert generation_suffix(name) == expected


def _incoming(rows: Sequence[tuple[str | None, str | None, str | None]]) -> pa.Table:
    names = ("first_name", "last_name", "address")
    return pa.table({n: pa.array([row[i] for row in rows], pa.string()) for i, n in enumerate(names)})


@given(st.lists(st.tuples(*[st.none() | tricky_words] * 3), max_size=8))
def test_a_table_is_standardised_row_by_row(rows: list[tuple[str | None, str | None, str | None]]) -> None:
    incoming = _incoming(rows)
    table = standardise(incoming)
    assert table.select(incoming.column_names) == incoming
    assert table["first_name_std"].to_pylist() == [standardise_name(row[0]) for row in rows]
    assert table["last_name_std"].to_pylist() == [standardise_name(row[1]) for row in rows]
    assert table["address_std"].to_pylist() == [standardise_address(row[2]) for row in rows]


def test_a_table_in_several_chunks() -> None:
    rows = [("Mr Bob", "O'Neil", "1 Elm Road"), (None, "Smith", None)]
    chunked = pa.concat_tables([_incoming(rows), _incoming([]), _incoming(rows[::-1])])
    assert standardise(chunked).to_pylist() == standardise(_incoming(rows + rows[::-1])).to_pylist()


def test_version_is_the_same_in_another_process() -> None:
    code = "from common.linkage.standardise import STANDARDISER_VERSION as v; print(v)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": "dags", "PYTHONHASHSEED": "7"},
    )
    assert found.stdout.strip() == STANDARDISER_VERSION
