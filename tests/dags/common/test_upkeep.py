"""Undo, judgements and pruning, by the command: what they change, what they refuse, and twice."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from common import people_db, pipeline, upkeep
from common.arrow_xcom import ArrowXCom
from common.linkage.batch import batch_pairs
from common.linkage.model import STARTING_MODEL
from common.linkage.standardise import standardise
from common.linkage.validation import add_quarantine_reason
from common.run_report import RunReport
from launch import server_of

MODEL = STARTING_MODEL
ANN = ("ann", "Ann", "Smith", "12 Main Street, Springfield")
ANN_TYPO = ("ann typo", "Anne", "Smith", "12 Main St, Springfeld")
BOB = ("bob", "Bob", "Jones", "7 Oak Avenue, Dover")
EVE = ("eve", "Evelyn", "Underwood", "3 Hill Rd, Troy")
NOBODY = ("nobody", None, " ", "1 Nowhere Lane")


def load(batch_id: str, *rows: tuple[str | None, ...]) -> RunReport:
    """A batch from plan to load."""
    names = ("record_key", "first_name", "last_name", "address")
    columns = {name: pa.array(column, pa.string()) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    columns |= {name: pa.nulls(len(rows), pa.string()) for name in ("source_key", "problem", "raw")}
    batch = add_quarantine_reason(standardise(pa.table(columns, metadata={"source": "s", "system": "s"})))
    shards = pipeline.plan_shards(batch)
    pairs = [batch_pairs(batch, people_db.read_people(s), MODEL, with_batch=s["with_batch"]) for s in shards]
    pairs_of_all = pa.concat_tables(pairs)
    decisions = pipeline.decide_batch(batch, MODEL.to_dict(), pairs)
    described = people_db.Batch(batch_id, f"run of {batch_id}", "s", "s", people_before=0)
    return pipeline.load_decided(described, batch, MODEL, pairs_of_all, decisions, shards)


def execute(dsn: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def stored(dsn: str, *tables: str) -> dict[str, list[Any]]:
    """All rows, but for the times."""
    times = "ARRAY['inserted_at', 'loaded_at', 'changed_xid', 'judged_at', 'compared_with', 'compared_by']"
    query = f"SELECT to_jsonb(t) - {times} FROM {{}} AS t ORDER BY 1"  # noqa: S608 - fixed text
    tables = tables or ("people", "batches", "decisions", "quarantine", "undone_batches", "judgements")
    return {table: [row for (row,) in execute(dsn, query.format(table))] for table in tables}


def numbers(dsn: str, batch_id: str) -> tuple[int, ...]:
    """Received, quarantined, duplicates, review, inserted."""
    query = "SELECT received, quarantined, duplicates, review, inserted FROM batches WHERE batch_id = %s"
    return execute(dsn, query, batch_id)[0]


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(people_db: str, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command; gives its exit code and what it says."""

    def run(*args: str) -> tuple[int, str]:
        capsys.readouterr()
        code = upkeep.main(args)
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


# Undo ------------------------------------------------------------------------------------------------------------


def test_a_batch_can_be_taken_back_and_loaded_again(people_db: str, command: Command) -> None:
    load("batch 1", BOB)
    before = stored(people_db)
    report = load("batch 2", ANN, ANN_TYPO, EVE, NOBODY)
    loaded = stored(people_db)

    code, said = command("undo", "batch 2")
    assert code == 0
    assert str(report) in said
    after = stored(people_db)
    (undone,) = after.pop("undone_batches")
    assert after.items() <= before.items()
    assert (undone["batch_id"], undone["inserted"], undone["lost_their_person"]) == ("batch 2", 2, {})
    assert undone["undone_by"]

    assert load("batch 2", ANN, ANN_TYPO, EVE, NOBODY) == report
    again = stored(people_db)
    assert again.pop("undone_batches") == [undone]
    assert again.items() <= loaded.items()
    assert command("undo", "batch 2")[0] == 0
    assert len(stored(people_db)["undone_batches"]) == 2


def test_undoing_twice_is_undoing_once(people_db: str, command: Command) -> None:
    load("batch 1", ANN)
    first = command("undo", "batch 1")
    after = stored(people_db)
    assert command("undo", "batch 1") == first
    assert stored(people_db) == after


def test_a_batch_that_others_lean_on_stays(people_db: str, command: Command) -> None:
    load("batch 1", ANN, BOB)
    load("batch 2", ANN_TYPO, EVE)
    load("batch 3", ("ann 3", *ANN_TYPO[1:]), ("bob 3", *BOB[1:]))
    before = stored(people_db)
    code, said = command("undo", "batch 1")
    assert code == 1
    assert "batch 2 (1), batch 3 (2)" in said
    assert stored(people_db) == before

    code, said = command("undo", "batch 1", "--force")
    assert code == 0
    assert "1 decisions of batch batch 2 have lost their person" in said
    after = stored(people_db)
    assert [person["first_name"] for person in after["people"]] == ["Evelyn"]
    lost = [row["record_key"] for row in after["decisions"] if row["person_id"] is None]
    assert sorted(lost) == ["ann 3", "ann typo", "bob 3"]
    assert after["undone_batches"][0]["lost_their_person"] == {"batch 2": 1, "batch 3": 2}
    assert command("undo", "batch 1", "--force") == (code, said)
    assert command("undo", "batch 3")[0] == 0, "nobody leans on it"


