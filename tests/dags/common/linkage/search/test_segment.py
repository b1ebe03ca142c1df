"""Segments: the table comes back as it was, also from a file, and nobody can change it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from common.linkage.comparison import COLUMNS
from common.linkage.model import STARTING_MODEL
from common.linkage.search import Segment, candidate_pairs
from common.linkage.search.segment import FORMAT, KINDS, Ordered, held_by, some_of

TABLE = pa.table(
    {
        COLUMNS["first_name"]: ["anna", None, "bob", "anna", None, "li"],
        COLUMNS["last_name"]: ["li", "lopez", None, "li", None, "anna"],
        COLUMNS["address"]: ["12 oak st", "elm rd", None, "oak st 12", "7", "9 elm 12"],
    }
)


def arrays(ordered: Ordered) -> list[list[object]]:
    return [np.asarray(array).tolist() for name, array in ordered._asdict().items() if name != "words"]


def test_the_table_comes_back(tmp_path: Path) -> None:
    """Its rows in any order, from a segment just made and from one in a file."""
    made = Segment.of(TABLE)
    made.save(tmp_path / "segment")
    rows = np.array([4, 0, 2, 2, 1, 5, 3])
    for segment in (made, Segment.open(tmp_path / "segment")):
        assert len(segment) == len(TABLE)
        assert segment.records(rows).to_pydict() == TABLE.take(rows).to_pydict()


def test_a_saved_segment_is_the_same(tmp_path: Path) -> None:
    made = Segment.of(TABLE)
    made.save(tmp_path / "segment")
    opened = Segment.open(tmp_path / "segment")
    assert arrays(opened.encoded.by_last) == arrays(made.encoded.by_last)
    assert opened.encoded.numbers.hashes.tolist() == made.encoded.numbers.hashes.tolist()
    assert candidate_pairs(opened, None, STARTING_MODEL, 0.3).equals(candidate_pairs(TABLE, None, STARTING_MODEL, 0.3))


def test_nobody_can_change_a_segment() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Segment.of(TABLE).encoded.first.code[0] = 1


def test_records_stand_in_the_order_of_leaders_kinds_and_followers() -> None:
    """Missing names come last; each name pair has addresses of one kind, and every record is somewhere."""
    segment = Segment.of(TABLE).encoded
    for ordered, leader, follower in (
        (segment.by_first, segment.first, segment.last),
        (segment.by_last, segment.last, segment.first),
    ):
        assert sorted(ordered.rows.tolist()) == list(range(len(TABLE)))
        assert ordered.place[ordered.rows].tolist() == list(range(len(TABLE)))
        order = list(zip(ordered.leader.tolist(), ordered.kind.tolist(), ordered.follower.tolist(), strict=True))
        assert order == sorted(order)
        for place, row in enumerate(ordered.rows):
            pair = ordered.name_pair[place]
            assert ordered.record_start[pair] <= place < ordered.record_start[pair + 1]
            assert (ordered.leader[pair], ordered.follower[pair]) == (leader.code[row], follower.code[row])
            group = len(KINDS) * ordered.leader[pair] + ordered.kind[pair]
            assert ordered.group[group] <= pair < ordered.group[group + 1]


def test_some_records_keep_their_names_and_addresses() -> None:
    ordered = Segment.of(TABLE).encoded.by_first
    some = some_of(ordered, np.array([0, 2, 5]))
    assert some.rows.tolist() == ordered.rows[[0, 2, 5]].tolist()
    pairs = ordered.name_pair[[0, 2, 5]]
    assert some.name_pair.tolist() == np.repeat(np.arange(len(some.leader)), np.diff(some.record_start)).tolist()
    assert some.leader[some.name_pair].tolist() == ordered.leader[pairs].tolist()
    assert some.kind[some.name_pair].tolist() == ordered.kind[pairs].tolist()
    assert some.address.reshape(3, -1).tolist() == ordered.address.reshape(6, -1)[[0, 2, 5]].tolist()


def test_numbers_of_some_records_are_theirs_alone() -> None:
    numbers = Segment.of(TABLE).encoded.numbers
    rows = np.array([5, 0], np.int32)
    some = held_by(numbers, rows)
    for number in range(len(numbers.hashes)):
        theirs = some.holder[some.holder_start[number] : some.holder_start[number + 1]].tolist()
        everybody = numbers.holder[numbers.holder_start[number] : numbers.holder_start[number + 1]]
        assert theirs == [row for row in everybody.tolist() if row in (0, 5)]
    assert len(some.holder) == sum(numbers.start[rows + 1] - numbers.start[rows])


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="holds no segment"):
        Segment.open(path)
    schema = pa.schema([("x", pa.int64())], {"format": "dedupe-people segment 0"})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array([1])], schema=schema))
    with pytest.raises(ValueError, match=FORMAT):
        Segment.open(path)


def test_a_segment_without_tokens_does_not_do_for_a_model_that_weighs_them() -> None:
    with pytest.raises(ValueError, match="made without them"):
        candidate_pairs(TABLE, Segment.of(TABLE, with_tokens=False), STARTING_MODEL, 0.3)


def test_a_table_without_any_value_comes_back(tmp_path: Path) -> None:
    """There is no character at all to map into memory."""
    table = pa.table({name: pa.nulls(2, pa.string()) for name in TABLE.column_names})
    Segment.of(table).save(tmp_path / "segment")
    assert Segment.open(tmp_path / "segment").records(np.arange(2)).to_pydict() == table.to_pydict()
