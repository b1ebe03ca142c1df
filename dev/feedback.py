"""Ten batches with a reviewer who answers every question truly, and what retraining on the answers does to the next.

    .venv/bin/python dev/feedback.py [WORLD]

The table and the records of an invented world (see `quality_worlds`), or those of "febrl4", go through the pipeline,
against a Postgres that is started for it. The same batches are played three times: with the shipped model all the time;
with retraining that does not see the answers; and with retraining that does.
"""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "dags"))

from launch import environment, people_db_connection
from postgres import Server
from quality_worlds import INCOMING, WORLDS, World, world

BATCHES = 10
FIELDS = ("first_name", "last_name", "address")


class Learning(StrEnum):
    """What the model learns from between two batches."""

    NOTHING = "shipped model"
    PEOPLE = "retrained, without the answers"
    ANSWERS = "retrained on the answers too"


@dataclass(frozen=True)
class Played:
    """How one batch went: counts of its records.

    Attributes:
        records: all.
        asked: in review, so that somebody had to look, by reason.
        same: those of them that are the person whom the model took for the best candidate.
        reinserted: of people of the table, inserted again.
        wrong: taken for somebody else.
    """

    records: int
    asked: Mapping[str, int]
    same: Mapping[str, int]
    reinserted: int
    wrong: int

    @property
    def load(self) -> int:
        """How many somebody had to look at."""
        return sum(self.asked.values())

    @property
    def errors(self) -> int:
        """What nobody was asked about, and is wrong."""
        return self.reinserted + self.wrong


def play(of: World, learning: Learning) -> Iterator[Played]:
    """Load a world batch by batch into the empty database behind ``people_db``; answer after each, and retrain if due.

    It is due when the DAG would say so: at first, and after so many answers more as `RETRAIN_JUDGEMENTS` says.
    """
    from airflow.sdk.exceptions import AirflowSkipException
    from common import people_db, retraining

    person_of = _fill(of.existing)
    numbered = list(enumerate(zip(of.incoming.to_pylist(), of.person, strict=True)))
    size = -(-len(numbered) // BATCHES)
    params = {"retrain_every": None, "labelled_pairs": None, "champion": None}
    for number in range(BATCHES):
        part = numbered[number * size : (number + 1) * size]
        run_id = f"batch {number}"
        truth = {f"{place:06}": person_of[row] if row >= 0 else None for place, (_, row) in part}
        _load(run_id, [(f"{place:06}", record) for place, (record, _) in part], people_db.champion(run_id))
        yield _went(run_id, truth)
        _answer(truth)
        if learning != Learning.NOTHING:
            with _answers_hidden(learning == Learning.PEOPLE), suppress(AirflowSkipException):
                pairs = retraining.training_pairs(params, run_id)
                retraining.choose_model(retraining.fit_models(pairs, run_id), params, run_id)


@contextmanager
def _answers_hidden(hidden: bool) -> Iterator[None]:
    from common import people_db

    kept = people_db.judged_pairs
    if hidden:
        people_db.judged_pairs = lambda: kept().slice(0, 0)
    try:
        yield
    finally:
        people_db.judged_pairs = kept


def _fill(existing: pa.Table) -> dict[int, int]:
    """Insert people who are known to be different; the person of each row."""
    from common import people_db

    with people_db.writing() as connection, connection.cursor() as cursor:
        for row in existing.to_pylist():
            values = [row[name] for name in FIELDS]
            cursor.execute("INSERT INTO people (first_name, last_name, address) VALUES (%s, %s, %s)", values)
        ids = cursor.execute("SELECT person_id FROM people ORDER BY person_id").fetchall()
    return {row: person_id for row, (person_id,) in enumerate(ids)}


def _load(batch_id: str, rows: list[tuple[str, dict[str, Any]]], model: Any) -> None:
    from common import people_db, pipeline

    columns = {name: pa.array([record[name] for _, record in rows], pa.string()) for name in FIELDS}
    columns |= {name: pa.nulls(len(rows), pa.string()) for name in ("source_key", "problem", "raw")}
    columns["record_key"] = pa.array([key for key, _ in rows])
    metadata = {"source": batch_id, "system": "default", "people_before": "0"}
    batch = pipeline.standardise_batch(pa.table(columns).replace_schema_metadata(metadata))
    shards = pipeline.plan_shards(batch)
    before = shards[-1]["last_person"]  # whom a retraining learns from
    pairs = pipeline.compare_all(batch, model.to_dict(), shards, batch_id)
    decisions = pipeline.decide_batch(batch, model.to_dict(), pairs)
    described = people_db.Batch(batch_id, batch_id, batch_id, "default", people_before=before)
    pipeline.load_decided(described, batch, model, pa.concat_tables(pairs), decisions, shards)


def _went(batch_id: str, truth: dict[str, int | None]) -> Played:
    from common import people_db

    rows = people_db.batch_decisions(batch_id).to_pylist()
    asked = [row for row in rows if row["decision"] == "REVIEW"]
    return Played(
        records=len(rows),
        asked=Counter(row["reason"] for row in asked),
        same=Counter(row["reason"] for row in asked if truth[row["record_key"]] == row["person_id"]),
        reinserted=sum(row["decision"] == "NEW" and truth[row["record_key"]] is not None for row in rows),
        wrong=sum(row["decision"] == "DUPLICATE" and truth[row["record_key"]] != row["person_id"] for row in rows),
    )


def _answer(truth: dict[str, int | None]) -> None:
    from common import review
    from common.newcomers import Alike
    from common.people_db import Asked, Reviewer

    reviewer = Reviewer("simulated", "simulated")
    while question := review.next_question(reviewer, Asked()):
        person_id = truth[question.record_key]
        outcome = review.answer(reviewer, question.key, person_id)
        if outcome.answer is None:
            seen = [Alike(one.person_id, one.question_id) for one in outcome.newcomers]
            review.answer(reviewer, question.key, person_id, seen)


def _world(name: str) -> World:
    if name in WORLDS:
        return world(name)
    from quality import as_world, load

    return as_world(load(name), INCOMING)


def main() -> None:
    """Play all three, and print a row a batch."""
    name = sys.argv[1] if len(sys.argv) > 1 else "full-address"
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(environment(Path(folder)))
        played = _world(name)
        server = Server(Path(folder) / "postgres")
        with server.use():
            for learning in Learning:
                database = f"feedback_{learning.name.lower()}"
                with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
                os.environ["AIRFLOW_CONN_PEOPLE_DB"] = people_db_connection(server.socket_folder, database)
                print(f"{learning}, {name}: in review, errors (re-inserted, wrong person), of records", flush=True)
                for batch in play(played, learning):
                    errors = f"{batch.errors:4} ({batch.reinserted}, {batch.wrong})"
                    reasons = ", ".join(
                        f"{reason} {count} ({batch.same.get(reason, 0)} the same)"
                        for reason, count in sorted(batch.asked.items())
                    )
                    print(f"  {batch.load:4} {errors} of {batch.records}: {reasons}", flush=True)
        server.remove()


if __name__ == "__main__":
    main()
