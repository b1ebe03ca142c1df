"""Realistic errors: how the same person comes to be written differently.

One function per error, each on one raw record. It returns the record as it was where it does not apply (no unit
to leave out, no nickname known). Used for returning people in Faker mode, for labelled training pairs and for
canaries. The same seed gives the same errors on every machine: all chance comes from the `random.Random` given.
"""

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from random import Random
from typing import NamedTuple

from common.linkage.corruption_tables import (
    ABBREVIATIONS,
    ACCENTED,
    CITIES,
    LAST_NAMES,
    NEIGHBOURING_KEYS,
    OCR_CONFUSIONS,
    SOUND_ALIKES,
    STATES,
    STREET_WORDS,
    STREETS,
)
from common.linkage.nicknames import nicknames_of


class Record(NamedTuple):
    """The raw fields of one record; null where missing."""

    first_name: str | None
    last_name: str | None
    address: str | None


class Corruption(StrEnum):
    """The kinds of errors, in the order of `CORRUPTIONS`."""

    KEYBOARD_TYPO = "keyboard_typo"
    OCR_CONFUSION = "ocr_confusion"
    TRANSPOSED_LETTERS = "transposed_letters"
    DROPPED_LETTER = "dropped_letter"
    DOUBLED_LETTER = "doubled_letter"
    PHONETIC_SPELLING = "phonetic_spelling"
    NICKNAME = "nickname"
    INITIAL = "initial"
    SWAPPED_NAMES = "swapped_names"
    MARRIED = "married"
    DOUBLE_BARRELLED = "double_barrelled"
    MISSING_FIRST_NAME = "missing_first_name"
    MOVED = "moved"
    ABBREVIATED_ADDRESS = "abbreviated_address"
    REORDERED_ADDRESS = "reordered_address"
    MISSING_UNIT = "missing_unit"
    MISSING_POSTCODE = "missing_postcode"
    MISSING_CITY = "missing_city"
    MISSING_ADDRESS = "missing_address"
    CASE_AND_SPACES = "case_and_spaces"
    ACCENTS = "accents"


_UNIT = re.compile(r"[\s,]*(?:\b(?:apartment|apt|unit|flat|suite|ste)\b\.?|#)\s*#?\s*[a-z]?\d[\w-]*", re.IGNORECASE)
_POSTCODE = re.compile(r"[\s,]*\b\d{5}(?:-\d{4})?\s*$|[\s,]*\b\d{4}\s*$", re.IGNORECASE)


def _in_some_field(record: Record, rng: Random, change: Callable[[str, Random], str]) -> Record:
    """`change` made in one field, drawn in proportion to its length: long texts hold more errors."""
    lengths = [len(text or "") for text in record]
    if not any(lengths):
        return record
    (position,) = rng.choices(range(len(record)), weights=lengths)
    return _in_field(record, Record._fields[position], rng, change)


def _in_some_name(record: Record, rng: Random, change: Callable[[str, Random], str]) -> Record:
    given = [name for name in ("first_name", "last_name") if getattr(record, name)]
    return _in_field(record, rng.choice(given), rng, change) if given else record


def _in_field(record: Record, name: str, rng: Random, change: Callable[[str, Random], str]) -> Record:
    text = getattr(record, name)
    return record._replace(**{name: change(text, rng)}) if text else record


def _like(letter: str, model: str) -> str:
    return letter.upper() if model.isupper() else letter


def _replaced(text: str, rng: Random, pairs: Sequence[tuple[str, str]]) -> str:
    """One occurrence of one of `pairs` in its new form; the first letter's case stays."""
    found = [
        (match.start(), old, new) for old, new in pairs for match in re.finditer(re.escape(old), text, re.IGNORECASE)
    ]
    if not found:
        return text
    start, old, new = rng.choice(found)
    if text[start].isupper() and new[0].islower():
        new = new[0].upper() + new[1:]
    return text[:start] + new + text[start + len(old) :]


