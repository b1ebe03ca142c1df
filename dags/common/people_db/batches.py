"""Batches: what was decided about their records, what is in quarantine, and how they are taken back."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field, replace
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from common.errors import PeopleDbError
from common.linkage.canary import Canaries
from common.linkage.model import COMPARISON_VECTOR, SIMILARITIES, LinkageModel
from common.linkage.standardise import STANDARDISED, STANDARDISER_VERSION
from common.linkage.validation import quarantined, usable
from common.linkage.verdict import Decision
from common.people_db import sweeps
from common.people_db.connection import (
    RECORD,
    Transaction,
    as_table,
    as_tables,
    named_rows_of,
    rows_of,
    transaction,
    value,
    writing,
)
from common.people_db.contents import content_keys
from common.people_db.filling import take_filled_back
from common.people_db.people import insert_people
from common.run_report import SWEEP, LoadedBatch, RunReport

FIRST_PEOPLE = "first people"
"""Stands for the run id where no run loaded a batch but a new table was filled."""

STORED_DECISIONS = pa.schema(
    [
        *((name, pa.string()) for name in ("record_key", *RECORD, "decision", "reason")),
        ("person_id", pa.int64()),
        ("matched_record_key", pa.string()),
        ("score", pa.float64()),
        *((f"{name}_similarity", pa.float64()) for name in SIMILARITIES),
        ("swapped", pa.bool_()),
        ("runner_up_person_id", pa.int64()),
        ("runner_up_score", pa.float64()),
        ("contributions", pa.string()),
    ]
)


@dataclass(frozen=True)
class Batch:
    """A batch that is to be written.

    Attributes:
        batch_id: its key, from its content.
        run_id: the run that loads it.
        source: where it came from.
        system: the system whose keys its records carry.
        people_before: highest person_id when it was made.
        files: the files that it is made of, by the SHA-256 of their bytes.
    """

    batch_id: str
    run_id: str
    source: str
    system: str
    people_before: int
    files: Mapping[str, str] = field(default_factory=dict)


def stored_report(connection: Transaction, batch_id: str) -> RunReport | None:
    """The numbers of a batch if it is loaded already."""
    row = connection.execute(
        """
        SELECT batch_id, run_id, source, model_version, received, quarantined, duplicates, review, inserted, erased
        FROM batches WHERE batch_id = %s
        """,
        [batch_id],
    ).fetchone()
    return RunReport(*row) if row else None


def note_files(connection: Transaction, batch: Batch) -> None:
    """Note that the files of a batch are loaded; the batch is stored already."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO loaded_files (sha256, name, batch_id, run_id) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING
            """,
            [[content, name, batch.batch_id, batch.run_id] for content, name in batch.files.items()],
        )


def loaded_files(run_id: str) -> tuple[frozenset[str], frozenset[str]]:
    """The files of loaded batches, by the SHA-256 of their bytes: those that a run has loaded, and those of others."""
    with transaction() as connection:
        rows = connection.execute("SELECT sha256, run_id FROM loaded_files").fetchall()
    by_this_run = frozenset(content for content, loaded_by in rows if loaded_by == run_id)
    return by_this_run, frozenset(content for content, _ in rows) - by_this_run


def write_batch(
    connection: Transaction,
    batch: Batch,
    records: pa.Table,
    decisions: pa.Table,
    model: LinkageModel,
    person_of: Mapping[str, int] = MappingProxyType({}),
) -> RunReport:
    """Write a decided batch: its new people, decisions and quarantine.

    Args:
        connection: within `writing`.
        batch: what it is.
        records: the standardised batch.
        decisions: what `decide` made of its usable records, in their order.
        model: what scored the pairs.
        person_of: ids of people by the keys of records that are people already.
    """
    good, bad = usable(records), quarantined(records)
    count = {value.value: 0 for value in Decision} | {
        row["values"]: row["counts"] for row in pc.value_counts(decisions["decision"]).to_pylist()
    }
    numbers = RunReport(
        batch_id=batch.batch_id,
        run_id=batch.run_id,
        source=batch.source,
        model_version=model.version,
        received=records.num_rows,
        quarantined=bad.num_rows,
        duplicates=count[Decision.DUPLICATE],
        review=count[Decision.REVIEW],
        inserted=count[Decision.NEW],
    )
    connection.execute(
        """
        INSERT INTO batches (batch_id, run_id, source, model_version, received, quarantined, duplicates, review,
                             inserted, erased, people_before)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [*astuple(numbers), batch.people_before],
    )
    note_files(connection, batch)
    new = good.filter(pc.equal(decisions["decision"], Decision.NEW))
    decisions = _with_people(decisions, {**person_of} | insert_people(connection, new, batch.batch_id))
    _write_decisions(connection, batch, good, decisions, model)
    if batch.source != SWEEP:
        _write_spellings(connection, batch.batch_id, good, decisions)
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY quarantine (batch_id, system, record_key, source_key, reason, raw) FROM STDIN") as copy,
    ):
        for row in rows_of(bad):
            copy.write_row((batch.batch_id, batch.system, *row))
    return numbers


