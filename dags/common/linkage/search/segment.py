# mypy: disable-error-code="no-untyped-def"
"""A table of standardised records, encoded for the search once, and kept: the segment.

Records stand in it twice in order, by first name and by last name, so that whichever leads, the records of one name
are read one after the other: what takes the time is memory, and a permutation would cost up to three times as much.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from common.linkage.comparison import COLUMNS
from common.linkage.search.compiled import SOURCES
from common.linkage.search.text import Texts, ordered_words, prefixes, texts
from common.linkage.search.tokens import Codes, Numbers, Tokens, Words, no_tokens, tokens_of, words_at
from common.linkage.search.values import Dictionary, dictionary

FORMAT = "dedupe-people segment 1"
"""What a saved segment says of itself; another format is refused."""

ENCODER = f"{FORMAT}, {SOURCES}"
"""What encodes: segments of another one need not be the same."""

WITH_NUMBERS, WITHOUT_NUMBERS, WITHOUT_ADDRESS = KINDS = range(3)
"""Kinds of addresses: what is known of a pair of addresses by their kinds alone."""

SIGNATURE_WORDS = 3
"""Words in the signature of an address: room for five occurrences of each character."""

NUMBER_BITS, SHARE, PREFIXES, PLACE, ADDRESS_WORDS = range(SIGNATURE_WORDS, SIGNATURE_WORDS + 5)
"""Places in `Ordered.address`, and how many there are."""

LENGTH = 44
"""Bits of `PLACE` below the length of an address."""


class Names(NamedTuple):
    """A name of every record: the distinct values, and the code of each row; int32."""

    distinct: Dictionary
    code: Codes


class Addresses(NamedTuple):
    """The addresses of all records as written, and with their tokens in alphabetical order, in the same places.

    Attributes:
        data: characters as written, one address behind the other; uint8.
        ordered: the same with ordered tokens.
        start: where each address starts in both, and at last where they end; int64.
        known: false where it is missing.
    """

    data: npt.NDArray[np.uint8]
    ordered: npt.NDArray[np.uint8]
    start: npt.NDArray[np.int64]
    known: npt.NDArray[np.bool_]


class Ordered(NamedTuple):
    """Records in the order of one of their names, the leader; the other name is the follower.

    Leading values -> kinds of addresses -> name pairs -> records. A missing name is a value, the last one. All of this
    order; a place is a position in it.

    Attributes:
        group: where the name pairs of each leading value and each kind start; int64, see `group_of`.
        leader: code of each name pair's leader; int32.
        follower: code of its follower; int32.
        kind: of the addresses of the records of each name pair; int8.
        signature: of each name pair's follower, side by side for speed; uint64. Likewise its prefix, uint32.
        share: of each name pair's follower, what one character is of it, 1 / length; 0 where it is missing.
        record_start: where the records of each name pair start; int64.
        rows: of each record, its row in the table; int32.
        place: of each row, where its record stands here; int32.
        name_pair: of each record; int32.
        address: of each record, `ADDRESS_WORDS` words side by side: three of signature, the bits of its numbers, its
            share as a float, the two prefixes, as written below and with ordered tokens above, and where it begins,
            below its length.
        address_share: the same memory as floats.
        words: the words of these addresses.
    """

    group: npt.NDArray[np.int64]
    leader: Codes
    follower: Codes
    kind: npt.NDArray[np.int8]
    signature: npt.NDArray[np.uint64]
    prefix: npt.NDArray[np.uint32]
    share: npt.NDArray[np.float64]
    record_start: npt.NDArray[np.int64]
    rows: Codes
    place: Codes
    name_pair: Codes
    address: npt.NDArray[np.uint64]
    address_share: npt.NDArray[np.float64]
    words: Words


class Encoded(NamedTuple):
    """All arrays of a segment."""

    first: Names
    last: Names
    addresses: Addresses
    distinct_words: Dictionary
    numbers: Numbers
    by_first: Ordered
    by_last: Ordered


@dataclass(frozen=True)
class Segment:
    """An encoded table, some 400 bytes a record. It is never changed: its arrays are read-only.

    Attributes:
        encoded: the arrays.
        with_tokens: whether words and numbers of addresses are in it; a model that weighs them needs them.
    """

    encoded: Encoded
    with_tokens: bool

    @classmethod
    def of(cls, table: pa.Table, with_tokens: bool = True) -> "Segment":
        """Encode a table with `first_name_std`, `last_name_std`, `address_std`: ASCII text, null is missing.

        Raises:
            ValueError: a value is not ASCII.
        """
        columns = [_whole(table, field) for field in ("first_name", "last_name", "address")]
        with ThreadPoolExecutor(3) as pool:
            names = [pool.submit(dictionary, column) for column in columns[:2]]
            written = pool.submit(texts, columns[2], SIGNATURE_WORDS)
            tokens = pool.submit(tokens_of if with_tokens else _without_tokens, columns[2])
            known = columns[2].is_valid().to_numpy(zero_copy_only=False)
            records = _Records(
                Names(*names[0].result()), Names(*names[1].result()), known, written.result(), tokens.result()
            )
            ordered = records.addresses()
            copies = [pool.submit(records.ordered, *names, ordered) for names in records.leaders()]
            first, last = (copy.result() for copy in copies)
        found = records.tokens
        addresses = Addresses(records.written.data, ordered.data, records.written.start, known)
        arrays = Encoded(records.first, records.last, addresses, found.distinct_words, found.numbers, first, last)
        return cls(_frozen(arrays), with_tokens)

    def __len__(self) -> int:
        """How many records it holds."""
        return len(self.encoded.first.code)

    def longest(self) -> int:
        """Characters of the longest value."""
        values = self.encoded.first.distinct.values, self.encoded.last.distinct.values, self.encoded.addresses
        return max(int(np.diff(texts.start).max(initial=0)) for texts in values)

    def records(self, rows: npt.NDArray[np.integer]) -> pa.Table:
        """Some rows of the table that was encoded, as they were."""
        names = {"first_name": self.encoded.first, "last_name": self.encoded.last}
        columns = {COLUMNS[field]: _taken_names(column, rows) for field, column in names.items()}
        addresses = self.encoded.addresses
        columns[COLUMNS["address"]] = _taken(addresses.data, addresses.start, rows, ~addresses.known[rows])
        return pa.table(columns)

    def save(self, path: Path) -> None:
        """Write it to a file that `open` maps into memory: Arrow IPC, a list for each array.

        A file that is there is replaced at once and never written into: who has mapped it keeps what was there.
        """
        arrays = {name: array for name, array in _arrays("", self.encoded) if not name.endswith(".address_share")}
        about = {"format": FORMAT, "with_tokens": json.dumps(self.with_tokens)}
        columns = [
            pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), pa.array(_storable(array)))
            for array in arrays.values()
        ]
        schema = pa.schema([(name, column.type) for name, column in zip(arrays, columns, strict=True)], about)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            with pa.OSFile(str(unfinished), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                writer.write_batch(pa.record_batch(columns, schema=schema))
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    @classmethod
    def open(cls, path: Path) -> "Segment":
        """Map a saved segment into memory: pages are read when they are first used, and shared between processes.

        Raises:
            ValueError: the file holds no segment, or one of another format.
        """
        try:
            batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path} holds no segment: {error}") from None
        about = {key.decode(): value.decode() for key, value in (batch.schema.metadata or {}).items()}
        if about.get("format") != FORMAT:
            raise ValueError(f"{path} holds no {FORMAT}; encode the table again")
        arrays = {name: _stored(batch[name].values) for name in batch.schema.names}
        return cls(_frozen(_filled("", Encoded, arrays)), json.loads(about["with_tokens"]))


def group_of(leader: int, kind: int) -> int:
    """The place in `Ordered.group` of a leading value and a kind of addresses; the next place is where they end."""
    return len(KINDS) * leader + kind


class _Records(NamedTuple):
    """Encoded columns of a table in the order of its rows, before their ordered copies are made."""

    first: Names
    last: Names
    known: npt.NDArray[np.bool_]
    written: Texts
    tokens: Tokens

    def leaders(self) -> tuple[tuple[Names, Names], tuple[Names, Names]]:
        """The leader and the follower of both copies."""
        return (self.first, self.last), (self.last, self.first)

    def addresses(self) -> Texts:
        """The addresses with their tokens in alphabetical order."""
        data = ordered_words(self.written.data, self.written.start)
        return self.written._replace(data=data, prefix=prefixes(data, self.written.start))

    def kinds(self) -> npt.NDArray[np.int64]:
        """The kind of address of each row; without tokens numbers do not count."""
        has_numbers = np.diff(self.tokens.numbers.start) > 0
        return np.where(~self.known, WITHOUT_ADDRESS, np.where(has_numbers, WITH_NUMBERS, WITHOUT_NUMBERS))

    def ordered(self, leader: Names, follower: Names, ordered: Texts) -> Ordered:
        """The records in the order of a name, see `Ordered`."""
        leaders, followers = leader.distinct.missing + 1, follower.distinct.missing + 1
        group = leader.code * np.int64(len(KINDS)) + self.kinds()
        key = group * followers + follower.code
        rows = np.argsort(key)
        key = key[rows]
        begins = np.flatnonzero(np.diff(key, prepend=-1))
        group, follow = np.divmod(key[begins], followers)
        values = follower.distinct.values
        place = np.empty(len(rows), np.int32)
        place[rows] = np.arange(len(rows))
        record_start = np.append(begins, len(rows))
        address = self.address_words(rows, ordered)
        return Ordered(
            group=np.searchsorted(group, np.arange(len(KINDS) * leaders + 1)),
            leader=(group // len(KINDS)).astype(np.int32),
            follower=follow.astype(np.int32),
            kind=(group % len(KINDS)).astype(np.int8),
            signature=np.append(values.signature, np.uint64(0))[follow],
            prefix=np.append(values.prefix, np.uint32(0))[follow],
            share=np.append(1 / np.maximum(np.diff(values.start), 1), 0)[follow],
            record_start=record_start,
            rows=rows.astype(np.int32),
            place=place,
            name_pair=np.repeat(np.arange(len(begins), dtype=np.int32), np.diff(record_start)),
            address=address,
            address_share=address.view(np.float64),
            words=words_at(self.tokens.words, rows),
        )

    def address_words(self, rows: npt.NDArray[np.int64], ordered: Texts) -> npt.NDArray[np.uint64]:
        """`Ordered.address` of these rows."""
        written, lengths = self.written, np.diff(self.written.start)[rows]
        address = np.empty((len(rows), ADDRESS_WORDS), np.uint64)
        address[:, :SIGNATURE_WORDS] = written.signature.reshape(-1, SIGNATURE_WORDS)[rows]
        address[:, NUMBER_BITS] = self.tokens.numbers.bits[rows]
        address[:, SHARE] = (1 / np.maximum(lengths, 1)).view(np.uint64)
        address[:, PREFIXES] = written.prefix[rows] | (ordered.prefix[rows].astype(np.uint64) << np.uint64(32))
        address[:, PLACE] = written.start[rows].astype(np.uint64) | (lengths.astype(np.uint64) << np.uint64(LENGTH))
        return address.ravel()


def some_of(ordered: Ordered, places: npt.NDArray[np.int64]) -> Ordered:
    """A few records of an order, for the left side of a join; `places` are ascending.

    `group` and `place`, which only the right side needs, stay those of the whole.
    """
    pairs, count = np.unique(ordered.name_pair[places], return_counts=True)
    address = ordered.address.reshape(-1, ADDRESS_WORDS)[places].ravel()
    some = ordered._replace(
        leader=ordered.leader[pairs],
        follower=ordered.follower[pairs],
        kind=ordered.kind[pairs],
        signature=ordered.signature[pairs],
        prefix=ordered.prefix[pairs],
        share=ordered.share[pairs],
        record_start=np.append(0, np.cumsum(count)),
        rows=ordered.rows[places],
        name_pair=np.repeat(np.arange(len(pairs), dtype=np.int32), count),
        address=address,
        address_share=address.view(np.float64),
        words=words_at(ordered.words, places),
    )
    result: Ordered = _frozen(some)
    return result


def held_by(numbers: Numbers, rows: Codes) -> Numbers:
    """The numbers of a table as if these rows alone had any, for the left side of a join."""
    spans = [np.arange(numbers.start[row], numbers.start[row + 1]) for row in rows]
    code, row = numbers.code[np.concatenate(spans)], np.repeat(rows, list(map(len, spans)))
    order = np.lexsort((row, code))
    start = np.searchsorted(code[order], np.arange(len(numbers.hashes) + 1))
    result: Numbers = _frozen(numbers._replace(holder_start=start, holder=row[order]))
    return result


def _whole(table: pa.Table, field: str) -> pa.Array:
    chunks = table[COLUMNS[field]].cast(pa.large_string()).chunks
    return pa.concat_arrays([pa.nulls(0, pa.large_string()), *chunks])


def _without_tokens(addresses: pa.Array) -> Tokens:
    return no_tokens(len(addresses))


def _taken(
    data: npt.NDArray[np.uint8],
    start: npt.NDArray[np.int64],
    places: npt.NDArray[np.integer],
    missing: npt.NDArray[np.bool_],
) -> pa.Array:
    """The values at some places as an Arrow array, null where they are missing; `data` and `start` as of `Texts`."""
    characters = pa.py_buffer(data if len(data) else np.zeros(1, np.uint8))  # Arrow wants an address
    values = pa.LargeStringArray.from_buffers(len(start) - 1, pa.py_buffer(start), characters)
    return values.take(pa.array(places, mask=missing))


def _taken_names(names: Names, rows: npt.NDArray[np.integer]) -> pa.Array:
    values, code = names.distinct.values, names.code[rows]
    return _taken(values.data, values.start, code, code == names.distinct.missing)


def _arrays(name: str, arrays: Any) -> list[tuple[str, npt.NDArray[Any]]]:
    """The arrays of nested named tuples, by their paths."""
    if isinstance(arrays, np.ndarray):
        return [(name, arrays)]
    return [pair for field in arrays._fields for pair in _arrays(f"{name}.{field}", getattr(arrays, field))]


def _filled(name: str, kind: Any, arrays: dict[str, npt.NDArray[Any]]) -> Any:
    """Nested named tuples of a type, with arrays by their paths."""
    if not hasattr(kind, "_fields"):
        if name.endswith(".address_share"):
            return arrays[name.removesuffix("_share")].view(np.float64)
        return arrays[name].view(np.bool_) if name.endswith(".known") else arrays[name]
    return kind(*(_filled(f"{name}.{field}", hint, arrays) for field, hint in get_type_hints(kind).items()))


def _frozen(arrays: Any) -> Any:
    """The same nested named tuples, with their arrays read-only."""
    if not isinstance(arrays, np.ndarray):
        return type(arrays)(*map(_frozen, arrays))
    view = np.ascontiguousarray(arrays).view()
    view.flags.writeable = False
    return view


def _storable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.view(np.uint8) if array.dtype == np.bool_ else array


def _stored(values: pa.Array) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = values.to_numpy(zero_copy_only=True)
    return array
