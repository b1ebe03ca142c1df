"""Clerical review: what people are asked, in words, and what becomes of their answers.

The page in Airflow's UI (`pages.review`) and the commands of `dev/upkeep` are two ways to see the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, NamedTuple

from common import newcomers, people_db
from common.newcomers import Alike
from common.people_db import Answer, Asked, QuestionKey, Reviewer, Said
from common.settings import FOUND_BELOW, FOUND_PEOPLE, MAX_FOUND, REVIEW_CLAIM, REVIEW_LOCK_TIMEOUT
from common.standardising import standardise_people

if TYPE_CHECKING:
    from common.linkage.model import LinkageModel

FIELDS = ("first_name", "last_name", "address")

PROMOTIONS_SHOWN = 10
"""Promotions that were asked for, on the page: the open one and those answered last."""

Marked = list[tuple[str, bool]]
"""A text in pieces, and whether each piece differs from the text that it is compared with."""

_ALIKE_ENOUGH = 0.5
"""Of two texts that have less in common than this share of their characters, all is marked."""

_ALIKE_NAME, _COMMON = 0.85, 0.5
"""A name that is so alike on both sides, and so common as a share of the commonest, is called common."""

_WHY = {
    "BORDERLINE": "The score of {score} lies between the cut-offs: from {review_at} on somebody is asked, "
    "from {accept_at} on a record counts as a duplicate.",
    "HOUSEHOLD": "They live at the same address under the same last name, but the first name or the generation "
    "(jr, sr) is another one. Mostly that is a relative.",
    "THIN_MARGIN": "Two known people fit about equally well: one scores {score}, the other {runner_up_score}.",
    "LATER_SPELLING": "The record is like a later spelling of this person, but not like the first one.",
    "OPEN_QUESTION": "The record is like another one that waits for an answer.",
}

_TERMS = {
    "first_name": "First name",
    "last_name": "Last name",
    "address": "Address as a whole",
    "address_words": "Words of the address",
    "address_numbers": "Numbers of the address",
    "swapped": "Names swapped",
    "intercept": "Before comparing",
}
_LEVELS = ((1.0, "the same"), (0.93, "nearly the same"), (0.85, "alike"), (0.7, "a little alike"), (0.0, "different"))


@dataclass(frozen=True)
class Term:
    """One term of a score: its name and what was found, in words, and the log-odds that it adds."""

    name: str
    found: str
    log_odds: float


@dataclass(frozen=True)
class Written:
    """A spelling, marked where it differs from the record that is asked about, and where it came from."""

    first_name: Marked
    last_name: Marked
    address: Marked
    source: str
    seen_at: datetime


@dataclass(frozen=True)
class Candidate:
    """A person whom a record may be: all spellings, their own row first; with the score and its terms if known.

    `household`: whether the two are known to be relatives rather than one person.
    """

    person_id: int
    score: float | None
    spellings: list[Written]
    terms: list[Term]
    household: bool = False


@dataclass(frozen=True)
class Question:
    """A question as it is shown.

    Attributes:
        batch_id: names the question, with `record_key`.
        record_key: likewise.
        source: where the record came from; so `source_key`, its key there, `run_id` and `loaded_at`.
        reason: a value of `linkage.decision.Reason`.
        why: that, in words.
        own_person_id: the person that the record is, if a sweep of the table asks whether it holds somebody twice.
        record: the fields of the record, marked where they differ from the candidate.
        others: the other records that wait for the answer to this question.
        compared: another record, if the score is about that one: a later spelling of the candidate, or one that waits.
        candidate: None if that person is gone, or if the record is like another waiting record.
        runner_up: None if there is none.
        answer: None while the question is open.
        said: what people have said about the record so far; they may disagree.
    """

    batch_id: str
    record_key: str
    source: str
    source_key: str | None
    run_id: str
    loaded_at: datetime
    reason: str
    why: str
    own_person_id: int | None
    record: dict[str, Marked]
    others: list[Written]
    compared: dict[str, Marked] | None
    candidate: Candidate | None
    runner_up: Candidate | None
    answer: Answer | None
    said: list[Said]

    @property
    def key(self) -> QuestionKey:
        """Names the question."""
        return QuestionKey(self.batch_id, self.record_key)


@dataclass(frozen=True)
class Newcomer:
    """Somebody who came while a question waited, and is as much like its records as a duplicate.

    `person_id`, or `question_id` of another open question: one of them is None. The spellings are those of the person,
    or of the records that wait there.
    """

    person_id: int | None
    question_id: int | None
    score: float
    spellings: list[Written]
    terms: list[Term]


class Outcome(NamedTuple):
    """What became of an answer.

    Attributes:
        ours: whether the question is answered like this now.
        answer: what it is answered with; None: it is open still, because of the newcomers.
        newcomers: who came meanwhile: the reviewer is to say whether it is one of them.
        dissent: whether it is noted that the reviewer disagrees with somebody else's answer.
    """

    ours: bool
    answer: Answer | None
    newcomers: Sequence[Newcomer] = ()
    dissent: bool = False


def next_question(reviewer: Reviewer, asked: Asked) -> Question | None:
    """The most useful question that nobody else has on the screen, see `people_db.claim_next`; None: all is done."""
    with people_db.transaction(REVIEW_LOCK_TIMEOUT) as connection:
        key = people_db.claim_next(connection, reviewer, asked, REVIEW_CLAIM)
        return key and _shown(connection, key)


def one_question(key: QuestionKey) -> Question:
    """A question, open or answered. Raises PeopleDbError: its batch was taken back."""
    with people_db.transaction(REVIEW_LOCK_TIMEOUT) as connection:
        return _shown(connection, key)


def open_questions(asked: Asked) -> list[Question]:
    """All open questions that are asked for."""
    with people_db.transaction(REVIEW_LOCK_TIMEOUT) as connection:
        return [_shown(connection, key) for key in people_db.open_keys(connection, asked)]


def progress(asked: Asked, name: str) -> dict[str, Any]:
    """See `people_db.progress`; and `model_asks`: whether a challenger waits to be approved."""
    with people_db.transaction(REVIEW_LOCK_TIMEOUT) as connection:
        asking = [row for row in people_db.promotions(connection, 1) if row["approved"] is None]
        return people_db.progress(connection, asked, name) | {"model_asks": bool(asking)}


def promotions() -> dict[str, Any]:
    """The challenger that asks to be champion, and how those before it were answered.

    Returns:
        `open`, None if there is none, and `answered`, the latest first: rows of table `promotions` with the `formula`;
        the `examples` among the `changes` of the open one with the raw fields of their records.
    """
    with people_db.transaction(REVIEW_LOCK_TIMEOUT) as connection:
        rows = people_db.promotions(connection, PROMOTIONS_SHOWN)
        asking = [row for row in rows if row["approved"] is None]
        examples = [example for row in asking for example in row["changes"]["examples"]]
        records = people_db.latest_records(connection, [example["record_key"] for example in examples])
    for example in examples:
        example |= records.get(example["record_key"], dict.fromkeys((*FIELDS, "person_id", "batch_id")))
    return {"open": asking[0] if asking else None, "answered": rows[len(asking) :]}


def answer_promotion(version: str, approve: bool, name: str) -> dict[str, Any]:
    """See `people_db.answer_promotion`; whether it is answered like this now (`ours`), and the row (`answer`)."""
    with people_db.transaction(REVIEW_LOCK_TIMEOUT) as connection:
        row = people_db.answer_promotion(connection, version, approve, name)
    return {"ours": (row["approved"], row["answered_by"]) == (approve, name), "answer": row}


def skip(reviewer: Reviewer, key: QuestionKey) -> None:
    """See `people_db.skip`."""
    with people_db.transaction(REVIEW_LOCK_TIMEOUT) as connection:
        people_db.skip(connection, reviewer, key)


def release(screen: str) -> None:
    """See `people_db.release`."""
    with people_db.transaction(REVIEW_LOCK_TIMEOUT) as connection:
        people_db.release(connection, screen)


def answer(
    reviewer: Reviewer,
    key: QuestionKey,
    person_id: int | None,
    seen: Sequence[Alike] = (),
    together: Sequence[int] = (),
) -> Outcome:
    """Answer an open question, for good.

    It stays as it is where somebody else has answered, or where it is to be somebody new and others came meanwhile who
    are as much alike.

    Args:
        reviewer: who answers.
        key: the question.
        person_id: whom the record belongs to; None: it is somebody new, and inserted.
        seen: whom an answer before this has shown as newcomers, and who they are not.
        together: other open questions whose records are the same new person; they are among those in `seen`.

    Returns:
        What became of it. Somebody else's answer is not overturned; the same answer again, as from a page that did not
        hear back, changes nothing.

    Raises:
        PeopleDbUnreachable: others are writing, or there is no connection; the question stays open.
        PeopleDbError: the question or the person is gone.
    """
    # Without the lock on people first: a question that is answered already is told at once, whoever is writing, and
    # nobody waits for a comparison.
    with people_db.transaction(REVIEW_LOCK_TIMEOUT) as connection:
        known = people_db.answer_of(connection, key)
        compared = newcomers.compare(connection, key) if known is None and person_id is None else None
    if known is None:
        with people_db.writing(REVIEW_LOCK_TIMEOUT) as connection:
            known = people_db.answer_of(connection, key)
            if known is None:
                if compared and (came := newcomers.brought_up_to_date(connection, compared).newcomers(seen)):
                    return Outcome(False, None, _shown_newcomers(connection, key, came))
                new_person = judge(connection, key, person_id, reviewer.name)
                for question_id in together:
                    people_db.answer_question(connection, question_id, new_person, judged_by=reviewer.name)
                standardise_people(connection)
                people_db.release(connection, reviewer.screen)
                known = people_db.answer_of(connection, key)
    assert known is not None  # noqa: S101 - judged above
    ours = known.judged_by == reviewer.name and known.person_id == person_id
    if ours or known.judged_by == reviewer.name:
        return Outcome(ours, known)
    with people_db.transaction(REVIEW_LOCK_TIMEOUT) as connection:
        noted = known.person_id != person_id and people_db.dissent(connection, *key, person_id, reviewer.name)
    return Outcome(False, known, dissent=noted)


def _shown_newcomers(
    connection: people_db.Transaction, key: QuestionKey, came: Sequence[newcomers.Newcomer]
) -> list[Newcomer]:
    row, model = people_db.question(connection, key), people_db.deciding_model()
    record = {name: row[name] for name in FIELDS}
    people = people_db.spellings(connection, [one.who.person_id for one in came if one.who.person_id is not None])
    waiting = people_db.waiting_in(connection, [one.who.question_id for one in came if one.who.question_id is not None])
    shown = []
    for one in came:
        known = waiting[one.who.question_id] if one.who.question_id is not None else people[one.who.person_id or 0]
        spellings = [_written(spelling, record, bool(one.pair["swapped"])) for spelling in known]
        shown.append(Newcomer(*one.who, one.score, spellings, _terms_of(one.pair, model)))
    return shown


def judge(connection: people_db.Transaction, key: QuestionKey, person_id: int | None, name: str) -> int:
    """Answer an open question for all its records, or turn a decision round; standardise what that has stored.

    Of two people of whom a sweep asks, somebody new means that they are two.

    Whoever calls it has looked at the newcomers. Returns whose records they are.
    """
    asked = people_db.question(connection, key)
    if asked["source"] == people_db.SWEEP:
        judged = people_db.judge_pair(connection, *key, person_id, judged_by=name)
    elif asked["question_id"] is None:
        judged = people_db.judge(connection, *key, person_id, judged_by=name)
    else:
        judged = people_db.answer_question(connection, asked["question_id"], person_id, judged_by=name)
    standardise_people(connection)
    return judged


def take_back(reviewer: Reviewer) -> Question | None:
    """Undo the last answer of a user, see `people_db.take_back`; returns the question, which is on the screen again."""
    with people_db.writing(REVIEW_LOCK_TIMEOUT) as connection:
        taken = people_db.take_back(connection, reviewer.name)
        if taken is None:
            return None
        standardise_people(connection)
        key = QuestionKey(*taken)
        people_db.release(connection, reviewer.screen)
        people_db.claim(connection, reviewer, key, REVIEW_CLAIM)
        return _shown(connection, key)


def _shown(connection: people_db.Transaction, key: QuestionKey) -> Question:
    row = people_db.question(connection, key)
    ids = [row["person_id"], row["runner_up_person_id"]]
    written = people_db.spellings(connection, [person_id for person_id in ids if person_id is not None])
    record = {name: row[name] for name in FIELDS}
    swapped = bool((row["similarities"] or {}).get("swapped"))
    terms = explained(row["contributions"] or {}, row["similarities"] or {})
    candidate = _candidate(record, row["person_id"], row["score"], written, terms, swapped)
    beside = row["compared"] or (_plain(written[candidate.person_id][0]) if candidate else None)
    compared = row["compared"] and _marked_fields(row["compared"], record, swapped)
    return Question(
        **{name: row[name] for name in ("batch_id", "record_key", "source", "source_key", "run_id", "loaded_at")},
        reason=row["reason"],
        why=_why(row),
        own_person_id=row["own_person_id"],
        record=_marked_fields(record, beside, swapped),
        others=[_written(other, record, swapped) for other in people_db.waiting_beside(connection, key)],
        compared=compared,
        candidate=candidate,
        runner_up=_candidate(record, row["runner_up_person_id"], row["runner_up_score"], written, [], False),
        answer=people_db.answer_of(connection, key),
        said=people_db.said_about(connection, key),
    )


def _why(row: Mapping[str, Any]) -> str:
    numbers = {name: percent(row[name]) for name in ("score", "runner_up_score", "accept_at", "review_at")}
    return _WHY.get(row["reason"], f"Decided as {row['reason'].replace('_', ' ').lower()}.").format(**numbers)


def _candidate(
    record: Mapping[str, str | None],
    person_id: int | None,
    score: float | None,
    written: Mapping[int, Sequence[people_db.Spelling]],
    terms: list[Term],
    swapped: bool,
) -> Candidate | None:
    if person_id is None or person_id not in written:
        return None
    return Candidate(person_id, score, [_written(spelling, record, swapped) for spelling in written[person_id]], terms)


def _written(spelling: people_db.Spelling, record: Mapping[str, str | None], swapped: bool) -> Written:
    fields = _marked_fields(_plain(spelling), record, swapped)
    return Written(**fields, source=spelling.source or "in the table before", seen_at=spelling.seen_at)


def _plain(spelling: people_db.Spelling) -> dict[str, str | None]:
    return {name: getattr(spelling, name) for name in FIELDS}


def explained(contributions: Mapping[str, float], similarities: Mapping[str, Any]) -> list[Term]:
    """The terms of a score in words; an address that is missing is one term, and names that are not swapped are none.

    Args:
        contributions: log-odds by term, the intercept among them.
        similarities: the comparison vector, None for a missing similarity.
    """
    names = [name for name in _TERMS if name in contributions and (name != "swapped" or similarities.get("swapped"))]
    terms = [
        Term(
            _TERMS[name], _found(name, similarities.get(name)) + _common(name, similarities), float(contributions[name])
        )
        for name in names
    ]
    of_address = [place for place, name in enumerate(names) if name.startswith("address")]
    if of_address and similarities.get("address") is None:
        missing = Term("Address", _found("address", None), sum(terms[place].log_odds for place in of_address))
        terms = [*terms[: of_address[0]], missing, *terms[of_address[-1] + 1 :]]
    return terms


def _found(name: str, similarity: float | bool | None) -> str:
    if name == "intercept":
        return "most pairs are two people"
    if name == "swapped":
        return "first and last name are the other way round"
    if similarity is None:
        return "missing on one side"
    if name == "address_numbers":
        return {0.0: "none in common", 1.0: "the same"}.get(float(similarity), f"{100 * similarity:.0f} % in common")
    return f"{next(words for least, words in _LEVELS if similarity >= least)} ({100 * similarity:.0f} %)"


def _common(name: str, similarities: Mapping[str, Any]) -> str:
    """That a name is common, where it is alike on both sides: then it says less."""
    alike = (similarities.get(name) or 0) >= _ALIKE_NAME
    return ", a common name" if alike and (similarities.get(f"{name}_commonness") or 0) >= _COMMON else ""


def percent(score: float | None) -> str:
    """A score as people read it; 100 % only if it is 1."""
    if score is None:
        return "unknown"
    return f"{100 * score:.0f} %" if score in (0, 1) else f"{100 * min(max(score, 0.001), 0.999):.1f} %"


def _marked_fields(
    ours: Mapping[str, str | None], theirs: Mapping[str, str | None] | None, swapped: bool
) -> dict[str, Marked]:
    """Our fields, marked where they differ from theirs; with the names crosswise if they are swapped."""
    across = {"first_name": "last_name", "last_name": "first_name"} if swapped else {}
    theirs = theirs or {}
    return {name: marked(ours[name], theirs.get(across.get(name, name))) for name in FIELDS}


def marked(ours: str | None, theirs: str | None) -> Marked:
    """Our text in pieces, marked where it differs from theirs; capitals and small letters count as the same.

    Where one of them is missing, nothing is marked: that is no difference.
    """
    if not ours or not theirs:
        return [(ours, False)] if ours else []
    one, other = ([letter.lower() for letter in text] for text in (ours, theirs))
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    if matcher.ratio() < _ALIKE_ENOUGH:
        return [(ours, True)]
    return [(ours[start:end], tag != "equal") for tag, start, end, _, _ in matcher.get_opcodes() if end > start]


def find(first_name: str | None, last_name: str | None, address: str | None) -> list[Candidate]:
    """The known people nearest to a name and an address by the champion, the nearest first; nothing is changed.

    Raises:
        CandidateExplosion: too many people come near: more of the name or the address is needed.
    """
    import pyarrow as pa

    from common import lookup
    from common.linkage.batch import Effort
    from common.linkage.search import Budget
    from common.linkage.standardise import standardise

    record = dict(zip(FIELDS, ((text or "").strip() or None for text in (first_name, last_name, address)), strict=True))
    if not any(record.values()):
        return []
    columns = {name: pa.array([text], pa.string()) for name, text in {"record_key": "sought", **record}.items()}
    sought = standardise(pa.table(columns))
    sought = sought.append_column("quarantine_reason", pa.nulls(1, pa.string()))
    model = people_db.deciding_model()
    generous = replace(model, review_at=model.review_at / FOUND_BELOW)
    effort = Effort(budget=Budget(pairs=MAX_FOUND))
    pairs = lookup.find(sought, generous, people_db.plan_shards(REVIEW_LOCK_TIMEOUT), effort)
    pairs = pairs.sort_by([("score", "descending"), ("person_id", "ascending")])
    best: dict[int, dict[str, Any]] = {}
    for pair in pairs.filter(pairs["person_id"].is_valid()).to_pylist():
        if len(best) < FOUND_PEOPLE:
            best.setdefault(pair["person_id"], pair)
    with people_db.transaction(REVIEW_LOCK_TIMEOUT) as connection:
        written = people_db.spellings(connection, list(best))
    found = []
    for person_id, pair in best.items():
        terms, swapped = _terms_of(pair, model), bool(pair["swapped"])
        candidate = _candidate(record, person_id, pair["score"], written, terms, swapped)
        if candidate is not None:
            found.append(replace(candidate, household=pair["household"]))
    return found


def _terms_of(pair: Mapping[str, Any], model: "LinkageModel") -> list[Term]:
    """The terms of the score of one pair, by the names of `batch_pairs`, in words."""
    from common.linkage.model import COMPARISON_VECTOR

    vectors = {name: [math.nan if pair[name] is None else float(pair[name])] for name in COMPARISON_VECTOR}
    contributions = {name: float(values[0]) for name, values in model.contributions(vectors).items()}
    return explained(contributions | {"intercept": model.intercept}, pair)


def person(person_id: int) -> dict[str, Any]:
    """One person: `person_id`, `spellings`, `rows` (see `people_db.marked_rows`), and what was decided and judged.

    For `decisions` and `judgements` see `people_db.history`.

    Raises:
        PeopleDbError: there is no such person.
    """
    with people_db.transaction(REVIEW_LOCK_TIMEOUT) as connection:
        person_id = people_db.stands_for(connection, person_id)
        spellings = people_db.spellings(connection, [person_id])[person_id]
        rows = people_db.marked_rows(connection, person_id)
        return {"person_id": person_id, "spellings": spellings, "rows": rows} | people_db.history(connection, person_id)
