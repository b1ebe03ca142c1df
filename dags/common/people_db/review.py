"""Open questions: decisions in review, who is asked which of them, and what was answered.

What counts as an open question is said once, by the view `open_questions` (see `migrations/`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg.rows import dict_row

from common.errors import PeopleDbError
from common.people_db.batches import FIRST_PEOPLE
from common.people_db.connection import Transaction, value
from common.run_report import SWEEP, Disputed, ReviewedBatch, ReviewWork


class QuestionKey(NamedTuple):
    """Names a question: the batch and the key of the record that is asked about."""

    batch_id: str
    record_key: str


@dataclass(frozen=True)
class Asked:
    """Which questions a reviewer wants to see; None: all.

    Attributes:
        run_id: those of the batch that this run has loaded.
        batch_id: those of this batch.
        reason: a value of `linkage.decision.Reason`.
        text: stands in the record or in the best candidate, in any case.
    """

    run_id: str | None = None
    batch_id: str | None = None
    reason: str | None = None
    text: str | None = None

    def bound(self) -> dict[str, str | None]:
        """The values as the function `asked_questions` takes them; an empty one is none."""
        values = {name: value.strip() or None if value else None for name, value in asdict(self).items()}
        if text := values["text"]:
            for special in ("\\", "%", "_"):
                text = text.replace(special, f"\\{special}")
            values["text"] = f"%{text}%"
        return values


@dataclass(frozen=True)
class Reviewer:
    """Who is asked, and on which screen: a tab of a browser or a terminal."""

    name: str
    screen: str


@dataclass(frozen=True)
class Answer:
    """What was said about a question: the person that the record belongs to, or None if it is somebody new."""

    person_id: int | None
    judged_by: str | None
    judged_at: datetime | None


class Said(NamedTuple):
    """What somebody said: whether a record is the person whom it was compared with."""

    judged_by: str
    is_match: bool
    judged_at: datetime


@dataclass(frozen=True)
class Spelling:
    """How a person was written once, and where that came from.

    Attributes:
        batch_id: the batch that brought it; None: it was in the table before.
        source: of that batch.
        seen_at: when that batch was loaded, or when the person was inserted.
        is_record: it came with a record that was taken for this person; else it is the row of the person, or one
            that a sweep has marked as the same person.
    """

    first_name: str | None
    last_name: str | None
    address: str | None
    batch_id: str | None
    record_key: str | None
    source: str | None
    seen_at: datetime
    is_record: bool


def claim_next(connection: Transaction, reviewer: Reviewer, asked: Asked, patience: timedelta) -> QuestionKey | None:
    """Take the most useful question that nobody else has on the screen; None if there is none.

    First what this screen shows already. Then, the most useful first:

    1. What this user has not skipped; what was skipped longest ago comes first among the rest.
    2. The more records wait for the answer, the earlier.
    3. The nearer the score is to a cut-off of the champion, the earlier, in steps of half a log-odd: there an answer
       teaches the most.
    4. The oldest.

    Args:
        connection: within `transaction`.
        reviewer: who is asked.
        asked: which questions are wanted.
        patience: how long the question is kept from others.
    """
    values = asked.bound() | {"name": reviewer.name, "screen": reviewer.screen, "patience": patience}
    while True:
        row = connection.execute(
            """
            WITH cut_offs AS (
                SELECT (content->>'accept_at')::float8 AS accept_at, (content->>'review_at')::float8 AS review_at
                FROM models WHERE champion
            ), near AS (
                SELECT q.*, least(abs(log_odds(q.score) - log_odds(accept_at)),
                                  abs(log_odds(q.score) - log_odds(review_at))) AS distance
                FROM asked_questions(%(run_id)s, %(batch_id)s, %(reason)s, %(text)s) AS q LEFT JOIN cut_offs ON true
            ), chosen AS (
                SELECT q.batch_id, q.record_key
                FROM near AS q
                LEFT JOIN claims AS c ON (c.batch_id, c.record_key) = (q.batch_id, q.record_key)
                                     AND c.claimed_until > clock_timestamp()
                LEFT JOIN skips AS s ON (s.batch_id, s.record_key, s.skipped_by)
                                      = (q.batch_id, q.record_key, %(name)s)
                WHERE c.screen IS NULL OR c.screen = %(screen)s
                ORDER BY c.screen IS NULL, s.skipped_at NULLS FIRST, q.waiting DESC, q.person_id,
                         round(q.distance * 2), q.loaded_at, q.record_key
                LIMIT 1
            ), claimed AS (
                INSERT INTO claims AS c (batch_id, record_key, screen, claimed_by, claimed_until)
                SELECT batch_id, record_key, %(screen)s, %(name)s, clock_timestamp() + %(patience)s FROM chosen
                ON CONFLICT (batch_id, record_key) DO UPDATE
                SET screen = excluded.screen, claimed_by = excluded.claimed_by, claimed_until = excluded.claimed_until
                WHERE c.screen = excluded.screen OR c.claimed_until <= clock_timestamp()
                RETURNING true AS ours
            )
            SELECT chosen.*, (SELECT ours FROM claimed) FROM chosen
            """,
            values,
        ).fetchone()
        if row is None:
            _release_others(connection, reviewer, None)
            return None
        if row[2]:  # else another screen took it at the same moment
            _release_others(connection, reviewer, QuestionKey(row[0], row[1]))
            return QuestionKey(row[0], row[1])


def claim(connection: Transaction, reviewer: Reviewer, key: QuestionKey, patience: timedelta) -> None:
    """Take this very question, if nobody else has it on the screen."""
    connection.execute(
        """
        INSERT INTO claims AS c (batch_id, record_key, screen, claimed_by, claimed_until)
        VALUES (%s, %s, %s, %s, clock_timestamp() + %s)
        ON CONFLICT (batch_id, record_key) DO UPDATE
        SET screen = excluded.screen, claimed_by = excluded.claimed_by, claimed_until = excluded.claimed_until
        WHERE c.claimed_until <= clock_timestamp()
        """,
        [*key, reviewer.screen, reviewer.name, patience],
    )


def _release_others(connection: Transaction, reviewer: Reviewer, kept: QuestionKey | None) -> None:
    connection.execute(
        "DELETE FROM claims WHERE screen = %s AND (batch_id, record_key) IS DISTINCT FROM (%s, %s)",
        [reviewer.screen, *(kept or (None, None))],
    )


def release(connection: Transaction, screen: str) -> None:
    """Give back what a screen has taken: it was closed, or the question answered."""
    connection.execute("DELETE FROM claims WHERE screen = %s", [screen])


def skip(connection: Transaction, reviewer: Reviewer, key: QuestionKey) -> None:
    """Put a question last for a user, who may be asked it again when all others are answered."""
    connection.execute(
        """
        INSERT INTO skips (batch_id, record_key, skipped_by)
        SELECT batch_id, record_key, %s FROM open_questions WHERE (batch_id, record_key) = (%s, %s)
        ON CONFLICT (batch_id, record_key, skipped_by) DO UPDATE SET skipped_at = clock_timestamp()
        """,
        [reviewer.name, *key],
    )
    release(connection, reviewer.screen)


def question(connection: Transaction, key: QuestionKey) -> dict[str, Any]:
    """All that is stored about one question, open or answered.

    Returns:
        The raw fields of the record; `decision`, `reason`, `score`, `similarities` (the comparison vector),
        `contributions` (log-odds by term), `margin`; `person_id` of the candidate and of the runner-up with its
        score; where the record came from: `source`, `source_key`, `run_id`, `loaded_at`; `compared`, the raw fields
        of another record that the score is about, None if it is about the candidate's own row; `accept_at` and
        `review_at` of the champion; `question_id`, None once it is answered; `own_person_id`, if a sweep asks: the
        person that the record is.

    Raises:
        PeopleDbError: there is no such decision (any more).
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            """
            SELECT d.batch_id, d.record_key, d.source_key, d.first_name, d.last_name, d.address, d.decision, d.reason,
                   d.score, d.vector AS similarities, d.contributions, d.margin,
                   (SELECT coalesce(p.duplicate_of, p.person_id) FROM people AS p WHERE p.person_id = d.person_id)
                       AS person_id,
                   (SELECT coalesce(p.duplicate_of, p.person_id) FROM people AS p
                    WHERE p.person_id = d.runner_up_person_id) AS runner_up_person_id,
                   d.runner_up_score,
                   (SELECT s.question_id FROM spellings AS s
                    WHERE (s.batch_id, s.record_key) = (d.batch_id, d.record_key)) AS question_id,
                   (SELECT coalesce(p.duplicate_of, p.person_id) FROM people AS p
                    WHERE p.person_id = CASE b.source WHEN %s THEN d.source_key::bigint END) AS own_person_id,
                   b.source, b.run_id, b.loaded_at, m.accept_at, m.review_at,
                   CASE WHEN num_nonnulls(o.first_name, o.last_name, o.address) > 0 AND b.source <> %s
                        THEN jsonb_build_object('first_name', o.first_name, 'last_name', o.last_name,
                                                'address', o.address)
                        WHEN so.record_key IS NOT NULL -- its fields were removed
                        THEN jsonb_build_object('first_name', so.first_name_std, 'last_name', so.last_name_std,
                                                'address', so.address_std) END AS compared
            FROM decisions AS d JOIN batches AS b USING (batch_id)
            LEFT JOIN decisions AS o ON (o.batch_id, o.record_key) = (coalesce(d.via_batch_id, d.batch_id),
                                                                      coalesce(d.via_record_key, d.matched_record_key))
            LEFT JOIN spellings AS so ON (so.batch_id, so.record_key) = (o.batch_id, o.record_key)
            LEFT JOIN (SELECT (content->>'accept_at')::float8 AS accept_at, (content->>'review_at')::float8 AS review_at
                       FROM models WHERE champion) AS m ON true
            WHERE (d.batch_id, d.record_key) = (%s, %s)
            """,
            [SWEEP, SWEEP, *key],
        ).fetchone()
    if row is None:
        raise PeopleDbError("this question is gone: its batch was taken back")
    return row