def keyboard_typo(record: Record, rng: Random) -> Record:
    """One letter or digit, somewhere, hit on the key beside it."""

    def change(text: str, rng: Random) -> str:
        places = [place for place, letter in enumerate(text) if letter.lower() in NEIGHBOURING_KEYS]
        if not places:
            return text
        place = rng.choice(places)
        letter = text[place]
        return text[:place] + _like(rng.choice(NEIGHBOURING_KEYS[letter.lower()]), letter) + text[place + 1 :]

    return _in_some_field(record, rng, change)


def ocr_confusion(record: Record, rng: Random) -> Record:
    """One shape, somewhere, that a scanner took for another: rn for m, 0 for O."""

    def change(text: str, rng: Random) -> str:
        found = [(m.start(), old, new) for old, new in OCR_CONFUSIONS for m in re.finditer(re.escape(old), text)]
        if not found:
            return text
        start, old, new = rng.choice(found)
        return text[:start] + new + text[start + len(old) :]

    return _in_some_field(record, rng, change)


def transposed_letters(record: Record, rng: Random) -> Record:
    """Two neighbouring letters or digits, somewhere, in each other's place."""

    def change(text: str, rng: Random) -> str:
        places = [p for p in range(len(text) - 1) if text[p : p + 2].isalnum() and text[p] != text[p + 1]]
        if not places:
            return text
        place = rng.choice(places)
        first, second = text[place], text[place + 1]
        return text[:place] + _cased(second, first) + _cased(first, second) + text[place + 2 :]

    return _in_some_field(record, rng, change)


def _cased(letter: str, model: str) -> str:
    """`letter` in the case of `model`: typists hold the shift key for the place, not for the letter."""
    return letter.upper() if model.isupper() else letter.lower() if model.islower() else letter


def dropped_letter(record: Record, rng: Random) -> Record:
    """One letter or digit, somewhere, left out; a name keeps at least one."""

    def change(text: str, rng: Random) -> str:
        places = [place for place, letter in enumerate(text) if letter.isalnum()]
        if len(places) < 2:
            return text
        place = rng.choice(places)
        return text[:place] + text[place + 1 :]

    return _in_some_field(record, rng, change)


def doubled_letter(record: Record, rng: Random) -> Record:
    """One letter or digit, somewhere, twice."""

    def change(text: str, rng: Random) -> str:
        places = [place for place, letter in enumerate(text) if letter.isalnum()]
        if not places:
            return text
        place = rng.choice(places)
        return text[: place + 1] + text[place].lower() + text[place + 1 :]

    return _in_some_field(record, rng, change)


def phonetic_spelling(record: Record, rng: Random) -> Record:
    """A name as it sounds: Philip for Filip."""
    return _in_some_name(record, rng, lambda text, rng: _replaced(text, rng, SOUND_ALIKES))


def nickname(record: Record, rng: Random) -> Record:
    """The first name by a nickname, or a nickname by the full name."""

    def change(text: str, rng: Random) -> str:
        others = nicknames_of(text.strip().lower())
        return rng.choice(others).title() if others else text

    return _in_field(record, "first_name", rng, change)


def initial(record: Record, rng: Random) -> Record:
    """The first name's initial only, with or without a point."""
    return _in_field(record, "first_name", rng, lambda text, rng: text.strip()[:1] + rng.choice(("", ".")))


def swapped_names(record: Record, rng: Random) -> Record:
    """First and last name in each other's place."""
    return record._replace(first_name=record.last_name, last_name=record.first_name)


def married(record: Record, rng: Random) -> Record:
    """Another last name."""
    others = [name for name in LAST_NAMES if name != record.last_name]
    return record._replace(last_name=rng.choice(others)) if record.last_name else record


def double_barrelled(record: Record, rng: Random) -> Record:
    """A second last name, before or after; of two, one is left out."""

    def change(text: str, rng: Random) -> str:
        names = text.split("-")
        if len(names) == 2 and all(names):
            return rng.choice(names)
        other = rng.choice([name for name in LAST_NAMES if name != text])
        return rng.choice((f"{text}-{other}", f"{other}-{text}", f"{text} {other}"))

    return _in_field(record, "last_name", rng, change)


