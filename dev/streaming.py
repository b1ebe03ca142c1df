"""Records whose people are known, loaded as a stream of batches into a real table: who is in it at the end?

Batches go through what the tasks of the DAG do, on a real Postgres. A reviewer who always tells the truth may answer
all open questions after each batch.
"""

import logging
import os
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from launch import environment, people_db_connection
from postgres import Server

REVIEWER = "a true reviewer"


_CONNECTION = "AIRFLOW_CONN_PEOPLE_DB"


class Known(NamedTuple):
    """Records (raw `first_name`, `last_name`, `address`), and who each of them is."""

    records: pa.Table
    person: Sequence[int]


@dataclass(frozen=True)
class Outcome:
    """What a stream has left behind.

    Attributes:
        records: that were loaded.
        true: people among them.
        people: rows of the table.
        twice: those who have more than one row.
        wrong: records that count as somebody whose first record is another person's.
        lost: people of whom there is neither a row, nor a record in review or in quarantine.
        review: records that are in review at the end.
        questions: that were answered.
    """

    records: int
    true: int
    people: int
    twice: frozenset[int]
    wrong: int
    lost: int
    review: int
    questions: int


@contextmanager
def own_server() -> Iterator[Server]:
    """A server for streams alone. Airflow must not be imported yet: it reads its settings then."""
    with tempfile.TemporaryDirectory(prefix="dedupe-people-") as folder:
        os.environ.update(environment(Path(folder)))
        server = Server(Path(folder) / "postgres")
        with server.use():
            yield server
        server.remove()


@contextmanager
def _new_people_db(server: Server) -> Iterator[None]:
    """A new, empty database behind connection ``people_db`` of this process, whatever stood there before."""
    name, before = f"stream_{uuid.uuid4().hex}", os.environ.get(_CONNECTION)
    server.create_database(name)
    os.environ[_CONNECTION] = people_db_connection(server.socket_folder, name)
    try:
        yield
    finally:
        os.environ.pop(_CONNECTION)
        os.environ.update({_CONNECTION: before} if before is not None else {})
        server.psql("postgres", "-qc", f"DROP DATABASE {name} WITH (FORCE)")


def stream(server: Server, known: Known, order: Sequence[int], batches: int, *, reviewed: bool) -> Outcome:
    """Load records in batches of about the same size into a people database of their own.

    Args:
        server: where that database is made.
        known: the records.
        order: in which their rows come.
        batches: how many.
        reviewed: whether all open questions are answered truly after each batch.
    """
    # Each batch tells of itself in several lines.
    logging.getLogger("common.pipeline").setLevel(logging.WARNING)
    who = {_key(row): int(number) for row, number in enumerate(known.person)}
    with _new_people_db(server):
        answered = 0
        for number, rows in enumerate(np.array_split(np.array(order), batches)):
            if len(rows):
                _load(known.records.take(pa.array(rows)), [_key(row) for row in rows], f"batch {number}")
            answered += _answer_truly(who) if reviewed else 0
        return _outcome(who, answered)