def waiting_beside(connection: Transaction, key: QuestionKey) -> list[Spelling]:
    """The other records that wait for the answer to the same question, the best scores first."""
    rows = connection.execute(
        """
        SELECT d.first_name, d.last_name, d.address, d.batch_id, d.record_key, b.source, b.loaded_at, true
        FROM spellings AS asked JOIN spellings AS s USING (question_id)
        JOIN decisions AS d ON (d.batch_id, d.record_key) = (s.batch_id, s.record_key)
        JOIN batches AS b ON b.batch_id = d.batch_id
        WHERE (asked.batch_id, asked.record_key) = (%(batch)s, %(key)s)
          AND (d.batch_id, d.record_key) <> (%(batch)s, %(key)s)
        ORDER BY d.score DESC NULLS LAST, d.batch_id, d.record_key
        """,
        {"batch": key.batch_id, "key": key.record_key},
    ).fetchall()
    return [Spelling(*row) for row in rows]


def waiting_in(connection: Transaction, question_ids: Sequence[int]) -> dict[int, list[Spelling]]:
    """The records of open questions, by question, the best scores first."""
    rows = connection.execute(
        """
        SELECT s.question_id, d.first_name, d.last_name, d.address, d.batch_id, d.record_key, b.source, b.loaded_at,
               true
        FROM spellings AS s JOIN decisions AS d USING (batch_id, record_key) JOIN batches AS b USING (batch_id)
        WHERE s.question_id = ANY(%s) ORDER BY d.score DESC NULLS LAST, d.batch_id, d.record_key
        """,
        [list(question_ids)],
    ).fetchall()
    found: dict[int, list[Spelling]] = {}
    for question_id, *fields in rows:
        found.setdefault(question_id, []).append(Spelling(*fields))
    return found


