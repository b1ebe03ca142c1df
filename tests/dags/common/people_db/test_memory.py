"""One memory of everybody: the same record again, spellings of a person, questions and answers, split and erase."""

import csv
import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from common import people_db as database
from common import pipeline, upkeep
from common.default_args import PARAMS
from common.errors import PeopleDbError
from common.linkage.corruption import Record, corrupt
from common.linkage.model import STARTING_MODEL
from common.sources import fake_people
from common.standardising import standardise_people
from postgres import Server
from streaming import Known, hang_together, stream

MODEL = STARTING_MODEL.to_dict()

Row = tuple[str | None, str | None, str | None, str | None]
"""Source key, first name, last name, address."""
ANN: Row = (None, "Annabel", "Quimby", "12 Wisteria Street, Springfield, IL 62701")
ANN_TYPO: Row = (None, "Anabel", "Quimby", "12 Wisteria St, Springfeld, IL 62701")
SISTER: Row = (None, "Victoria", "Quimby", "12 Wisteria Street, Springfield, IL 62701")
BOB: Row = (None, "Robert", "Jones", "7 Oak Avenue, Dover, DE 19901")
THIN: Row = (None, "Zed", "Quarry", None)


def load(
    incoming: Path,
    *rows: Row,
    run_id: str = "run",
    system: str = "default",
    meanwhile: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """A file from ingest to load, as the tasks do it; `meanwhile` happens between deciding and loading."""
    path = incoming / f"{run_id} {random.random()}.csv"  # noqa: S311 - its name must not matter
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("source_key", "first_name", "last_name", "address"), *rows])
    given = {name: param.value for name, param in PARAMS.items()}
    batch = pipeline.standardise_batch(pipeline.ingest(given | {"source": str(path), "system": system}, run_id))
    shards = pipeline.plan_shards(batch)
    pairs = pipeline.compare_all(batch, MODEL, shards, run_id)
    decisions = pipeline.decide_batch(batch, MODEL, pairs)
    meanwhile()
    return pipeline.load_batch(batch, MODEL, pairs, decisions, shards, run_id)


def execute(dsn: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def decisions_of(dsn: str, run_id: str) -> list[tuple[Any, ...]]:
    """First name, decision, reason and person of a run's records, by first name."""
    query = "SELECT first_name, decision, reason, person_id FROM decisions WHERE run_id = %s ORDER BY 1, record_key"
    return execute(dsn, query, run_id)


def spellings(dsn: str) -> list[tuple[Any, ...]]:
    return execute(dsn, "SELECT first_name_std, person_id, question_id FROM spellings ORDER BY 1, 2, 3, batch_id")


def counts(numbers: dict[str, Any]) -> tuple[int, ...]:
    return tuple(numbers[name] for name in ("received", "quarantined", "duplicates", "review", "inserted"))


# The same record again --------------------------------------------------------------------------------------------


def test_the_same_file_under_another_name_is_the_same_batch(people_db: str, incoming: Path) -> None:
    first = load(incoming, ANN, BOB, run_id="one")
    assert load(incoming, BOB, ANN, run_id="two") == first
    assert execute(people_db, "SELECT count(*) FROM batches") == [(1,)]


def test_the_same_records_in_another_batch_are_their_people_and_their_questions(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, BOB, run_id="one")
    assert counts(load(incoming, SISTER, run_id="two")) == (1, 0, 0, 1, 0)
    (waiting,) = spellings(people_db)
    person_of = dict(execute(people_db, "SELECT first_name, person_id FROM people"))
    assert counts(load(incoming, ANN, BOB, SISTER, run_id="three")) == (3, 0, 2, 1, 0)
    assert decisions_of(people_db, "three") == [
        *((name, "DUPLICATE", "KNOWN_RECORD", person_of[name]) for name in ("Annabel", "Robert")),
        ("Victoria", "REVIEW", "KNOWN_RECORD", None),
    ]
    assert spellings(people_db) == [waiting, waiting], "one question, two records"


def test_a_person_who_is_deleted_is_nobody_known_any_more(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, BOB, run_id="one")
    execute(people_db, "DELETE FROM people WHERE last_name = 'Quimby'")
    assert counts(load(incoming, ANN, run_id="two")) == (1, 0, 0, 0, 1)


def test_of_whom_little_is_known_is_asked_and_neither_dropped_nor_inserted_again(
    people_db: str, incoming: Path
) -> None:
    load(incoming, THIN, run_id="one")
    load(incoming, THIN, BOB, run_id="two")
    assert decisions_of(people_db, "two")[1] == ("Zed", "REVIEW", "KNOWN_RECORD", 1)
    load(incoming, THIN, ANN, run_id="three")
    assert [question for name, _, question in spellings(people_db) if name == "zed"] == [1, 2]


def test_what_little_is_known_is_enough_where_the_key_agrees(people_db: str, incoming: Path) -> None:
    load(incoming, ("7", *THIN[1:]), run_id="one")
    load(incoming, ("7", *THIN[1:]), BOB, run_id="two")
    assert decisions_of(people_db, "two")[1] == ("Zed", "DUPLICATE", "KNOWN_RECORD", 1)


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        (("7", "Annabel", "Carter", "900 Lakeshore Drive, Reno, NV 89501"), ("DUPLICATE", "SAME_KEY", 1)),  # married
        (("7", "Walter", "Fitch", "900 Lakeshore Drive, Reno, NV 89501"), ("REVIEW", "SAME_KEY", 1)),
    ],
)
def test_a_key_of_the_sender_names_a_person_for_good(
    people_db: str, incoming: Path, again: Row, expected: tuple[Any, ...]
) -> None:
    load(incoming, ("7", *ANN[1:]), run_id="one")
    load(incoming, again, run_id="two")
    assert decisions_of(people_db, "two")[0][1:] == expected
    load(incoming, again, run_id="other system", system="another")
    assert decisions_of(people_db, "other system")[0][2] != "SAME_KEY"