def missing_first_name(record: Record, rng: Random) -> Record:
    """No first name, where a last name is left."""
    return record._replace(first_name=None) if record.last_name else record


def moved(record: Record, rng: Random) -> Record:
    """Another address altogether."""
    if not record.address:
        return record
    unit = rng.choice(("", "", f" Apt. {rng.randrange(1, 1000)}"))
    street = f"{rng.randrange(1, 10_000)} {rng.choice(STREETS)} {rng.choice(STREET_WORDS)}{unit}"
    postcode = f"{rng.randrange(501, 99_951):05}"
    return record._replace(address=f"{street}, {rng.choice(CITIES)}, {rng.choice(STATES)} {postcode}")


def abbreviated_address(record: Record, rng: Random) -> Record:
    """One or all of the address's common words shorter or longer: St for Street, # for Apt."""

    def change(text: str, rng: Random) -> str:
        words = text.split(" ")
        places = [place for place, word in enumerate(words) if word.rstrip(",") in ABBREVIATIONS]
        if not places:
            return text
        for place in places if rng.random() < 0.5 else [rng.choice(places)]:
            word = words[place].rstrip(",")
            words[place] = rng.choice(ABBREVIATIONS[word]) + words[place][len(word) :]
        return " ".join(words)

    return _in_field(record, "address", rng, change)


def reordered_address(record: Record, rng: Random) -> Record:
    """The unit in front, or the parts between commas in another order."""

    def change(text: str, rng: Random) -> str:
        unit = _UNIT.search(text)
        if unit and unit.start() > 0 and rng.random() < 0.5:
            return f"{unit[0].strip(' ,')}, {text[: unit.start()]}{text[unit.end() :]}"
        parts = [part.strip() for part in text.split(",")]
        if len(set(parts)) < 2:
            return text
        shuffled = parts
        while shuffled == parts:
            shuffled = rng.sample(parts, len(parts))
        return ", ".join(shuffled)

    return _in_field(record, "address", rng, change)


def _without(record: Record, pattern: re.Pattern[str]) -> Record:
    """The address without the first match of `pattern`, if something else is left of it."""
    rest = pattern.sub("", record.address or "", count=1).strip(" ,")
    return record._replace(address=rest) if rest else record


def missing_unit(record: Record, rng: Random) -> Record:
    """No apartment, suite or the like."""
    return _without(record, _UNIT)


def missing_postcode(record: Record, rng: Random) -> Record:
    """No postcode at the end."""
    return _without(record, _POSTCODE)


def missing_city(record: Record, rng: Random) -> Record:
    """No part between the first and the last comma; of two parts, the last is left out."""

    def change(text: str, rng: Random) -> str:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if len(parts) < 2:
            return text
        return ", ".join([parts[0], parts[-1]] if len(parts) > 2 else parts[:1])

    return _in_field(record, "address", rng, change)


def missing_address(record: Record, rng: Random) -> Record:
    """No address."""
    return record._replace(address=None)


def case_and_spaces(record: Record, rng: Random) -> Record:
    """Every field in capitals or small letters, or with spaces too many. No standardised field changes."""

    def change(text: str, rng: Random) -> str:
        spaces = " " * rng.randint(1, 3)
        return rng.choice((text.upper(), text.lower(), spaces + text, text + spaces, text.replace(" ", "  ") + " "))

    for name in Record._fields:
        record = _in_field(record, name, rng, change)
    return record


def accents(record: Record, rng: Random) -> Record:
    """One letter of a name with an accent. No standardised field changes."""

    def change(text: str, rng: Random) -> str:
        places = [place for place, letter in enumerate(text) if letter.lower() in ACCENTED]
        if not places:
            return text
        place = rng.choice(places)
        return text[:place] + _like(ACCENTED[text[place].lower()], text[place]) + text[place + 1 :]

    return _in_some_name(record, rng, change)