def spellings(connection: Transaction, person_ids: Sequence[int]) -> dict[int, list[Spelling]]:
    """All spellings of people, by the person's id: their own row first, then the others, the latest first.

    A row that was marked as a duplicate stands under the person whom it is a duplicate of. Who does not exist is left
    out.
    """
    rows = connection.execute(
        """
        WITH rows_of_people AS (
            SELECT coalesce(duplicate_of, person_id) AS stands_for, person_id, first_name, last_name, address,
                   record_key, batch_id, inserted_at
            FROM people WHERE person_id = ANY(%(people)s) OR duplicate_of = ANY(%(people)s)
        ), written AS (
            SELECT p.stands_for, p.person_id <> p.stands_for AS place, p.first_name, p.last_name, p.address, p.batch_id,
                   p.record_key, b.source, coalesce(b.loaded_at, p.inserted_at) AS seen_at, false AS is_record
            FROM rows_of_people AS p LEFT JOIN batches AS b USING (batch_id)
            UNION ALL
            SELECT p.stands_for, true, f.first_name, f.last_name, f.address, d.batch_id, d.record_key, b.source,
                   b.loaded_at, true
            FROM decisions AS d JOIN batches AS b USING (batch_id) JOIN rows_of_people AS p USING (person_id)
            JOIN fields_or_spelling AS f ON (f.batch_id, f.record_key) = (d.batch_id, d.record_key)
            WHERE d.decision = 'DUPLICATE' AND b.source <> 'people'
        ), distinct_spellings AS (
            SELECT DISTINCT ON (stands_for, first_name, last_name, address) *
            FROM written ORDER BY stands_for, first_name, last_name, address, place, is_record, seen_at
        )
        SELECT stands_for, first_name, last_name, address, batch_id, record_key, source, seen_at, is_record
        FROM distinct_spellings ORDER BY stands_for, place, seen_at DESC, record_key
        """,
        {"people": list(person_ids)},
    ).fetchall()
    found: dict[int, list[Spelling]] = {}
    for person_id, *fields in rows:
        found.setdefault(person_id, []).append(Spelling(*fields))
    return found