def test_two_thousand_equal_rows_are_compared_once_and_all_counted(people_db: str, incoming: Path) -> None:
    assert counts(load(incoming, *[ANN] * 2_000, BOB)) == (2_001, 0, 1_999, 0, 2)
    assert execute(people_db, "SELECT count(*) FROM decisions") == [(2_001,)]
    assert execute(people_db, "SELECT reason, count(*) FROM decisions WHERE decision = 'DUPLICATE' GROUP BY 1") == [
        ("WITHIN_BATCH", 1_999)
    ]
    assert spellings(people_db) == [], "no other spelling"


def test_placeholders_go_to_quarantine_and_all_others_are_loaded(
    people_db: str, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty people called Test Test in one street are more pairs than the budget allows."""
    monkeypatch.setattr(pipeline, "MAX_CANDIDATES", 40)
    monkeypatch.setattr(pipeline, "MAX_CANDIDATE_PAIRS", 500)
    tests: list[Row] = [(None, "Test", "Test", f"{number} Main Street, Troy, OH 45373") for number in range(60)]
    numbers = load(incoming, ANN, *tests, ANN_TYPO, BOB, run_id="one")
    assert counts(numbers) == (63, 60, 1, 0, 2)
    assert database.quarantine_counts(numbers["batch_id"]) == {"TOO_COMMON": 60}
    query = "SELECT raw->>'first_name', raw->>'address' FROM quarantine ORDER BY raw->>'address' LIMIT 1"
    assert execute(people_db, query) == [("Test", "0 Main Street, Troy, OH 45373")]
    assert load(incoming, *tests, BOB, ANN_TYPO, ANN, run_id="again") == numbers, "the same batch, in another order"


def test_a_placeholder_that_became_too_common_while_it_was_compared(
    people_db: str, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MAX_CANDIDATES", 4)
    tests: list[Row] = [(None, "Test", "Test", f"{number} Main Street, Troy, OH 45373") for number in range(6)]
    numbers = load(incoming, tests[0], BOB, meanwhile=lambda: insert(people_db, *tests[1:]))
    assert counts(numbers) == (2, 1, 0, 0, 1)


# Spellings --------------------------------------------------------------------------------------------------------


def test_a_spelling_speaks_for_its_person_and_the_decision_names_it(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, run_id="one")
    load(incoming, ANN_TYPO, run_id="two")
    assert spellings(people_db) == [("anabel", 1, None)]
    similar = (None, "Anabel", "Quimby", "12 Wisteria St, Springfeld")
    load(incoming, similar, run_id="three")
    assert decisions_of(people_db, "three") == [("Anabel", "DUPLICATE", "MATCH", 1)]
    via = execute(
        people_db,
        "SELECT s.run_id FROM decisions AS d JOIN decisions AS s "
        "ON (s.batch_id, s.record_key) = (d.via_batch_id, d.via_record_key) WHERE d.run_id = 'three'",
    )
    assert via == [("two",)]


def test_a_later_spelling_alone_is_no_proof(people_db: str, incoming: Path) -> None:
    """A like B, and B like C, but C unlike A: somebody must look."""
    load(incoming, ("7", *ANN[1:]), run_id="one")
    moved = ("7", "Annabel", "Carter", "900 Lakeshore Drive, Reno, NV 89501")
    load(incoming, moved, run_id="two")
    load(incoming, (None, "Anabel", "Carter", "900 Lakeshore Dr, Reno NV 89501"), run_id="three")
    assert decisions_of(people_db, "three") == [("Anabel", "REVIEW", "LATER_SPELLING", 1)]


def test_a_relative_by_any_spelling_is_a_relative(people_db: str, incoming: Path) -> None:
    load(incoming, ("7", *ANN[1:]), run_id="one")
    load(incoming, ("7", "Belle", *ANN[2:]), run_id="two")
    assert decisions_of(people_db, "two") == [("Belle", "DUPLICATE", "SAME_KEY", 1)]
    load(incoming, ANN_TYPO, run_id="three")
    assert decisions_of(people_db, "three") == [("Anabel", "REVIEW", "HOUSEHOLD", 1)]


def test_undoing_a_batch_takes_its_spellings_along_and_leaves_those_of_others(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, run_id="one")
    second = load(incoming, ANN_TYPO, run_id="two")
    load(incoming, ANN_TYPO, BOB, run_id="three")
    assert spellings(people_db) == [("anabel", 1, None)] * 2
    database.undo_batch(second["batch_id"])
    assert spellings(people_db) == [("anabel", 1, None)]


def test_spellings_of_an_older_standardiser_are_standardised_again(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, run_id="one")
    load(incoming, ANN_TYPO, run_id="two")
    before = execute(people_db, "SELECT record_key, content_key FROM decisions ORDER BY 1"), spellings(people_db)
    execute(people_db, "UPDATE decisions SET content_version = 'older', content_key = NULL")
    execute(people_db, "UPDATE spellings SET first_name_std = 'x'")
    with database.transaction() as connection:
        standardise_people(connection)
    after = execute(people_db, "SELECT record_key, content_key FROM decisions ORDER BY 1"), spellings(people_db)
    assert after == before


# Open questions ---------------------------------------------------------------------------------------------------


def test_who_resembles_a_waiting_record_waits_with_it(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, run_id="one")
    load(incoming, SISTER, run_id="two")
    sister_typo = (None, "Viktoria", "Quimby", "12 Wisteria St, Springfeld, IL 62701")
    load(incoming, sister_typo, run_id="three")
    assert decisions_of(people_db, "three")[0][1] == "REVIEW"
    assert {question for _, _, question in spellings(people_db)} == {1}


def test_a_waiting_record_blocks_who_would_be_new(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, run_id="one")
    load(incoming, SISTER, run_id="two")
    execute(people_db, "DELETE FROM people")
    load(incoming, (None, "Viktoria", "Quimby", "12 Wisteria St, Springfeld, IL 62701"), run_id="three")
    assert decisions_of(people_db, "three") == [("Viktoria", "REVIEW", "OPEN_QUESTION", None)]
    assert {question for _, _, question in spellings(people_db)} == {1}


def test_a_question_that_was_asked_while_a_batch_was_compared_counts(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, run_id="one")

    def meanwhile() -> None:
        load(incoming, SISTER, run_id="two")
        execute(people_db, "DELETE FROM people")

    again = (None, "Viktoria", "Quimby", "12 Wisteria St, Springfeld, IL 62701")
    load(incoming, again, run_id="three", meanwhile=meanwhile)
    assert decisions_of(people_db, "three") == [("Viktoria", "REVIEW", "OPEN_QUESTION", None)]


# Filling in what is missing --------------------------------------------------------------------------------------

NO_ADDRESS: Row = ("7", "Annabel", "Quimby", " ")
WITH_ADDRESS: Row = ("7", *ANN[1:])


@pytest.fixture
def filling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "FILL_FROM", 0.95)


def person(dsn: str, person_id: int = 1) -> tuple[Any, ...]:
    query = "SELECT first_name, last_name, address, address_std IS NULL FROM people WHERE person_id = %s"
    return execute(dsn, query, person_id)[0]


def test_nobody_is_filled_in_unless_it_is_wished(people_db: str, incoming: Path) -> None:
    load(incoming, NO_ADDRESS, run_id="one")
    load(incoming, WITH_ADDRESS, run_id="two")
    assert person(people_db)[2:] == (" ", True)


@pytest.mark.usefixtures("filling")
def test_what_is_missing_is_filled_in_once_and_taken_back_with_its_batch(people_db: str, incoming: Path) -> None:
    load(incoming, NO_ADDRESS, run_id="one")
    before = person(people_db)
    for _ in range(2):
        numbers = load(incoming, WITH_ADDRESS, ("7", "Anabel", "Quimby", None), run_id="two")
        assert person(people_db) == ("Annabel", "Quimby", ANN[3], False)
        assert execute(
            people_db,
            "SELECT f.person_id, f.field, d.run_id, d.address FROM filled AS f "
            "JOIN decisions AS d USING (batch_id, record_key)",
        ) == [(1, "address", "two", ANN[3])]
    load(incoming, ("7", "Annabel", "Quimby", "900 Lakeshore Drive, Reno, NV 89501"), run_id="three")
    assert person(people_db)[2] == ANN[3], "what is there is never overwritten"
    for _ in range(2):
        database.undo_batch(numbers["batch_id"])
        with database.transaction() as connection:
            standardise_people(connection)
        assert person(people_db) == before
        assert execute(people_db, "SELECT count(*) FROM filled") == [(0,)]


@pytest.mark.usefixtures("filling")
@pytest.mark.parametrize(("least", "filled"), [(0.5, True), (0.999, False)])
def test_a_score_has_to_be_high_enough_to_fill(
    people_db: str, incoming: Path, monkeypatch: pytest.MonkeyPatch, least: float, filled: bool
) -> None:
    monkeypatch.setattr(pipeline, "FILL_FROM", least)
    load(incoming, (None, None, *ANN[2:]), run_id="one")
    load(incoming, ANN, run_id="two")
    ((_, decision, _, person_id),) = decisions_of(people_db, "two")
    assert (decision, person_id) == ("DUPLICATE", 1)
    assert person(people_db)[0] == ("Annabel" if filled else None)


@pytest.mark.usefixtures("filling")
def test_what_somebody_has_changed_since_stays_when_a_batch_is_taken_back(people_db: str, incoming: Path) -> None:
    load(incoming, NO_ADDRESS, run_id="one")
    numbers = load(incoming, WITH_ADDRESS, run_id="two")
    execute(people_db, "UPDATE people SET address = '1 New Street'")
    database.undo_batch(numbers["batch_id"])
    assert person(people_db)[2] == "1 New Street"


@pytest.mark.usefixtures("filling")
def test_what_a_record_has_filled_goes_with_it_when_it_is_judged_to_be_another_person(
    people_db: str, incoming: Path
) -> None:
    load(incoming, NO_ADDRESS, run_id="one")
    load(incoming, WITH_ADDRESS, run_id="two")
    ((batch_id, key),) = execute(people_db, "SELECT batch_id, record_key FROM decisions WHERE run_id = 'two'")
    upkeep.judge(batch_id, key, None)
    assert person(people_db)[2:] == (" ", True)
    assert person(people_db, 2)[:3] == ANN[1:]


# Holes in "nobody twice" ------------------------------------------------------------------------------------------


def sweep(run_id: str) -> dict[str, Any]:
    batch = pipeline.standardise_batch(pipeline.ingest({"source": "people"}, run_id))
    shards = pipeline.plan_shards(batch)
    pairs = pipeline.compare_all(batch, MODEL, shards, run_id)
    return pipeline.load_batch(batch, MODEL, pairs, pipeline.decide_batch(batch, MODEL, pairs), shards, run_id)


def insert(dsn: str, *rows: Row) -> None:
    database.is_empty()
    for _, *fields in rows:
        execute(dsn, "INSERT INTO people (first_name, last_name, address) VALUES (%s, %s, %s)", *fields)


def test_a_survivor_who_is_deleted_meanwhile_leaves_the_other_row_to_match(people_db: str, incoming: Path) -> None:
    insert(people_db, ANN, ANN_TYPO)
    sweep("sweep")
    ((survivor,),) = execute(people_db, "SELECT duplicate_of FROM people WHERE duplicate_of IS NOT NULL")

    def meanwhile() -> None:
        execute(people_db, "DELETE FROM people WHERE person_id = %s", survivor)

    load(incoming, (None, "Annabel", "Quimby", "12 Wisteria St, Springfield"), run_id="two", meanwhile=meanwhile)
    ((_, decision, _, person_id),) = decisions_of(people_db, "two")
    assert (decision, person_id) == ("DUPLICATE", 3 - survivor)


def test_a_sweep_meanwhile_leaves_no_decision_at_a_marked_row(people_db: str, incoming: Path) -> None:
    insert(people_db, ANN, ANN_TYPO)
    load(incoming, (None, "Annabel", "Quimby", "12 Wisteria St"), run_id="two", meanwhile=lambda: sweep("sweep"))
    ((survivor,),) = execute(people_db, "SELECT person_id FROM people WHERE duplicate_of IS NULL")
    assert {person for _, _, _, person in decisions_of(people_db, "two")} == {survivor}


def test_a_restored_backup_is_not_compared_again(
    people_db: str, incoming: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into another cluster, whose transactions are numbered from far below; and everything goes on there."""
    load(incoming, ANN, BOB, run_id="one")
    load(incoming, ANN_TYPO, SISTER, run_id="two")
    dump = subprocess.run(
        [postgres._binaries() / "pg_dump", "-d", people_db, "--no-owner"], capture_output=True, text=True, check=True
    ).stdout
    execute(people_db, "DROP SCHEMA dedupe CASCADE")
    restored = subprocess.run(
        [postgres._binaries() / "psql", "-q", "-d", people_db], input=dump, capture_output=True, text=True, check=True
    )
    assert "ERROR" not in restored.stderr
    # Marks of a counter that is far ahead of this one's.
    execute(people_db, "UPDATE people SET changed_xid = '9000000000'")
    execute(people_db, "ALTER TABLE spellings DISABLE TRIGGER ALL; UPDATE spellings SET changed_xid = '9000000000';")
    execute(people_db, "ALTER TABLE spellings ENABLE TRIGGER ALL")
    compared: list[int] = []
    changed_candidates = database.changed_candidates

    def counted(connection: Any, snapshot: str, pairs: pa.Table) -> Any:
        current, stale = changed_candidates(connection, snapshot, pairs)
        compared.append(current.num_rows)
        return current, stale

    monkeypatch.setattr(database, "changed_candidates", counted)
    load(incoming, ANN, (None, "Viktoria", "Quimby", "12 Wisteria St, Springfeld, IL 62701"), run_id="three")
    assert compared == [0]
    assert [row[1] for row in decisions_of(people_db, "three")] == ["DUPLICATE", "REVIEW"]


# Answers ----------------------------------------------------------------------------------------------------------

SISTER_TYPO: Row = (None, "Viktoria", "Quimby", "12 Wisteria St, Springfeld, IL 62701")


@pytest.fixture
def asked(people_db: str, incoming: Path) -> str:
    """Ann is stored, and her sister waits in review twice, in two batches and two spellings."""
    load(incoming, ANN, run_id="one")
    load(incoming, SISTER, run_id="two")
    load(incoming, SISTER_TYPO, run_id="three")
    return people_db


def adds_up(dsn: str) -> bool:
    query = "SELECT bool_and(received = quarantined + duplicates + review + inserted + erased) FROM batches"
    return bool(execute(dsn, query)[0][0])


def test_somebody_new_is_inserted_once_with_all_spellings(asked: str, incoming: Path) -> None:
    for _ in range(2):
        assert upkeep.answer(1, None) == "the records of question 1 are the new person 2"
        assert execute(asked, "SELECT count(*) FROM people") == [(2,)]
        assert all(question is None for _, _, question in spellings(asked))
        assert [person for _, person, _ in spellings(asked)] == [2]
        counted = execute(asked, "SELECT sum(duplicates), sum(review), sum(inserted) FROM batches")
        assert counted == [(1, 0, 2)]
        assert execute(asked, "SELECT person_id, other_id FROM apart") == [(1, 2)]
    load(incoming, SISTER, BOB, run_id="four")
    assert decisions_of(asked, "four")[1][1:] == ("DUPLICATE", "KNOWN_RECORD", 2)


def test_the_records_of_a_question_are_all_somebody_known(asked: str) -> None:
    for _ in range(2):
        assert upkeep.answer(1, 1) == "the records of question 1 are person 1"
        assert execute(asked, "SELECT count(*) FROM people") == [(1,)]
        assert [person for _, person, _ in spellings(asked)] == [1, 1]
        assert execute(asked, "SELECT count(*), bool_and(is_match) FROM judgements WHERE question_id = 1") == [
            (2, True)
        ]
    with pytest.raises(PeopleDbError, match="question 1 is answered: its records are person 1"):
        upkeep.answer(1, None)


def test_somebody_new_is_compared_with_everybody_who_came_meanwhile(asked: str) -> None:
    insert(asked, SISTER)
    with pytest.raises(PeopleDbError, match=r"nothing is stored, others came who are as much alike: person 2 \(0\.9"):
        upkeep.answer(1, None)
    assert execute(asked, "SELECT count(*) FROM people") == [(2,)]
    assert upkeep.answer(1, None, anyway=True).endswith("the new person 3")


@pytest.mark.parametrize("question_id", [0, 2])
def test_a_question_that_nobody_asked_is_one_clear_line(asked: str, question_id: int) -> None:
    with pytest.raises(PeopleDbError, match=f"there is no open question {question_id}"):
        upkeep.answer(question_id, 1)


# Split ------------------------------------------------------------------------------------------------------------


def test_a_record_is_split_off_and_no_sweep_joins_them_again(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, run_id="one")
    load(incoming, ANN_TYPO, run_id="two")
    load(incoming, ANN_TYPO, BOB, run_id="three")
    ((batch_id, key),) = execute(people_db, "SELECT batch_id, record_key FROM decisions WHERE run_id = 'two'")
    assert upkeep.split(1, [], [f"{batch_id}/{key}"]).startswith("person 3 is split off person 1")
    assert {person for name, _, _, person in decisions_of(people_db, "three") if name == "Anabel"} == {3}
    sweep("sweep")
    assert execute(people_db, "SELECT count(*) FROM people WHERE duplicate_of IS NOT NULL") == [(0,)]
    assert adds_up(people_db)


def test_rows_that_a_sweep_joined_are_split(people_db: str) -> None:
    insert(people_db, ANN, ANN_TYPO)
    sweep("one")
    ((marked, survivor),) = execute(people_db, "SELECT person_id, duplicate_of FROM people WHERE duplicate_of > 0")
    upkeep.split(survivor, [marked], [])
    sweep("two")
    assert execute(people_db, "SELECT count(*) FROM people WHERE duplicate_of IS NOT NULL") == [(0,)]


@pytest.mark.parametrize(
    ("rows", "records", "reason"),
    [
        ([], [], "nothing to split off"),
        ([2], [], "not all of these rows are marked"),
        ([], ["none/none"], "not all of these records"),
    ],
)
def test_what_cannot_be_split_is_one_clear_line(
    people_db: str, incoming: Path, rows: list[int], records: list[str], reason: str
) -> None:
    load(incoming, ANN, BOB, run_id="one")
    with pytest.raises(PeopleDbError, match=reason):
        upkeep.split(1, rows, records)


# Erase ------------------------------------------------------------------------------------------------------------


def everywhere(dsn: str) -> str:
    """All rows of all tables, as one text."""
    tables = execute(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'dedupe'")
    query = "SELECT coalesce(jsonb_agg(t), '[]') FROM {} AS t"
    return json.dumps([execute(dsn, query.format(table)) for (table,) in tables])


def test_an_erased_person_leaves_no_trace(
    people_db: str, incoming: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.settings.XCOM_ROOT", str(tmp_path))
    file, other = (tmp_path / "dedupe_people" / run / "ingest" / "t.arrow" for run in ("two", "another"))
    for path in (file, other):
        path.parent.mkdir(parents=True)
        with pa.ipc.new_file(path, pa.schema([])):
            pass
    load(incoming, ("7", *ANN[1:]), BOB, run_id="one")
    load(incoming, ANN_TYPO, SISTER, (None, "", "", "12 Wisteria Street"), run_id="two")
    ((person_id,),) = execute(people_db, "SELECT person_id FROM people WHERE first_name = 'Annabel'")
    keys = execute(people_db, "SELECT batch_id, record_key FROM decisions WHERE first_name = 'Anabel'")
    upkeep.judge(keys[0][0], keys[0][1], None)
    upkeep.judge(keys[0][0], keys[0][1], person_id)
    insert(people_db, (None, "Annabel", "Quimby", "12 Wisteria Street, Springfield IL 62701"))
    sweep("sweep")
    assert "Annabel" in everywhere(people_db)

    said = upkeep.erase(None, "7", keep_out=False)
    assert "rows that say the same: none" in said
    text = everywhere(people_db)
    assert not any(name in text for name in ("Annabel", "annabel", "Anabel", "anabel"))
    assert "Jones" in text
    assert "Victoria" in text, "who is somebody else and waits"
    assert adds_up(people_db)
    assert (file.exists(), other.exists()) == (False, True)
    with pytest.raises(PeopleDbError, match="nobody came under this key"):
        upkeep.erase(None, "7", keep_out=False)


def test_undoing_what_is_left_of_a_batch_works(people_db: str, incoming: Path) -> None:
    numbers = load(incoming, ANN, BOB, run_id="one")
    ((person_id,),) = execute(people_db, "SELECT person_id FROM people WHERE first_name = 'Annabel'")
    upkeep.erase(person_id, keep_out=False)
    report, _ = database.undo_batch(numbers["batch_id"])
    assert (report.inserted, report.erased) == (1, 1)


# Order and split --------------------------------------------------------------------------------------------------


def test_order_and_split_hardly_matter(postgres: Server) -> None:
    """With a reviewer who answers truly after each batch; `make quality` measures it at length, and without one."""
    rng = random.Random("order and split")  # noqa: S311
    people = [Record(*(row[name] for name in Record._fields)) for row in fake_people(300, 5).to_pylist()]
    rows = [corrupt(person, rng)[0] for person in people for _ in range(3)]
    columns = {name: pa.array([row[place] for row in rows], pa.string()) for place, name in enumerate(Record._fields)}
    known = Known(pa.table(columns), [row // 3 for row in range(len(rows))])
    forwards = list(range(len(rows)))
    backwards, mixed = forwards[::-1], rng.sample(forwards, len(forwards))
    runs = [(forwards, 1), (mixed, 2), (mixed, 5), (mixed, 20), (backwards, 20)]
    found = [stream(postgres, known, order, parts, reviewed=True) for order, parts in runs]
    together = hang_together(known)
    assert len(together) > 200
    for outcome in found:
        assert not outcome.twice & together, "nobody is there twice whose records come near each other"
        assert (outcome.wrong, outcome.lost, outcome.review) == (0, 0, 0)
    rows_of_people = [outcome.people for outcome in found]
    assert max(rows_of_people) - min(rows_of_people) <= 0.01 * len(people), rows_of_people
