"""Raw names and addresses -> the standardised text that everything later compares.

Standardised text holds only ``a-z``, ``0-9`` and single spaces. It is ASCII by construction because DuckDB's
Jaro-Winkler compares bytes: outside ASCII it differs from jellyfish, which defines our scores. It is never
empty: what is empty, or a word for "we do not know", is missing (null).

Standardising is idempotent: applied to its own output it changes nothing.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from importlib.metadata import version

import pyarrow as pa
import pyarrow.compute as pc
from anyascii import anyascii


def _words(text: str, separator: str | None = None) -> frozenset[str]:
    return frozenset(text.split(separator))


STANDARDISED = ("first_name_std", "last_name_std", "address_std", "generation_std")
"""The columns that standardising adds."""

MAX_FIELD_CHARACTERS = 1_000
"""Longest raw text of one field that is looked at, in characters; `validation` quarantines longer ones."""

# Apostrophes are removed, so that O'Brien with any of them and OBrien are one name. This must come before NFKC, which
# would make spaces of some of them.
_APOSTROPHES = dict.fromkeys(map(ord, "'`´‘’‚‛ʹʻʼʽˈ′‵＇"))  # noqa: RUF001

# People write these words where they have nothing to fill in. Null, Na and None are surnames of living people, so they
# mean a missing value in an address only, and not in a name.
_MISSING_NAMES = _words(
    "unknown|not known|not provided|not available|not applicable|not given|no name|noname|no first name|"
    "no last name|name unknown|first name unknown|last name unknown|name withheld",
    "|",
)
_MISSING_ADDRESSES = _words(
    "unknown|not known|not provided|not available|not applicable|not given|none|null|nil|na|nan|n a|tbd|tba|"
    "no address|address unknown|unknown address|no fixed address|no fixed abode|nfa|homeless|same as above",
    "|",
)
# These are told by their punctuation, so they are looked for before it is dropped: "n/a" means that a value is missing,
# but a person may be called N. A.
_MISSING_MARKS = _words("n/a|#n/a|<na>|n.a|n/k|(null)|<null>|[null]|(none)|<none>|\\n", "|")

# Titles before and after a name are taken away as long as something else remains: Dr Dre keeps "dre", Mr T keeps "t".
# Lord, king, judge, major, hon, ma, do, jd and v are not in these lists because they are common names too.
_HONORIFICS = _words(
    "mr mrs ms miss mx dr prof professor sir dame rev reverend capt captain sgt lt mme mlle herr frau sr sra srta"
)
_GENERATIONS = {
    "jr": "jr",
    "junior": "jr",
    "jnr": "jr",
    "sr": "sr",
    "senior": "sr",
    "snr": "sr",
    "ii": "ii",
    "2nd": "ii",
    "iii": "iii",
    "3rd": "iii",
    "iv": "iv",
    "4th": "iv",
}
_DEGREES = _words("phd md dds dvm esq esquire mba cpa obe mbe cbe")
_SUFFIXES = _DEGREES | _GENERATIONS.keys()

# These words are shortened only as a part of a longer name: Saint-Pierre is St. Pierre, but Eva Marie Saint stays.
_NAME_WORDS = {"saint": "st", "sainte": "ste"}

# Addresses are always written in the short form. That leaves more weight to the words that tell addresses apart. It
# also makes one word of the saint and the street in "12 St Mary St", so that nobody has to guess which one is meant.
_ADDRESS_WORDS = {
    long: short
    for short, longs in {
        "1st": "first",
        "2nd": "second",
        "3rd": "third",
        "4th": "fourth",
        "5th": "fifth",
        "6th": "sixth",
        "7th": "seventh",
        "8th": "eighth",
        "9th": "ninth",
        "10th": "tenth",
        "11th": "eleventh",
        "12th": "twelfth",
        "13th": "thirteenth",
        "14th": "fourteenth",
        "15th": "fifteenth",
        "16th": "sixteenth",
        "17th": "seventeenth",
        "18th": "eighteenth",
        "19th": "nineteenth",
        "20th": "twentieth",
        "n": "north",
        "s": "south",
        "e": "east",
        "w": "west",
        "ne": "northeast",
        "nw": "northwest",
        "se": "southeast",
        "sw": "southwest",
        "aly": "alley ally",
        "ave": "avenue av aven avenu avn",
        "bldg": "building",
        "blvd": "boulevard boul blv",
        "brg": "bridge brdge",
        "cir": "circle circ crcl",
        "cres": "crescent cresc",
        "crk": "creek",
        "ct": "court crt",
        "ctr": "center centre cntr",
        "cv": "cove",
        "dept": "department",
        "dr": "drive drv driv",
        "est": "estate",
        "expy": "expressway",
        "ext": "extension",
        "fl": "floor flr",
        "ft": "fort",
        "fwy": "freeway",
        "gdns": "gardens gdn",
        "gln": "glen",
        "grn": "green",
        "grv": "grove",
        "hbr": "harbor harbour",
        "hl": "hill",
        "hls": "hills",
        "hts": "heights",
        "hwy": "highway hiway hway",
        "is": "island",
        "jct": "junction",
        "lk": "lake",
        "lks": "lakes",
        "ln": "lane",
        "mdws": "meadows",
        "mt": "mount",
        "mtn": "mountain",
        "pde": "parade",
        "pk": "park",
        "pkwy": "parkway pky",
        "pl": "place",
        "plz": "plaza",
        "pt": "point",
        "rd": "road",
        "rdg": "ridge",
        "rm": "room",
        "rr": "rural",
        "rte": "route",
        "spg": "spring",
        "spgs": "springs",
        "sq": "square",
        "st": "street str saint",
        "sta": "station",
        "ste": "sainte",
        "ter": "terrace terr",
        "tpke": "turnpike",
        "trl": "trail",
        "vlg": "village",
        "vly": "valley",
        "vw": "view",
        "xing": "crossing",
    }.items()
    for long in longs.split()
}
# These name a part of a building only in front of a number or a letter: "Flat 4", but Flat Rock Rd.
_UNIT_WORDS = _words("apartment apartments apt appt unit flat suite ste #")
_UNIT = "apt"
_NUMBER_WORDS = _words("no nr number")

_WORDS = re.compile(r"[a-z0-9]+")
_WORDS_AND_HASH = re.compile(r"[a-z0-9]+|#")
_DOTTED = re.compile(r"\b(?:[a-z]+\.)+[a-z]*")
_DOTTED_LETTERS = re.compile(r"\b[a-z](?:\.[a-z])+\b")
_PO_BOX = re.compile(r"\bp(?:ost)?[\s.]*o(?:ffice)?[\s.]*box\b")


def _ascii(text: str) -> str:
    """Lower-case ASCII of `text`; punctuation, spaces and control characters may still be in it."""
    text = text.translate(_APOSTROPHES)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        # Transliteration would spell symbols out: an emoji becomes ":grinning:", which is nobody's name.
        text = "".join(" " if unicodedata.category(character).startswith("S") else character for character in text)
        # Transliteration writes apostrophes for some letters.
        text = anyascii(text).translate(_APOSTROPHES)
    return text.lower()


def _joined_titles(text: str) -> str:
    """Dotted titles in one piece (ph.d. -> phd); other dotted letters are initials and stay apart."""

    def join(match: re.Match[str]) -> str:
        word = match[0].replace(".", "")
        return word if word in _DEGREES else match[0]

    return _DOTTED.sub(join, text)


def _capped(words: list[str]) -> list[str]:
    """The leading words that fit into `MAX_FIELD_CHARACTERS`; transliterated text can be longer than raw."""
    room = MAX_FIELD_CHARACTERS + 1
    for position, word in enumerate(words):
        room -= len(word) + 1
        if room < 0:
            return words[:position]
    return words


def standardise_name(text: str | None) -> str | None:
    """A first or last name, standardised; null if missing or longer than `MAX_FIELD_CHARACTERS`.

    First and last names go by the same rules, because they are compared crosswise to find swapped ones.
    """
    if text is None or len(text) > MAX_FIELD_CHARACTERS:
        return None
    text = _ascii(text)
    if text.strip() in _MISSING_MARKS:
        return None
    words = _capped(_WORDS.findall(_joined_titles(text)))
    start, end = 0, len(words)
    while end - start > 1 and words[start] in _HONORIFICS:
        start += 1
    while end - start > 1 and words[end - 1] in _SUFFIXES:
        end -= 1
    words = words[start:end]
    if len(words) > 1:
        words = [_NAME_WORDS.get(word, word) for word in words]
    name = " ".join(words)
    return None if not name or name in _MISSING_NAMES else name


def standardise_address(text: str | None) -> str | None:
    """A one-line or many-line address, standardised; null if missing or longer than `MAX_FIELD_CHARACTERS`."""
    if text is None or len(text) > MAX_FIELD_CHARACTERS:
        return None
    text = _ascii(text)
    if text.strip() in _MISSING_MARKS:
        return None
    text = _DOTTED_LETTERS.sub(lambda match: match[0].replace(".", ""), text)  # N.Y. -> ny
    # The words are read backwards, since what a word means depends on the final form of the word after it.
    words: list[str] = []
    following = ""
    for word in reversed(_WORDS_AND_HASH.findall(_PO_BOX.sub("po box", text))):
        before_number = following[:1].isdigit()
        if word in _UNIT_WORDS and (before_number or len(following) == 1):
            word = _UNIT
        elif word in _UNIT_WORDS and (word == "#" or following == _UNIT):
            continue  # "Apt #4" says it twice
        elif word in _NUMBER_WORDS and before_number:
            continue
        else:
            word = _ADDRESS_WORDS.get(word, word)
        words.append(word)
        following = word
    address = " ".join(_capped(words[::-1]))
    return None if not address or address in _MISSING_ADDRESSES else address


def generation_suffix(name: str | None) -> str | None:
    """Which generation a raw name tells ("jr", "sr", "ii", "iii", "iv"), or null if it tells none.

    Standardised names no longer say it, but it parts a father from his son.
    """
    if name is not None and len(name) <= MAX_FIELD_CHARACTERS:
        words = _WORDS.findall(_joined_titles(_ascii(name)))
        while len(words) > 1 and words[-1] in _SUFFIXES:
            if words[-1] in _GENERATIONS:
                return _GENERATIONS[words[-1]]
            words.pop()
    return None


def _standardised(column: pa.ChunkedArray, rule: Callable[[str | None], str | None]) -> pa.ChunkedArray:
    """`rule` over a string column; each distinct text is worked on once, since names repeat."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    distinct = pa.array([rule(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([distinct.take(encoded.indices)])