def answer_of(connection: Transaction, key: QuestionKey) -> Answer | None:
    """What somebody has answered to a question; None while it is open.

    Raises:
        PeopleDbError: there is no such decision (any more).
    """
    row = connection.execute(
        """
        SELECT d.decision,
               CASE WHEN d.decision = 'DUPLICATE'
                     AND NOT EXISTS ( -- of several records of somebody new, one was inserted
                        SELECT FROM judgements AS n JOIN decisions AS inserted USING (batch_id, record_key)
                        WHERE n.question_id = j.question_id AND inserted.decision = 'NEW'
                          AND inserted.person_id = d.person_id)
                    THEN d.person_id END, j.judged_by, j.judged_at
        FROM decisions AS d
        LEFT JOIN judgements AS j ON (j.batch_id, j.record_key) = (d.batch_id, d.record_key) AND NOT j.dissents
        WHERE (d.batch_id, d.record_key) = (%s, %s) ORDER BY j.judgement_id DESC LIMIT 1
        """,
        key,
    ).fetchone()
    if row is None:
        raise PeopleDbError("this question is gone: its batch was taken back")
    return None if row[0] == "REVIEW" else Answer(*row[1:])


def progress(connection: Transaction, asked: Asked, name: str) -> dict[str, Any]:
    """How far review is, and what can be asked for.

    Returns:
        `open` (of those asked for), `open_in_all`, `answered_today` by this user; and the number of open questions by
        reason, `reasons`, and by batch, `batches`: the latest first, with their source.
    """
    in_all = connection.execute("SELECT count(*) FROM open_questions")
    asked_for = connection.execute(
        "SELECT count(*) FROM asked_questions(%(run_id)s, %(batch_id)s, %(reason)s, %(text)s)", asked.bound()
    )
    answered = connection.execute(
        """
        SELECT count(*) FROM judgements
        WHERE judged_by = %s AND judged_at >= current_date AND decision_before->>'decision' = 'REVIEW'
        """,
        [name],
    )
    reasons = connection.execute("SELECT reason, count(*) FROM open_questions GROUP BY reason ORDER BY reason")
    batches = connection.execute(
        """
        SELECT batch_id, source, loaded_at, count(*) FROM open_questions
        GROUP BY batch_id, source, loaded_at ORDER BY loaded_at DESC, batch_id
        """
    )
    return {
        "open": value(asked_for),
        "open_in_all": value(in_all),
        "answered_today": value(answered),
        "reasons": dict(reasons.fetchall()),
        "batches": [
            {"batch_id": batch_id, "source": source, "loaded_at": loaded_at, "open": count}
            for batch_id, source, loaded_at, count in batches.fetchall()
        ],
    }


