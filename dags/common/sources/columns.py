"""Which columns of a file are ours: by name, by synonym, or as somebody maps them."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from operator import itemgetter

import jellyfish

from common.errors import SourceError

REQUIRED_COLUMNS = ("first_name", "last_name", "address")
OPTIONAL_COLUMNS = ("source_key",)
COLUMNS = OPTIONAL_COLUMNS + REQUIRED_COLUMNS

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "first_name": (
        *("first", "fname", "given name", "given names", "given", "forename", "forenames", "christian name"),
        *("vorname", "prénom", "prenom", "nombre", "voornaam", "nome"),
    ),
    "last_name": (
        *("last", "lname", "surname", "family name", "family"),
        *("nachname", "familienname", "nom", "nom de famille", "apellido", "apellidos", "achternaam", "cognome"),
    ),
    "address": (
        *("full address", "postal address", "mailing address", "home address", "addr"),
        *("adresse", "anschrift", "dirección", "direccion", "adres", "indirizzo"),
    ),
}
"""Other names of our columns, which are taken where our own name is not there. Case, spaces, hyphens and underscores
do not matter."""

ADDRESS_PARTS: Mapping[str, tuple[str, ...]] = {
    "street": ("street address", "street name", "address 1", "address line 1", "straße", "strasse", "rue", "calle"),
    "house number": ("house no", "street number", "hausnummer"),
    "unit": ("apartment", "apt", "suite", "address 2", "address line 2"),
    "zip": ("zip code", "postcode", "post code", "postal code", "plz", "code postal", "código postal"),
    "city": ("town", "locality", "ort", "stadt", "ville", "ciudad"),
    "state": ("province", "region"),
}
"""Parts of an address and their synonyms. Where a file has no address but a street, those that it has are joined, in
this order."""

# Words of which names of columns are made. A file without a header begins with somebody's name, so an error shows only
# what is made of these words, or is nearly a name that is understood.
_COLUMN_WORDS = frozenset(
    """
    account active addr address age apartment apt at birth birthday born by category cell city client code comment
    comments company contact country county created customer date department description district dob e email external
    family fax first flat floor fname forename full gender given guid house id index initials is job key language last
    line lname mail maiden middle mobile modified name names nationality no note notes nr num number organisation
    organization patient people person phone place postal postcode prefix province record ref reference region role row
    salutation sex source state status street suffix surname telephone time timestamp title town type unit updated user
    uuid vip zip zipcode
    """.split()  # noqa: SIM905 # as a list it would be a page long
)
_SHOWN_COLUMNS = 20
_LOOKED_AT = 200  # columns; a file can have a million

log = logging.getLogger(__name__)


def squeezed(name: str) -> str:
    """A name of a column by which it is known: " First-Name" is "firstname"."""
    return re.sub(r"[\W_]+", "", name).casefold()


_OURS = {squeezed(column): column for column in COLUMNS}
_BY_SYNONYM = {squeezed(other): column for column, others in SYNONYMS.items() for other in others}
_PART = {squeezed(name): part for part, others in ADDRESS_PARTS.items() for name in (part, *others)}

Mapped = tuple[tuple[str, tuple[str, ...]], ...]
"""Columns that somebody has mapped: each of ours with the columns of the file that are joined in it."""


def as_mapped(columns: Mapping[str, str] | None) -> Mapped:
    """What param `columns` says, checked: {"address": "street + zip + city"}.

    Raises:
        SourceError: it names a column that is not ours, or maps one to nothing.
    """
    mapped = []
    for column, text in (columns or {}).items():
        names = tuple(part.strip() for part in text.split("+")) if isinstance(text, str) else ()
        if column not in COLUMNS:
            raise SourceError(f"param columns has a key {str(column)[:50]!r}; its keys are {', '.join(COLUMNS)}")
        if not all(map(squeezed, names)) or not names:
            raise SourceError(
                f"param columns maps {column} to no column: it wants a text such as 'street + zip + city'"
            )
        mapped.append((column, names))
    return tuple(mapped)


Taken = Mapping[str, tuple[int, ...]]
"""Of our columns those that a file has, with the positions of the file's columns that are joined in each."""


def columns_taken(header: Sequence[str], mapped: Mapped = ()) -> Taken:
    """Where our columns stand in `header`.

    Raises:
        SourceError: a column is missing, or two mean the same. It names what looks like a name of a column, and
            nothing else of the file: a file without a header begins with somebody's name.
    """
    taken = positions(tuple(header), mapped)
    check_complete(header, taken)
    named = [name for name in header if name.strip()]
    used = {position for several in taken.values() for position in several}
    ignored = [name for position, name in enumerate(header) if position not in used]
    if len(set(named)) < len(named):
        raise SourceError("it has two columns of the same name")
    if len(taken["address"]) > 1:
        log.info("Joined as address: %s", ", ".join(ascii(header[position][:50]) for position in taken["address"]))
    if ignored:
        log.info("Ignored %d other columns: %s", len(ignored), ", ".join(ascii(name[:50]) for name in ignored[:50]))
    return taken


