"""Judgements: what people said about decisions."""

import pyarrow as pa

from common.errors import PeopleDbError
from common.linkage.decision import Decision
from common.people_db.batches import each
from common.people_db.connection import RECORD, Transaction, as_table, transaction
from common.people_db.people import insert_people
from common.run_report import SWEEP


def judge(
    connection: Transaction, batch_id: str, record_key: str, person_id: int | None, judged_by: str | None = None
) -> None:
    """Turn a decision round, and store that as a judgement; a decision that says so already is left as it is.

    Somebody new is inserted as the record arrived, not standardised yet.

    Args:
        connection: within `writing`.
        batch_id: the batch of the decision.
        record_key: the record that was decided.
        person_id: who it is a duplicate of, or None: it is somebody new, and inserted.
        judged_by: name of the user who says so; None: the role of the connection.

    Raises:
        PeopleDbError: there is no such decision or person, the record is a person already, or decisions about other
            records point at the person that was inserted for it.
    """
    row = connection.execute(
        """
        SELECT d.decision, d.person_id FROM decisions AS d JOIN batches AS b USING (batch_id)
        WHERE d.batch_id = %s AND d.record_key = %s AND b.source <> %s
        """,
        [batch_id, record_key, SWEEP],
    ).fetchone()
    if row is None:
        raise PeopleDbError(f"no decision of a loaded batch {batch_id} about a record {record_key}")
    before, matched = row
    after = Decision.NEW if person_id is None else Decision.DUPLICATE
    if before == after and person_id in (None, matched):
        return
    judged = matched if person_id is None else person_id
    _store_judgement(connection, (batch_id, record_key), judged, judged_by, is_match=person_id is not None)
    new_person = _insert_judged(connection, batch_id, record_key) if person_id is None else person_id
    _turn_round(connection, (batch_id, record_key), after, new_person, keep_evidence=person_id in (None, matched))
    _move_spelling(connection, batch_id, record_key, person_id)
    if before == Decision.NEW:
        _remove_judged(connection, batch_id, record_key, new_person)
    _count_again(connection, batch_id)


def take_back(connection: Transaction, judged_by: str) -> tuple[str, str] | None:
    """Undo a user's last answer to an open question: it is open again, and the judgement trains no model.

    Args:
        connection: within `writing`.
        judged_by: name of the user.

    Returns:
        Batch and record key of the question; None if there is no (other) answer of this user to take back.

    Raises:
        PeopleDbError: somebody has judged the same decision since, or decisions about other records point at the
            person that was inserted for it.
    """
    row = connection.execute(
        """
        SELECT j.judgement_id, batch_id, record_key, d.decision,
               EXISTS (SELECT FROM judgements AS later
                       WHERE (later.batch_id, later.record_key) = (j.batch_id, j.record_key)
                         AND later.judgement_id > j.judgement_id)
        FROM judgements AS j JOIN decisions AS d USING (batch_id, record_key)
        WHERE j.judged_by = %s AND j.decision_before->>'decision' = 'REVIEW' ORDER BY j.judgement_id DESC LIMIT 1
        """,
        [judged_by],
    ).fetchone()
    if row is None:
        return None
    judgement_id, batch_id, record_key, now, judged_since = row
    if judged_since:
        raise PeopleDbError(f"somebody else has judged record {record_key} since")
    if now == Decision.NEW:
        _remove_judged(connection, batch_id, record_key, None)
    connection.execute(
        """
        UPDATE decisions AS d
        SET decision = b.decision, reason = b.reason, score = b.score, vector = b.vector,
            person_id = (SELECT p.person_id FROM people AS p WHERE p.person_id = b.person_id), -- may be gone meanwhile
            contributions = b.contributions, matched_record_key = b.matched_record_key,
            runner_up_person_id = b.runner_up_person_id, runner_up_score = b.runner_up_score, margin = b.margin
        FROM judgements AS j, jsonb_populate_record(NULL::decisions, j.decision_before) AS b
        WHERE j.judgement_id = %s AND (d.batch_id, d.record_key) = (j.batch_id, j.record_key)
        """,
        [judgement_id],
    )
    connection.execute("DELETE FROM judgements WHERE judgement_id = %s", [judgement_id])
    _count_again(connection, batch_id)
    return batch_id, record_key


def _turn_round(
    connection: Transaction, decided: tuple[str, str], after: Decision, person_id: int, *, keep_evidence: bool
) -> None:
    """Change a decision (batch and record key); the evidence stays only where it is about this very person."""
    connection.execute(
        """
        UPDATE decisions
        SET decision = %(after)s, reason = 'JUDGED', person_id = %(person)s,
            score = CASE WHEN keep THEN score END, vector = CASE WHEN keep THEN vector END,
            contributions = CASE WHEN keep THEN contributions END,
            matched_record_key = CASE WHEN keep THEN matched_record_key END,
            runner_up_person_id = CASE WHEN keep THEN runner_up_person_id END,
            runner_up_score = CASE WHEN keep THEN runner_up_score END, margin = CASE WHEN keep THEN margin END
        FROM (SELECT %(keep)s::boolean AS keep) AS evidence
        WHERE batch_id = %(batch)s AND record_key = %(key)s
        """,
        {"after": after, "person": person_id, "keep": keep_evidence, "batch": decided[0], "key": decided[1]},
    )