def test_an_unknown_batch_is_one_clear_line(people_db: str, command: Command) -> None:
    assert command("undo", "none") == (1, "there is no batch none\n")


def test_people_whom_another_table_needs_stay(people_db: str, command: Command) -> None:
    load("batch 1", ANN)
    execute(people_db, "CREATE TABLE orders (person_id bigint REFERENCES people)")
    execute(people_db, "INSERT INTO orders VALUES (1)")
    before = stored(people_db)
    code, said = command("undo", "batch 1")
    assert code == 1
    assert "orders" in said
    assert "Smith" not in said
    assert stored(people_db) == before


# Judgements ------------------------------------------------------------------------------------------------------


def decision(dsn: str, key: str) -> dict[str, Any]:
    (row,) = execute(dsn, "SELECT to_jsonb(d) FROM decisions AS d WHERE record_key = %s", key)
    return dict(row[0])


def test_a_duplicate_is_judged_to_be_new(people_db: str, command: Command) -> None:
    load("batch 1", ANN)
    load("batch 2", ANN_TYPO, EVE, NOBODY)
    assert numbers(people_db, "batch 2") == (3, 1, 1, 0, 1)
    for _ in range(2):
        assert command("judge", "batch 2", "ann typo", "new")[0] == 0
        assert numbers(people_db, "batch 2") == (3, 1, 0, 0, 2)
        judged = decision(people_db, "ann typo")
        assert (judged["decision"], judged["reason"]) == ("NEW", "JUDGED")
        person = next(row for row in stored(people_db)["people"] if row["person_id"] == judged["person_id"])
        assert (person["first_name"], person["last_name"], person["address"]) == ANN_TYPO[1:]
        assert (person["record_key"], person["batch_id"]) == ("ann typo", "batch 2")
        assert person["first_name_std"] == "anne"
        (judgement,) = stored(people_db)["judgements"]
        assert judgement["is_match"] is False
        assert (judgement["left_first_name"], judgement["right_first_name"]) == ("Anne", "Ann")
        assert (judgement["batch_id"], judgement["record_key"]) == ("batch 2", "ann typo")
    assert load("batch 3", ("ann 3", *ANN_TYPO[1:])).duplicates + load("batch 3", EVE).review == 1


def test_a_new_one_is_judged_to_be_a_duplicate_and_back(people_db: str, command: Command) -> None:
    load("batch 1", BOB)
    load("batch 2", EVE)
    before = stored(people_db, "people")
    for _ in range(2):
        assert command("judge", "batch 2", "eve", "duplicate", "1")[0] == 0
        assert numbers(people_db, "batch 2") == (1, 0, 1, 0, 0)
        judged = decision(people_db, "eve")
        assert (judged["decision"], judged["reason"], judged["person_id"]) == ("DUPLICATE", "JUDGED", 1)
        assert [person["first_name"] for person in stored(people_db)["people"]] == ["Bob"]
        assert [(row["is_match"], row["right_last_name"]) for row in stored(people_db)["judgements"]] == [
            (True, "Jones")
        ]
    assert command("judge", "batch 2", "eve", "new")[0] == 0
    assert stored(people_db, "people") == before
    assert numbers(people_db, "batch 2") == (1, 0, 0, 0, 1)
    assert [
        row["is_match"] for row in sorted(stored(people_db)["judgements"], key=lambda row: row["judgement_id"])
    ] == [
        True,
        False,
    ]


def test_a_duplicate_is_judged_to_be_of_somebody_else(people_db: str, command: Command) -> None:
    load("batch 1", ANN, BOB)
    load("batch 2", ANN_TYPO)
    assert decision(people_db, "ann typo")["score"] > MODEL.accept_at
    bob = execute(people_db, "SELECT person_id FROM people WHERE record_key = 'bob'")[0][0]
    assert command("judge", "batch 2", "ann typo", "duplicate", str(bob))[0] == 0
    judged = decision(people_db, "ann typo")
    assert (judged["person_id"], judged["score"], judged["vector"]) == (bob, None, None), "that score was about Ann"
    assert numbers(people_db, "batch 2") == (1, 0, 1, 0, 0)