def _with_people(decisions: pa.Table, person_of: Mapping[str, int]) -> pa.Table:
    """Decisions with the ids of people who are records of the same batch."""
    people = [
        person_of[row["survivor_key"] or row["record_key"]]
        if row["person_id"] is None and (row["survivor_key"] or row["decision"] == Decision.NEW)
        else row["person_id"]
        for row in named_rows_of(decisions.select(["record_key", "decision", "person_id", "survivor_key"]))
    ]
    place = decisions.column_names.index("person_id")
    return decisions.set_column(place, "person_id", pa.array(people, pa.int64()))


def _write_decisions(
    connection: Transaction, batch: Batch, records: pa.Table, decisions: pa.Table, model: LinkageModel
) -> None:
    statement = """
        COPY decisions (batch_id, record_key, source_key, first_name, last_name, address, decision, reason, person_id,
                        matched_record_key, via_batch_id, via_record_key, score, vector, contributions,
                        runner_up_person_id, runner_up_score, margin, model_version, run_id, system, content_key,
                        content_version) FROM STDIN
        """
    explained = zip(_contributions(decisions, model), content_keys(connection, records), strict=True)
    rows = zip(rows_of(records.select(RECORD)), named_rows_of(decisions), explained, strict=True)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for record, row, (contributions, content_key) in rows:
            vector = {name: row[name] for name in COMPARISON_VECTOR} if row["score"] is not None else None
            copy.write_row(
                (
                    *(batch.batch_id, row["record_key"], *record, row["decision"], row["reason"], row["person_id"]),
                    *(row["matched_record_key"], row["via_batch_id"], row["via_record_key"]),
                    *(row["score"], vector and json.dumps(vector), contributions),
                    *(row["runner_up_person_id"], row["runner_up_score"], row["margin"], model.version, batch.run_id),
                    *(batch.system, content_key, STANDARDISER_VERSION),
                )
            )


def _write_spellings(connection: Transaction, batch_id: str, records: pa.Table, decisions: pa.Table) -> None:
    """Write how the records are spelt that were not inserted: as their person is known too, or in open questions."""
    query = "SELECT greatest((SELECT max(question_id) FROM spellings), (SELECT max(question_id) FROM judgements), 0)"
    last = value(connection.execute(query))
    keys = sorted(pc.unique(decisions["question_key"].drop_null()).to_pylist())
    question_of = {key: last + place for place, key in enumerate(keys, 1)}
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE fresh_spellings ON COMMIT DROP AS TABLE spellings WITH NO DATA")
        statement = """
            COPY fresh_spellings (batch_id, record_key, first_name_std, last_name_std, address_std, generation_std,
                                  person_id, question_id) FROM STDIN
            """
        with cursor.copy(statement) as copy:
            columns = records.select(["record_key", *STANDARDISED])
            for record, row in zip(rows_of(columns), named_rows_of(decisions), strict=True):
                if row["decision"] == Decision.REVIEW:
                    question_id = row["question_id"] or question_of[row["question_key"]]
                    copy.write_row((batch_id, *record, None, question_id))
                elif row["decision"] == Decision.DUPLICATE:
                    copy.write_row((batch_id, *record, row["person_id"], None))
        cursor.execute(
            """
            INSERT INTO spellings (batch_id, record_key, person_id, question_id, first_name_std, last_name_std,
                                   address_std, generation_std)
            SELECT f.batch_id, f.record_key, f.person_id, f.question_id, f.first_name_std, f.last_name_std,
                   f.address_std, f.generation_std
            FROM fresh_spellings AS f LEFT JOIN people AS p USING (person_id)
            WHERE (f.first_name_std, f.last_name_std, f.address_std, f.generation_std)
                  IS DISTINCT FROM (p.first_name_std, p.last_name_std, p.address_std, p.generation_std)
            ORDER BY f.record_key
            """
        )
        cursor.execute("DROP TABLE fresh_spellings")