def _move_spelling(connection: Transaction, batch_id: str, record_key: str, person_id: int | None) -> None:
    """Let a record be a spelling of its new person; of somebody new it is the first one, which stands in people.

    What it says is filled in when contents are standardised the next time.
    """
    connection.execute("DELETE FROM spellings WHERE (batch_id, record_key) = (%s, %s)", [batch_id, record_key])
    if person_id is not None:
        connection.execute(
            "INSERT INTO spellings (batch_id, record_key, person_id) VALUES (%s, %s, %s)",
            [batch_id, record_key, person_id],
        )
        connection.execute(
            "UPDATE decisions SET content_version = NULL WHERE (batch_id, record_key) = (%s, %s)",
            [batch_id, record_key],
        )


def _count_again(connection: Transaction, batch_id: str) -> None:
    """Make the numbers of a batch those of its decisions."""
    connection.execute(
        """
        UPDATE batches
        SET (duplicates, review, inserted) = (
            SELECT count(*) FILTER (WHERE decision = 'DUPLICATE'), count(*) FILTER (WHERE decision = 'REVIEW'),
                   count(*) FILTER (WHERE decision = 'NEW')
            FROM decisions WHERE decisions.batch_id = batches.batch_id)
        WHERE batch_id = %s
        """,
        [batch_id],
    )


def _store_judgement(
    connection: Transaction, decided: tuple[str, str], person_id: int | None, judged_by: str | None, *, is_match: bool
) -> None:
    """Store what was said about a decision (batch and record key), and what that decision was before."""
    batch_id, record_key = decided
    stored = connection.execute(
        """
        INSERT INTO judgements (left_first_name, left_last_name, left_address, right_first_name, right_last_name,
                                right_address, is_match, batch_id, record_key, judged_by, decision_before)
        SELECT d.first_name, d.last_name, d.address, p.first_name, p.last_name, p.address, %(match)s, d.batch_id,
               d.record_key, coalesce(%(by)s, current_user),
               jsonb_build_object('decision', d.decision, 'reason', d.reason, 'person_id', d.person_id,
                                  'matched_record_key', d.matched_record_key, 'score', d.score, 'vector', d.vector,
                                  'contributions', d.contributions, 'runner_up_person_id', d.runner_up_person_id,
                                  'runner_up_score', d.runner_up_score, 'margin', d.margin)
        FROM decisions AS d LEFT JOIN people AS p ON p.person_id = %(person)s
        WHERE d.batch_id = %(batch)s AND d.record_key = %(key)s AND (p.person_id IS NOT NULL OR NOT %(match)s)
        """,
        {"match": is_match, "person": person_id, "batch": batch_id, "key": record_key, "by": judged_by},
    )
    if not stored.rowcount:
        raise PeopleDbError(f"there is no person {person_id}")


def _insert_judged(connection: Transaction, batch_id: str, record_key: str) -> int:
    """Insert the record of a decision; returns its person_id."""
    rows = connection.execute(
        """
        SELECT record_key, source_key, first_name, last_name, address FROM decisions AS d
        WHERE batch_id = %s AND record_key = %s
          AND NOT EXISTS (SELECT FROM people WHERE (batch_id, record_key) = (d.batch_id, d.record_key))
        """,
        [batch_id, record_key],
    ).fetchall()
    if not rows:
        raise PeopleDbError(f"record {record_key} is a person already")
    record = as_table(rows, pa.schema([(name, pa.string()) for name in ("record_key", *RECORD)]))
    return insert_people(connection, record, batch_id)[record_key]


def _remove_judged(connection: Transaction, batch_id: str, record_key: str, person_id: int | None) -> None:
    """Remove the person that was inserted for a record, which is `person_id` instead, or asked about again."""
    leaning = dict(
        connection.execute(
            """
            SELECT d.batch_id, count(*) FROM decisions AS d JOIN people AS p USING (person_id)
            WHERE (p.batch_id, p.record_key) = (%(batch)s, %(key)s)
              AND (d.batch_id, d.record_key) <> (%(batch)s, %(key)s)
            GROUP BY d.batch_id ORDER BY d.batch_id
            """,
            {"batch": batch_id, "key": record_key},
        ).fetchall()
    )
    if leaning:
        raise PeopleDbError(f"other records were decided to be the person of {record_key}: {each(leaning)}")
    removed = connection.execute(
        "DELETE FROM people WHERE (batch_id, record_key) = (%s, %s) AND person_id IS DISTINCT FROM %s",
        [batch_id, record_key, person_id],
    )
    if not removed.rowcount:
        raise PeopleDbError(f"record {record_key} is person {person_id} itself, or its person is gone")


def judged_pairs() -> pa.Table:
    """What people judged: the raw fields of both records, and `is_match`."""
    names = [f"{side}_{name}" for side in ("left", "right") for name in RECORD[1:]]
    with transaction() as connection:
        rows = connection.execute(
            """
            SELECT left_first_name, left_last_name, left_address, right_first_name, right_last_name, right_address,
                   is_match
            FROM judgements
            WHERE coalesce(right_first_name, right_last_name, right_address) IS NOT NULL  -- else the person was gone
            ORDER BY judgement_id
            """
        ).fetchall()
    return as_table(rows, pa.schema([*((name, pa.string()) for name in names), ("is_match", pa.bool_())]))