def said_about(connection: Transaction, key: QuestionKey) -> list[Said]:
    """What people have said about a record, the first first; what was taken back is not among it."""
    rows = connection.execute(
        """
        SELECT judged_by, is_match, judged_at FROM judgements WHERE (batch_id, record_key) = (%s, %s)
        ORDER BY judgement_id
        """,
        key,
    ).fetchall()
    return [Said(*row) for row in rows]


def review_work(connection: Transaction, batch_id: str, limit: int) -> ReviewWork:
    """How review stood when a batch was loaded; what was answered since counts too.

    Args:
        connection: a transaction.
        batch_id: the batch.
        limit: how many batches, this one and those before it, are told of one by one.
    """
    batches = connection.execute(
        """
        WITH until AS (SELECT loaded_at FROM batches WHERE batch_id = %(batch)s), told AS (
            SELECT b.* FROM batches AS b, until
            WHERE b.loaded_at <= until.loaded_at AND b.run_id <> %(first)s AND b.source <> %(sweep)s
            ORDER BY b.loaded_at DESC, b.batch_id LIMIT %(limit)s
        ), answers AS (
            SELECT DISTINCT ON (j.batch_id, j.record_key) j.batch_id, j.record_key,
                   (j.is_match AND d.person_id IS NOT DISTINCT FROM (j.decision_before->>'person_id')::bigint)
                   = ((j.decision_before->>'score')::float8 >= .5 AND j.decision_before->>'reason' <> 'HOUSEHOLD')
                   AS agreed
            FROM judgements AS j JOIN decisions AS d USING (batch_id, record_key)
            WHERE j.decision_before->>'decision' = 'REVIEW' AND d.decision <> 'REVIEW'
            ORDER BY j.batch_id, j.record_key, j.judgement_id
        )
        SELECT t.batch_id, t.received, t.review, count(a.record_key), count(*) FILTER (WHERE a.agreed)
        FROM told AS t LEFT JOIN answers AS a USING (batch_id)
        GROUP BY t.batch_id, t.received, t.review, t.loaded_at ORDER BY t.loaded_at, t.batch_id
        """,
        {"batch": batch_id, "first": FIRST_PEOPLE, "sweep": SWEEP, "limit": limit},
    ).fetchall()
    count, age = connection.execute(
        """
        SELECT count(*), percentile_cont(.5) WITHIN GROUP (ORDER BY until.loaded_at - q.loaded_at)
        FROM open_questions AS q, (SELECT loaded_at FROM batches WHERE batch_id = %s) AS until
        WHERE q.loaded_at <= until.loaded_at
        """,
        [batch_id],
    ).fetchall()[0]
    disputed = connection.execute(
        """
        SELECT yes.left_first_name, yes.left_last_name, yes.left_address, yes.judged_by, no.judged_by
        FROM disagreements JOIN judgements AS yes ON yes.judgement_id = said_yes
        JOIN judgements AS no ON no.judgement_id = said_no ORDER BY said_yes DESC, said_no DESC
        """
    ).fetchall()
    return ReviewWork(
        open=count,
        median_age=age,
        batches=[ReviewedBatch(*row) for row in batches],
        disputed=[Disputed(*row) for row in disputed],
    )


def open_keys(connection: Transaction, asked: Asked) -> list[QuestionKey]:
    """All open questions that are asked for, oldest batch first."""
    rows = connection.execute(
        """
        SELECT batch_id, record_key FROM asked_questions(%(run_id)s, %(batch_id)s, %(reason)s, %(text)s)
        ORDER BY loaded_at, batch_id, record_key
        """,
        asked.bound(),
    )
    return [QuestionKey(*row) for row in rows.fetchall()]