def _contributions(decisions: pa.Table, model: LinkageModel) -> Iterator[str | None]:
    """What each term of the model adds to the log-odds of each decision, as JSON; null where no pair decided it."""
    terms = model.contributions({name: pc.cast(decisions[name], pa.float64()).to_numpy() for name in COMPARISON_VECTOR})
    table = pa.table({"score": decisions["score"], "intercept": pa.repeat(model.intercept, len(decisions)), **terms})
    for row in named_rows_of(table):
        yield None if row.pop("score") is None else json.dumps(row)


def mark_duplicates(
    connection: Transaction,
    batch: Batch,
    records: pa.Table,
    decisions: pa.Table,
    model: LinkageModel,
    *,
    remove: bool = False,
) -> RunReport:
    """Write a decided sweep of the table: duplicates are marked, or removed if that is wanted.

    Args:
        connection: within `writing`.
        batch: what it is; `people_before` is replaced by the highest person_id now.
        records: everybody concerned, as `people_as_records` gives them now, standardised.
        decisions: what `decide` made of them; new ones stay as they are and are not written down.
        model: what scored the pairs.
        remove: whether duplicates are taken out of the table.
    """
    person_of = dict(zip(records["record_key"].to_pylist(), map(int, records["source_key"].to_pylist()), strict=True))
    decided = decisions.filter(pc.not_equal(decisions["decision"], Decision.NEW))
    # Whom somebody is asked about is the person compared, not the one at the end of a chain of likenesses.
    asked = pc.and_(pc.equal(decided["decision"], Decision.REVIEW), pc.is_valid(decided["matched_record_key"]))
    place = decided.column_names.index("survivor_key")
    decided = decided.set_column(
        place, "survivor_key", pc.if_else(asked, decided["matched_record_key"], decided["survivor_key"])
    )
    involved = records.filter(pc.is_in(records["record_key"], decided["record_key"].combine_chunks()))
    people_before = value(connection.execute("SELECT coalesce(max(person_id), 0) FROM people"))
    numbers = write_batch(connection, replace(batch, people_before=people_before), involved, decided, model, person_of)
    marks = [
        (person_of[row["record_key"]], person_of[row["survivor_key"]])
        for row in decided.filter(pc.equal(decided["decision"], Decision.DUPLICATE)).to_pylist()
    ]
    sweeps.mark(connection, dict(marks))
    if remove:
        sweeps.remove_marked(connection, batch.batch_id)
    return numbers


def loaded_batch(batch_id: str) -> LoadedBatch:
    """When a batch was loaded, and how many people were stored before and with it.

    Raises:
        PeopleDbError: there is no such batch, or not any more.
    """
    with transaction() as connection:
        row = connection.execute(
            """
            SELECT b.loaded_at, count(p.person_id) FILTER (WHERE p.inserted_at < b.loaded_at),
                   count(p.person_id) FILTER (WHERE p.inserted_at < b.loaded_at OR p.batch_id = b.batch_id)
            FROM batches AS b LEFT JOIN people AS p ON p.inserted_at <= b.loaded_at OR p.batch_id = b.batch_id
            WHERE b.batch_id = %s GROUP BY b.batch_id
            """,
            [batch_id],
        ).fetchone()
    if row is None:
        raise PeopleDbError(f"there is no batch {batch_id}")
    return LoadedBatch(*row)