def hang_together(known: Known) -> set[int]:
    """The people whose records all come near each other: those who need not be there twice in any order."""
    from common.linkage.batch import batch_pairs
    from common.linkage.model import STARTING_MODEL
    from common.linkage.standardise import standardise

    rows, nothing = len(known.records), pa.nulls(len(known.records), pa.string())
    keys = pa.array(map(_key, range(rows)), pa.string())
    batch = standardise(known.records.append_column("record_key", keys)).append_column("quarantine_reason", nothing)
    pairs = batch_pairs(batch, batch.slice(0, 0), STARTING_MODEL, with_batch=True)
    sides = [[int(key) for key in pairs[name].to_pylist()] for name in ("record_key", "other_record_key")]
    alike = Counter(
        known.person[one] for one, other in zip(*sides, strict=True) if known.person[one] == known.person[other]
    )
    records = Counter(known.person)
    return {person for person, count in records.items() if alike[person] == count * (count - 1) // 2}


def _key(row: int) -> str:
    return f"{row:06}"


def _load(records: pa.Table, keys: Sequence[str], run_id: str) -> None:
    """One batch, as the tasks load it."""
    from common import people_db, pipeline
    from common.linkage.model import STARTING_MODEL

    model, missing = STARTING_MODEL.to_dict(), pa.nulls(len(records), pa.string())
    columns = {"record_key": pa.array(keys, pa.string()), "source_key": missing}
    columns |= {name: records[name] for name in ("first_name", "last_name", "address")}
    metadata = {"source": run_id, "system": "default", "people_before": "0"}
    batch = pipeline.standardise_batch(pa.table({**columns, "problem": missing, "raw": missing}, metadata=metadata))
    shards = pipeline.plan_shards(batch)
    pairs = pipeline.compare_all(batch, model, shards, run_id)
    decisions = pipeline.decide_batch(batch, model, pairs)
    described = people_db.Batch(run_id, run_id, run_id, "default", people_before=0)
    pipeline.load_decided(described, batch, STARTING_MODEL, pa.concat_tables(pairs), decisions, shards)


def _answer_truly(who: dict[str, int]) -> int:
    """Answer all open questions; returns how many there were.

    Records of one question may be several people's: those who are not the answer's are judged one by one after it.
    Where a question shows two rows of the record's person, the reviewer says at last that the later is the earlier one.
    """
    questions: dict[int, list[tuple[str, str]]] = {}
    for question_id, batch_id, key in _select(
        "SELECT question_id, batch_id, record_key FROM spellings WHERE question_id IS NOT NULL ORDER BY 1, 3"
    ):
        questions.setdefault(question_id, []).append((batch_id, key))
    shown = _select("SELECT record_key, person_id, runner_up_person_id FROM decisions WHERE decision = 'REVIEW'")
    for waiting in questions.values():
        asked = waiting
        while asked:
            _judge(asked[0], who)
            decided = {key: person for key, person in _select("SELECT record_key, person_id FROM decisions")}
            rows = _rows_of_people(who)
            asked = [record for record in waiting if decided[record[1]] not in rows.get(who[record[1]], [])]
    for key, *people in shown:
        _join([row for row in _rows_of_people(who).get(who[key], []) if row in people])
    return len(questions)


def _join(rows: Sequence[int | None]) -> None:
    """Make the records of the second row spellings of the first; the one it was made of comes last, so that it goes."""
    from common import people_db

    if len(rows) < 2:
        return
    decided = _select("SELECT decision, batch_id, record_key, person_id FROM decisions ORDER BY 1, 2, 3")
    for _, batch_id, record_key, person_id in decided:  # DUPLICATE before NEW, and no question is open
        if person_id == rows[1]:
            with people_db.writing() as connection:
                people_db.judge(connection, batch_id, record_key, rows[0], REVIEWER)


def _judge(record: tuple[str, str], who: dict[str, int]) -> None:
    from common import people_db, review

    known = _rows_of_people(who).get(who[record[1]], [None])
    with people_db.writing() as connection:
        review.judge(connection, people_db.QuestionKey(*record), known[0], REVIEWER)


def _rows_of_people(who: dict[str, int]) -> dict[int, list[int | None]]:
    """The rows of each person, the first one first: a row is the person's whose record was inserted."""
    rows: dict[int, list[int | None]] = {}
    for person_id, key in _select("SELECT person_id, record_key FROM people ORDER BY 1"):
        rows.setdefault(who[key], []).append(person_id)
    return rows


def _select(query: str) -> list[tuple[Any, ...]]:
    from common import people_db

    with people_db.transaction() as connection:
        return connection.execute(query.encode()).fetchall()


def _outcome(who: dict[str, int], questions: int) -> Outcome:
    rows = _rows_of_people(who)
    person_of = {person_id: number for number, ids in rows.items() for person_id in ids}
    decided = _select("SELECT record_key, decision, person_id FROM decisions")
    waiting = {who[key] for key, decision, _ in decided if decision == "REVIEW"}
    waiting |= {who[key] for (key,) in _select("SELECT record_key FROM quarantine")}
    return Outcome(
        records=len(who),
        true=len(set(who.values())),
        people=sum(map(len, rows.values())),
        twice=frozenset(person for person, ids in rows.items() if len(ids) > 1),
        wrong=sum(decision != "REVIEW" and person_of[person_id] != who[key] for key, decision, person_id in decided),
        lost=len(set(who.values()) - set(rows) - waiting),
        review=Counter(decision for _, decision, _ in decided)["REVIEW"],
        questions=questions,
    )