def decided_key(connection: Transaction, batch_id: str, record_key: str) -> QuestionKey:
    """The decision whose keys begin like this.

    Raises:
        PeopleDbError: there is none, or more than one.
    """
    rows = connection.execute(
        """
        SELECT batch_id, record_key FROM decisions
        WHERE starts_with(batch_id, %s) AND starts_with(record_key, %s) LIMIT 2
        """,
        [batch_id, record_key],
    ).fetchall()
    if not rows:
        raise PeopleDbError(f"no decision of a loaded batch {batch_id} about a record {record_key}")
    if len(rows) > 1:
        raise PeopleDbError(f"more than one decision begins with {batch_id} and {record_key}: give more of the keys")
    return QuestionKey(*rows[0])


def begun_batch(connection: Transaction, batch_id: str) -> str:
    """The id of the batch, loaded or taken back, that begins like this; what names none is returned as it is.

    Raises:
        PeopleDbError: there are several.
    """
    rows = connection.execute(
        """
        SELECT batch_id FROM batches WHERE starts_with(batch_id, %(begin)s)
        UNION SELECT batch_id FROM undone_batches WHERE starts_with(batch_id, %(begin)s) LIMIT 2
        """,
        {"begin": batch_id},
    ).fetchall()
    if len(rows) > 1 and (batch_id,) not in rows:
        raise PeopleDbError(f"more than one batch begins with {batch_id}: give more of it")
    return batch_id if len(rows) != 1 else str(rows[0][0])


def history(connection: Transaction, person_id: int) -> dict[str, list[dict[str, Any]]]:
    """What was decided and judged about a person.

    Returns:
        `decisions`: records that were taken for this person, or wait with this person as candidate, latest first.
        `judgements`: what people said about those records, latest first; `disputed`: others say otherwise.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        decisions = cursor.execute(
            """
            SELECT d.batch_id, d.record_key, f.first_name, f.last_name, f.address, d.decision, d.reason, d.score,
                   b.source, b.loaded_at
            FROM decisions AS d JOIN batches AS b USING (batch_id) JOIN people AS p USING (person_id)
            LEFT JOIN fields_or_spelling AS f ON (f.batch_id, f.record_key) = (d.batch_id, d.record_key)
            WHERE coalesce(p.duplicate_of, p.person_id) = %s
            ORDER BY b.loaded_at DESC, d.record_key LIMIT 200
            """,
            [person_id],
        ).fetchall()
        judgements = cursor.execute(
            """
            SELECT j.left_first_name AS first_name, j.left_last_name AS last_name, j.left_address AS address,
                   j.is_match, j.judged_by, j.judged_at,
                   EXISTS (SELECT FROM disagreements WHERE j.judgement_id IN (said_yes, said_no)) AS disputed
            FROM judgements AS j JOIN decisions AS d USING (batch_id, record_key)
            JOIN people AS p ON p.person_id IN (d.person_id, (j.decision_before->>'person_id')::bigint)
            WHERE coalesce(p.duplicate_of, p.person_id) = %s
            GROUP BY j.judgement_id ORDER BY j.judgement_id DESC LIMIT 200
            """,
            [person_id],
        ).fetchall()
    return {"decisions": decisions, "judgements": judgements}


def latest_records(connection: Transaction, record_keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The raw fields, batch and person of the latest decision about each of these records that is still there."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            """
            SELECT DISTINCT ON (record_key) record_key, batch_id, first_name, last_name, address, person_id
            FROM decisions JOIN batches USING (batch_id) WHERE record_key = ANY(%s)
            ORDER BY record_key, loaded_at DESC
            """,
            [list(record_keys)],
        ).fetchall()
    return {row["record_key"]: row for row in rows}


def marked_rows(connection: Transaction, person_id: int) -> list[dict[str, Any]]:
    """The rows of `people` that were marked as duplicates of a person: `person_id` and the raw fields."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            SELECT person_id, first_name, last_name, address FROM people WHERE duplicate_of = %s ORDER BY person_id
            """,
            [person_id],
        ).fetchall()


def stands_for(connection: Transaction, person_id: int) -> int:
    """The person whom a row of `people` is: itself, or whom it was marked as a duplicate of.

    Raises:
        PeopleDbError: there is no such person.
    """
    row = connection.execute(
        "SELECT coalesce(duplicate_of, person_id) FROM people WHERE person_id = %s", [person_id]
    ).fetchone()
    if row is None:
        raise PeopleDbError(f"there is no person {person_id}")
    return int(row[0])