def batch_decisions(batch_id: str) -> pa.Table:
    """What was decided about a loaded batch, schema `STORED_DECISIONS`, in the order of the record keys."""
    with transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT record_key, source_key, first_name, last_name, address, decision, reason, person_id,
                   matched_record_key, score,
                   (vector->>'first_name')::float8, (vector->>'last_name')::float8, (vector->>'address')::float8,
                   (vector->>'address_words')::float8, (vector->>'address_numbers')::float8,
                   (vector->>'swapped')::boolean, runner_up_person_id, runner_up_score, contributions::text
            FROM decisions WHERE batch_id = %s ORDER BY record_key
            """,
            [batch_id],
        )
        return as_tables(cursor, STORED_DECISIONS)


def recent_decisions(limit: int) -> pa.Table:
    """The latest decisions that a model made and that had a candidate, schema `STORED_DECISIONS`, for comparing models.

    What somebody has judged is left out: whatever a model makes of it, it stays as it is.
    """
    with transaction() as connection:
        rows = connection.execute(
            """
            SELECT record_key, source_key, first_name, last_name, address, decision, reason, person_id,
                   matched_record_key, score,
                   (vector->>'first_name')::float8, (vector->>'last_name')::float8, (vector->>'address')::float8,
                   (vector->>'address_words')::float8, (vector->>'address_numbers')::float8,
                   (vector->>'swapped')::boolean, runner_up_person_id, runner_up_score, contributions::text
            FROM decisions JOIN batches USING (batch_id)
            WHERE vector IS NOT NULL AND reason <> 'JUDGED' ORDER BY loaded_at DESC, record_key LIMIT %s
            """,
            [limit],
        ).fetchall()
    return as_table(rows, STORED_DECISIONS)


def store_canaries(batch_id: str, canaries: Canaries) -> None:
    """Keep how the canaries of the run fared that loaded a batch."""
    with transaction() as connection:
        statement = "INSERT INTO canaries VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
        connection.execute(statement, [batch_id, *astuple(canaries)])


def last_canaries(batch_id: str, limit: int) -> list[Canaries]:
    """How the canaries fared when a batch was loaded and in the runs before that, latest first."""
    with transaction() as connection:
        rows = connection.execute(
            """
            SELECT returned, reinserted, strangers, dropped FROM canaries JOIN batches USING (batch_id)
            WHERE loaded_at <= (SELECT loaded_at FROM batches WHERE batch_id = %s) AND run_id <> %s
            ORDER BY loaded_at DESC LIMIT %s
            """,
            [batch_id, FIRST_PEOPLE, limit],
        ).fetchall()
    return [Canaries(*row) for row in rows]


def quarantine_counts(batch_id: str) -> dict[str, int]:
    """How many records of a loaded batch are in quarantine, by reason code."""
    with transaction() as connection:
        query = "SELECT reason, count(*) FROM quarantine WHERE batch_id = %s GROUP BY reason ORDER BY reason"
        return dict(connection.execute(query, [batch_id]).fetchall())


def batches_before(run_id: str) -> int:
    """How many batches runs have loaded, this run and the filling of a new table left out."""
    with transaction() as connection:
        query = "SELECT count(*) FROM batches WHERE run_id <> ALL(%s)"
        return int(value(connection.execute(query, [[run_id, FIRST_PEOPLE]])))


def undo_batch(batch_id: str, *, force: bool = False) -> tuple[RunReport, dict[str, int]]:
    """Take a batch back: its people, decisions and quarantine go, its numbers are kept in `undone_batches`.

    The same input can be loaded again afterwards. A batch that was taken back before is left as it is. Undoing a
    sweep takes its marks away, and the marks of earlier sweeps are again as they were before it.

    Args:
        batch_id: the batch.
        force: also where decisions of other batches point at its people; they stay, without a person.

    Returns:
        The numbers of the batch, and how many decisions of which other batches have lost their person.

    Raises:
        PeopleDbError: there is no such batch, or others lean on it and `force` is not given.
    """
    with writing() as connection:
        report = stored_report(connection, batch_id)
        if report is None:
            return _undone(connection, batch_id)
        leaning = dict(
            connection.execute(
                """
                SELECT d.batch_id, count(*) FROM decisions AS d JOIN people AS p USING (person_id)
                WHERE p.batch_id = %(batch)s AND d.batch_id <> %(batch)s GROUP BY d.batch_id ORDER BY d.batch_id
                """,
                {"batch": batch_id},
            ).fetchall()
        )
        if leaning and not force:
            raise PeopleDbError(
                f"batch {batch_id} stays: decisions of other batches point at its people: {each(leaning)}"
            )
        connection.execute(
            """
            INSERT INTO undone_batches (batch_id, run_id, source, model_version, received, quarantined, duplicates,
                                        review, inserted, erased, people_before, loaded_at, lost_their_person)
            SELECT batch_id, run_id, source, model_version, received, quarantined, duplicates, review, inserted, erased,
                   people_before, loaded_at, %s
            FROM batches WHERE batch_id = %s
            """,
            [json.dumps(leaning), batch_id],
        )
        sweeps.bring_back(connection, batch_id)
        take_filled_back(connection, batch_id)
        take_judged_marks_away(connection, batch_id)
        _take_marks_away(connection, batch_id)
        connection.execute("DELETE FROM removed_people WHERE content ->> 'batch_id' = %s", [batch_id])
        connection.execute("DELETE FROM decisions WHERE batch_id = %s", [batch_id])
        connection.execute("DELETE FROM quarantine WHERE batch_id = %s", [batch_id])
        connection.execute("DELETE FROM people WHERE batch_id = %s", [batch_id])
        connection.execute("DELETE FROM batches WHERE batch_id = %s", [batch_id])
        return report, leaning


def take_judged_marks_away(connection: Transaction, batch_id: str, judgement_id: int | None = None) -> None:
    """Unmark whom somebody called another one, as a sweep had asked: by one judgement, or by all of these."""
    connection.execute(
        """
        WITH marked AS (
            SELECT DISTINCT ON (1) (mark->>0)::bigint AS person_id, (mark->>1)::bigint AS stood_for
            FROM judgements, jsonb_array_elements(decision_before->'marked') AS mark
            WHERE batch_id = %(batch)s AND judgement_id = coalesce(%(judgement)s, judgement_id)
            ORDER BY 1, judgement_id
        )
        UPDATE people SET duplicate_of = (SELECT person_id FROM people AS p WHERE p.person_id = marked.stood_for)
        FROM marked WHERE people.person_id = marked.person_id
        """,
        {"batch": batch_id, "judgement": judgement_id},
    )


def _take_marks_away(connection: Transaction, batch_id: str) -> None:
    """Unmark whom a sweep marked; whoever had been marked as one of those before is that person's duplicate again."""
    connection.execute(
        """
        WITH RECURSIVE marked AS (
            SELECT d.batch_id, d.source_key::bigint AS person_id, d.person_id AS survivor
            FROM decisions AS d JOIN batches AS b USING (batch_id)
            WHERE b.source = %(sweep)s AND d.decision = 'DUPLICATE'
        ), freed (person_id, stands_for) AS (
            SELECT person_id, person_id FROM marked WHERE batch_id = %(batch)s
            UNION
            SELECT marked.person_id, freed.stands_for
            FROM marked JOIN freed ON marked.survivor = freed.person_id WHERE marked.batch_id <> %(batch)s
        )
        UPDATE people SET duplicate_of = nullif(freed.stands_for, freed.person_id) FROM freed
        WHERE people.person_id = freed.person_id AND people.duplicate_of IS NOT NULL
        """,
        {"sweep": SWEEP, "batch": batch_id},
    )


def _undone(connection: Transaction, batch_id: str) -> tuple[RunReport, dict[str, int]]:
    row = connection.execute(
        """
        SELECT batch_id, run_id, source, model_version, received, quarantined, duplicates, review, inserted, erased,
               lost_their_person
        FROM undone_batches WHERE batch_id = %s ORDER BY undone_at DESC LIMIT 1
        """,
        [batch_id],
    ).fetchone()
    if row is None:
        raise PeopleDbError(f"there is no batch {batch_id}")
    return RunReport(*row[:-1]), row[-1]


def each(counts: Mapping[str, int]) -> str:
    """Counts by name in one line."""
    return ", ".join(f"{name} ({count})" for name, count in counts.items())