def standardise(incoming: pa.Table) -> pa.Table:
    """`incoming` with the columns `STANDARDISED` added (strings); the same rows, the same order."""
    first, last = (_standardised(incoming[name], generation_suffix) for name in ("first_name", "last_name"))
    return (
        incoming.append_column("first_name_std", _standardised(incoming["first_name"], standardise_name))
        .append_column("last_name_std", _standardised(incoming["last_name"], standardise_name))
        .append_column("address_std", _standardised(incoming["address"], standardise_address))
        .append_column("generation_std", pc.coalesce(last, first))
    )


def _rules_version(number: int) -> str:
    """`number`, raised by hand when the code above changes, and a hash of the words and the transliteration."""
    tables: list[object] = [
        MAX_FIELD_CHARACTERS,
        sorted(_APOSTROPHES),
        *map(sorted, (_MISSING_NAMES, _MISSING_ADDRESSES, _MISSING_MARKS, _HONORIFICS, _DEGREES)),
        *map(sorted, (_UNIT_WORDS, _NUMBER_WORDS)),
        *(sorted(table.items()) for table in (_GENERATIONS, _NAME_WORDS, _ADDRESS_WORDS)),
        _UNIT,
        version("anyascii"),
    ]
    return f"{number}-{hashlib.sha256(repr(tables).encode()).hexdigest()[:8]}"


STANDARDISER_VERSION: str = _rules_version(2)
"""Stored beside what was standardised: text of another version must be standardised again to be compared."""