@lru_cache(64)
def positions(header: tuple[str, ...], mapped: Mapped = (), *, partial: bool = False) -> Taken:
    """Of our columns those that are in `header`, see `columns_taken`.

    Raises:
        SourceError: two columns mean the same, or a column that is mapped is not there and the header not `partial`.
    """
    names = [squeezed(name) for name in header]
    taken: dict[str, tuple[int, ...]] = {}
    for ours, wanted in mapped:
        lacking = [name for name in wanted if squeezed(name) not in names]
        if lacking and not partial:
            raise SourceError(f"param columns names {lacking[0][:50]!r}, which is not in it; {told(header)}")
        if there := tuple(names.index(squeezed(name)) for name in wanted if name not in lacking):
            taken[ours] = there
    for meaning in (_OURS, _BY_SYNONYM):
        found: dict[str, list[int]] = {}
        for position, name in enumerate(names):
            if (column := meaning.get(name)) and column not in taken:
                found.setdefault(column, []).append(position)
        for column, places in found.items():
            if len(places) > 1:
                raise SourceError(f"its column {column} is there twice: say in param columns which one to take")
            taken[column] = tuple(places)
    if "address" not in taken and (parts := _parts(names)):
        taken["address"] = parts
    return taken


def _parts(names: Sequence[str]) -> tuple[int, ...]:
    """The positions of the parts of an address, in their order; none without a street."""
    found: dict[str, int] = {}
    for position, name in enumerate(names):
        if part := _PART.get(name):
            found.setdefault(part, position)
    return tuple(found[part] for part in ADDRESS_PARTS if part in found) if "street" in found else ()


def check_complete(header: Iterable[str], taken: Iterable[str]) -> None:
    """Check that all columns are there that must be.

    Raises:
        SourceError: one is missing; it names the columns of the file, and those that may be meant.
    """
    missing = [column for column in REQUIRED_COLUMNS if column not in taken]
    if not missing:
        return
    header = list(islice(header, _LOOKED_AT))
    near = {column: _nearest(header, column) for column in missing}
    meant = ", ".join(f"{name!r} for {column}" for column, name in near.items() if name)
    raise SourceError(
        f"it lacks the columns {', '.join(missing)}; {told(header)}"
        + (f"; perhaps {meant} is meant" if meant else "")
        + "; param columns maps columns of other names"
    )


def told(header: Iterable[str]) -> str:
    """The columns of a file as an error shows them."""
    header = list(islice(header, _LOOKED_AT))
    shown = [repr(name.strip()[:50]) for name in header if _is_column_name(name)][:_SHOWN_COLUMNS]
    others = len(header) - len(shown)
    if not shown:
        return f"none of its {len(header)} columns has a name that is understood: is there a header?"
    return f"its columns are {', '.join(shown)}" + (f" and {others} more" if others else "")


def _is_column_name(name: str) -> bool:
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    return bool(words) and (
        all(word.casefold() in _COLUMN_WORDS for word in words)
        or squeezed(name) in _PART
        or any(_nearness(name, column) is not None for column in COLUMNS)
    )


def _nearest(header: Iterable[str], column: str) -> str | None:
    """The name in `header` that most likely was to be `column`, if there is one."""
    near = [(nearness, name) for name in header if (nearness := _nearness(name, column)) is not None]
    return min(near)[1].strip()[:50] if near else None


def _nearness(name: str, column: str) -> int | None:
    """How many letters are wrong in a name or synonym of `column`; null if too many for it to be one."""
    text = squeezed(name)[:50]
    known = [squeezed(other) for other in (column, *SYNONYMS.get(column, ()))]
    wrong = [(jellyfish.damerau_levenshtein_distance(text, other), other) for other in known]
    allowed = [distance for distance, other in wrong if distance <= (len(other) >= 6) + (len(other) >= 8)]
    return min(allowed, default=None)


def picker(taken: Taken, width: int) -> Callable[[Sequence[object]], Sequence[object]]:
    """A function that picks the values of `COLUMNS` out of the fields of a row, which are `width` and then a null."""
    places = [taken.get(column, (width,)) for column in COLUMNS]
    if all(len(place) == 1 for place in places):
        return itemgetter(*(position for (position,) in places))
    return lambda fields: [joined([fields[position] for position in place]) for place in places]


def joined(parts: Sequence[object]) -> object:
    """The values of several columns as one; a list or a structure among them comes back itself, which is a problem."""
    if len(parts) == 1:
        return parts[0]
    texts = []
    for part in parts:
        if not isinstance(part, str | None):
            return part
        texts.append((part or "").strip())
    return ", ".join(filter(None, texts)) or None