def test_the_evidence_stays_where_the_judgement_confirms_it(people_db: str, command: Command) -> None:
    load("batch 1", ANN)
    load("batch 2", ANN_TYPO)
    execute(people_db, "UPDATE decisions SET decision = 'REVIEW', reason = 'BORDERLINE' WHERE record_key = 'ann typo'")
    execute(people_db, "UPDATE batches SET duplicates = 0, review = 1 WHERE batch_id = 'batch 2'; ")
    before = decision(people_db, "ann typo")
    assert command("judge", "batch 2", "ann typo", "duplicate", "1")[0] == 0
    assert decision(people_db, "ann typo") == before | {"decision": "DUPLICATE", "reason": "JUDGED"}
    assert numbers(people_db, "batch 2") == (1, 0, 1, 0, 0)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("batch 2", "none", "new"), "no decision"),
        (("batch 9", "ann typo", "new"), "no decision"),
        (("batch 2", "nobody", "new"), "no decision"),
        (("batch 1", "ann", "duplicate", "99"), "there is no person 99"),
        (("batch 1", "ann", "duplicate", "2"), "batch 2 (1)"),
    ],
)
def test_what_cannot_be_judged_is_one_clear_line(
    people_db: str, command: Command, args: tuple[str, ...], reason: str
) -> None:
    load("batch 1", ANN, BOB)
    load("batch 2", ANN_TYPO, NOBODY)
    load("batch 3", ANN)
    before = stored(people_db)
    code, said = command("judge", *args)
    assert code == 1
    assert reason in said
    assert said.count("\n") == 1
    assert stored(people_db) == before


def test_numbers_that_would_not_add_up_are_refused(people_db: str, command: Command) -> None:
    load("batch 1", ANN, BOB)
    for change in ("UPDATE batches SET inserted = 1, review = 1", "UPDATE batches SET received = 3"):
        with pytest.raises(psycopg.IntegrityError):
            execute(people_db, change)


def test_judgements_are_training_pairs(people_db: str, command: Command) -> None:
    from common.people_db import judged_pairs

    load("batch 1", ANN)
    load("batch 2", ANN_TYPO)
    command("judge", "batch 2", "ann typo", "new")
    execute(people_db, "INSERT INTO judgements (left_first_name, is_match) VALUES ('whose person was gone', false)")
    assert [(row["left_first_name"], row["is_match"]) for row in judged_pairs().to_pylist()] == [("Anne", False)]


@pytest.mark.parametrize("args", [(), ("judge", "b", "r", "duplicate"), ("judge", "b", "r", "new", "1"), ("undo",)])
def test_a_command_that_is_not_whole_says_how(command: Command, args: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(*args)


def test_the_launcher_runs_the_commands(checkout: Path) -> None:
    def dev_upkeep(*args: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [checkout / "dev" / "upkeep", *args], cwd=checkout.parent, capture_output=True, text=True, timeout=120
        )
        return done.returncode, done.stdout, done.stderr

    code, said, _ = dev_upkeep("--help")
    assert (code, "undo" in said, "judge" in said, "prune" in said) == (0, True, True, True)
    code, _, complaint = dev_upkeep("undo", "b")
    assert (code, complaint.splitlines()[-1]) == (1, "there is no batch b")

    with server_of(checkout / ".airflow").use() as server:
        execute(
            server.dsn("people"),
            """
            WITH batch AS (
                INSERT INTO batches (batch_id, run_id, source, received, quarantined, duplicates, review, inserted,
                                     model_version, people_before)
                VALUES ('b', 'r', 's', 1, 0, 0, 0, 1, 'm', 0) RETURNING batch_id
            ), person AS (
                INSERT INTO people (batch_id) SELECT batch_id FROM batch RETURNING batch_id, person_id
            )
            INSERT INTO decisions (batch_id, record_key, decision, reason, person_id, model_version, run_id)
            SELECT batch_id, 'k', 'NEW', 'NO_CANDIDATE', person_id, 'm', 'r' FROM person
            """,
        )
    said = "batch b is taken back: received=1 quarantined=0 duplicates=0 review=0 inserted=1\n"
    assert dev_upkeep("undo", "b")[:2] == (0, said)
    with server_of(checkout / ".airflow").use() as server:
        assert execute(server.dsn("people"), "SELECT FROM people") == []
        assert execute(server.dsn("people"), "SELECT batch_id FROM undone_batches") == [("b",)]


# Sweeping --------------------------------------------------------------------------------------------------------


def test_pruning_takes_what_is_old_and_needed_by_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """Which files XComs refer to is the metadata database's to say: see test_scheduler.py."""
    monkeypatch.setattr("common.settings.XCOM_ROOT", str(tmp_path / "xcom"))
    pushed = [
        ArrowXCom.serialize_value(pa.table({"n": [n]}), dag_id="d", task_id="t", run_id=run)
        for n, run in enumerate(["kept", "kept", "gone"])
    ]
    kept, cleared, gone = [Path(_path(value)) for value in pushed]
    half = gone.with_name("half.tmp")
    half.write_bytes(b"a killed task")
    monkeypatch.setattr("common.upkeep._referred_files", lambda: {str(kept)})

    assert command("prune")[0] == 0
    assert all(path.exists() for path in (kept, cleared, gone, half)), "they are young"
    assert "3 files" in upkeep.prune(now=time.time() + upkeep.KEEP_FILES + 60)
    assert [path.exists() for path in (kept, cleared, gone, half)] == [True, False, False, False]
    assert not gone.parent.exists()
    assert "0 files of batches (0 bytes)" in upkeep.prune(now=time.time() + upkeep.KEEP_FILES + 60)


def _path(value: Any) -> str:
    from airflow.sdk.bases.xcom import BaseXCom

    return str(BaseXCom.deserialize_value(type("Row", (), {"value": value}))["arrow_table"]["path"])