CORRUPTIONS: dict[Corruption, Callable[[Record, Random], Record]] = {
    Corruption.KEYBOARD_TYPO: keyboard_typo,
    Corruption.OCR_CONFUSION: ocr_confusion,
    Corruption.TRANSPOSED_LETTERS: transposed_letters,
    Corruption.DROPPED_LETTER: dropped_letter,
    Corruption.DOUBLED_LETTER: doubled_letter,
    Corruption.PHONETIC_SPELLING: phonetic_spelling,
    Corruption.NICKNAME: nickname,
    Corruption.INITIAL: initial,
    Corruption.SWAPPED_NAMES: swapped_names,
    Corruption.MARRIED: married,
    Corruption.DOUBLE_BARRELLED: double_barrelled,
    Corruption.MISSING_FIRST_NAME: missing_first_name,
    Corruption.MOVED: moved,
    Corruption.ABBREVIATED_ADDRESS: abbreviated_address,
    Corruption.REORDERED_ADDRESS: reordered_address,
    Corruption.MISSING_UNIT: missing_unit,
    Corruption.MISSING_POSTCODE: missing_postcode,
    Corruption.MISSING_CITY: missing_city,
    Corruption.MISSING_ADDRESS: missing_address,
    Corruption.CASE_AND_SPACES: case_and_spaces,
    Corruption.ACCENTS: accents,
}
"""The function of each kind."""

FREQUENCIES: dict[Corruption, float] = {
    Corruption.KEYBOARD_TYPO: 10,
    Corruption.OCR_CONFUSION: 4,
    Corruption.TRANSPOSED_LETTERS: 6,
    Corruption.DROPPED_LETTER: 8,
    Corruption.DOUBLED_LETTER: 4,
    Corruption.PHONETIC_SPELLING: 6,
    Corruption.NICKNAME: 6,
    Corruption.INITIAL: 3,
    Corruption.SWAPPED_NAMES: 3,
    Corruption.MARRIED: 1,
    Corruption.DOUBLE_BARRELLED: 1,
    Corruption.MISSING_FIRST_NAME: 0.5,
    Corruption.MOVED: 2,
    Corruption.ABBREVIATED_ADDRESS: 12,
    Corruption.REORDERED_ADDRESS: 3,
    Corruption.MISSING_UNIT: 5,
    Corruption.MISSING_POSTCODE: 5,
    Corruption.MISSING_CITY: 3,
    Corruption.MISSING_ADDRESS: 1,
    Corruption.CASE_AND_SPACES: 10,
    Corruption.ACCENTS: 3,
}
"""How often each kind is drawn, relative to the others: estimates, not measured on anybody's data."""


def corrupt(
    record: Record,
    rng: Random,
    kinds: Sequence[Corruption] = tuple(Corruption),
    errors: int | None = None,
) -> tuple[Record, list[Corruption]]:
    """`record` with errors, and the kinds of those that changed it, in the order they were made.

    Args:
        record: the raw record.
        rng: all the chance.
        kinds: the kinds to draw from, by their `FREQUENCIES`, each at most once.
        errors: how many to make; by default 1 (in 60 %), 2 (30 %) or 3 (10 %). Fewer where fewer apply.

    One of the two names is always left if one was there. No error comes after the one that would undo the
    record: where the names were replaced, the address stays, and the other way round.
    """
    wanted = rng.choices((1, 2, 3), weights=(6, 3, 1))[0] if errors is None else errors
    original, left = record, [kind for kind in Corruption if kind in set(kinds)]
    made: list[Corruption] = []
    while left and len(made) < wanted:
        (kind,) = rng.choices(left, weights=[FREQUENCIES[kind] for kind in left])
        left.remove(kind)
        changed = CORRUPTIONS[kind](record, rng)
        # An error can undo the one before it, as when a dropped letter is doubled again.
        if changed in (record, original) or not (changed.first_name or changed.last_name):
            continue
        record = changed
        made.append(kind)
        if kind in _UNLINKING:
            left = [other for other in left if other not in _UNLINKING]
    return record, made


# Each of these takes away something that a person is known by. Two of them would leave a stranger.
_UNLINKING = frozenset(
    {
        Corruption.MARRIED,
        Corruption.MOVED,
        Corruption.MISSING_ADDRESS,
        Corruption.MISSING_FIRST_NAME,
        Corruption.INITIAL,
    }
)
