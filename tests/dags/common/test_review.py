"""Clerical review: who is asked what and in which order, answers that are stored once, and answers taken back."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from common import newcomers, review
from common import people_db as database
from common.errors import PeopleDbError, PeopleDbUnreachable
from common.newcomers import Alike
from common.people_db import Asked, QuestionKey, Reviewer
from reviewing import (
    JONES,
    MODEL,
    RELATIVE,
    SISTER,
    SMITH,
    THIN,
    WOOD,
    execute,
    insert_by_hand,
    load,
    person_of,
    stored,
    sweep,
)

ANN = Reviewer("ann", "screen-ann")
BEN = Reviewer("ben", "screen-ben")
ALL = Asked()


@pytest.fixture
def asked(people_db: str) -> str:
    """A table of three people, and three questions about records that came after; the DSN."""
    database.champion("a run")
    load("batch 1", SMITH, JONES, WOOD)
    load("batch 2", RELATIVE, THIN, source="new.csv")
    load("batch 3", SISTER, source="newer.csv")
    assert execute(people_db, "SELECT record_key, reason FROM open_questions ORDER BY record_key") == [
        ("relative", "HOUSEHOLD"),
        ("sister", "HOUSEHOLD"),
        ("thin", "BORDERLINE"),
    ]
    return people_db


def next_keys(reviewer: Reviewer, asked: Asked = ALL, skipping: bool = True) -> list[str]:
    """The records that somebody is asked about, one after the other, skipping each."""
    keys: list[str] = []
    while (question := review.next_question(reviewer, asked)) and question.record_key not in keys:
        keys.append(question.record_key)
        review.skip(reviewer, question.key)
    return keys


# Who is asked what ------------------------------------------------------------------------------------------------


def test_most_useful_first(asked: str) -> None:
    """Two records wait in one question, for they are alike; the others wait alone."""
    load("batch 4", ("sister again", "Wilma", "Smith", "12 Main St, Springfield"), source="newer.csv")
    assert execute(asked, "SELECT record_key FROM open_questions WHERE waiting = 2") == [("sister",)]
    assert next_keys(ANN)[0] == "sister"


def test_scores_near_a_cut_off_come_before_others(asked: str) -> None:
    load("batch 4", ("other", "Evlin", "Underwod", None), source="new.csv")
    scores = dict(execute(asked, "SELECT record_key, score FROM open_questions WHERE record_key IN ('thin', 'other')"))
    nearest = sorted(scores, key=lambda key: min(abs(_log_odds(scores[key]) - _log_odds(at)) for at in _cut_offs()))
    assert [key for key in next_keys(ANN) if key in scores] == nearest


def _cut_offs() -> tuple[float, float]:
    return MODEL.accept_at, MODEL.review_at


def _log_odds(score: float) -> float:
    from scipy.special import logit

    return float(logit(score))


def test_what_was_skipped_comes_last_for_who_skipped_it(asked: str) -> None:
    first = review.next_question(ANN, ALL)
    review.skip(ANN, first.key)
    assert next_keys(ANN)[-1] == first.record_key
    assert next_keys(BEN)[0] == first.record_key


def test_a_question_on_one_screen_is_offered_on_no_other(asked: str) -> None:
    first, second = review.next_question(ANN, ALL), review.next_question(BEN, ALL)
    assert first.key != second.key
    assert review.next_question(ANN, ALL).key == first.key, "after a reload it is there again"
    third = review.next_question(Reviewer("ann", "another tab"), ALL)
    assert len({first.key, second.key, third.key}) == 3
    assert review.next_question(Reviewer("eve", "one too many"), ALL) is None


def test_a_question_comes_back_after_some_minutes_or_when_its_screen_is_closed(
    asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("common.review.REVIEW_CLAIM", timedelta(seconds=-1))
        lost = review.next_question(ANN, ALL)
    assert review.next_question(BEN, ALL).key == lost.key
    assert review.next_question(ANN, ALL).key != lost.key
    review.release(BEN.screen)
    assert lost.record_key in next_keys(Reviewer("eve", "screen-eve"))


def test_many_screens_that_ask_at_once_get_one_question_each(asked: str) -> None:
    load("batch 4", *((f"r{n}", name, "Jones", "7 Oak Avenue, Dover") for n, name in enumerate(NAMES)))
    barrier = threading.Barrier(len(NAMES))

    def ask(screen: int) -> QuestionKey:
        barrier.wait()
        return review.next_question(Reviewer("somebody", f"screen {screen}"), Asked(batch_id="batch 4")).key

    with ThreadPoolExecutor(len(NAMES)) as pool:
        keys = list(pool.map(ask, range(len(NAMES))))
    assert len(set(keys)) == len(NAMES)


NAMES = ("Wilma", "George", "Hugo", "Agatha", "Zoe", "Quentin")


@pytest.mark.parametrize(
    ("asked_for", "keys"),
    [
        (Asked(batch_id="batch 3"), ["sister"]),
        (Asked(run_id="run of batch 2"), ["thin", "relative"]),
        (Asked(reason="BORDERLINE"), ["thin"]),
        (Asked(text="wilma"), ["sister"]),
        (Asked(text="OAK AVE"), ["thin"]),  # in the candidate's address
        (Asked(batch_id="batch 2", reason="HOUSEHOLD"), ["relative"]),
        (Asked(text="100%_"), []),
        (Asked(text="  ", reason=""), ["thin", "relative", "sister"]),
        (Asked(batch_id="none"), []),
    ],
)
def test_filters(asked: str, asked_for: Asked, keys: list[str]) -> None:
    assert next_keys(ANN, asked_for) == keys
    assert review.progress(asked_for, "ann")["open"] == len(keys)
    assert sorted(question.record_key for question in review.open_questions(asked_for)) == sorted(keys)


def test_how_far_review_is(asked: str) -> None:
    far = review.progress(ALL, "ann")
    assert (far["open"], far["open_in_all"], far["answered_today"]) == (3, 3, 0)
    assert far["reasons"] == {"BORDERLINE": 1, "HOUSEHOLD": 2}
    assert [(batch["batch_id"], batch["source"], batch["open"]) for batch in far["batches"]] == [
        ("batch 3", "newer.csv", 1),
        ("batch 2", "new.csv", 2),
    ]
    review.answer(ANN, review.next_question(ANN, ALL).key, None)
    far = review.progress(ALL, "ann")
    assert (far["open"], far["answered_today"]) == (2, 1)
    assert review.progress(ALL, "ben")["answered_today"] == 0


def test_an_answer_holds_for_all_records_of_a_question_and_is_taken_back_for_all(asked: str) -> None:
    load("batch 4", ("sister again", "Wilma", "Smith", "12 Main St, Springfield"), source="newest.csv")
    before = stored(asked), execute(asked, "SELECT batch_id, record_key, person_id, question_id FROM spellings")
    assert next_keys(ANN, Asked(batch_id="batch 4")) == ["sister"], "the question is of both batches"
    question = review.next_question(ANN, Asked(batch_id="batch 4"))
    assert [other.source for other in question.others] == ["newest.csv"]
    assert review.answer(ANN, question.key, None)[0]
    decisions = execute(asked, "SELECT record_key, decision, person_id FROM decisions WHERE first_name = 'Wilma'")
    assert sorted(decision for _, decision, _ in decisions) == ["DUPLICATE", "NEW"]
    assert len({person_id for *_, person_id in decisions}) == 1
    assert review.take_back(ANN).key == question.key
    after = stored(asked), execute(asked, "SELECT batch_id, record_key, person_id, question_id FROM spellings")
    assert after[0] == before[0]
    assert sorted(after[1]) == sorted(before[1])


# Pairs of a sweep --------------------------------------------------------------------------------------------------

COUSIN = ("cousin", "Gilbert", "Nobody", "5 Elm St, Salem")
OTHER = ("other", "Hugo", "Nobody", "5 Elm St, Salem")


@pytest.fixture
def swept(asked: str) -> str:
    """Besides the three questions, two relatives stand in the table, whom a sweep was not sure of; the DSN."""
    insert_by_hand(asked, COUSIN, OTHER)
    sweep("sweep 1")
    assert execute(asked, "SELECT reason, person_id FROM open_questions WHERE source = 'people'") == [
        ("HOUSEHOLD", person_of(asked, "cousin"))
    ]
    return asked


def pair_asked() -> review.Question:
    (question,) = review.open_questions(Asked(text="Nobody"))
    return question


def test_a_pair_of_a_sweep_is_asked_about(swept: str) -> None:
    question = pair_asked()
    assert (question.own_person_id, question.candidate.person_id) == (
        person_of(swept, "other"),
        person_of(swept, "cousin"),
    )
    assert question.record["first_name"] == [("Hugo", True)]
    assert review.progress(ALL, "ann")["open"] == 4
    assert question.record_key in next_keys(ANN)
    assert next_keys(BEN, Asked(run_id="run of sweep 1")) == [question.record_key]


def test_the_younger_of_one_person_is_marked(swept: str) -> None:
    cousin, other = person_of(swept, "cousin"), person_of(swept, "other")
    for _ in range(2):
        assert review.answer(ANN, pair_asked_key(swept), cousin).ours
    assert execute(swept, "SELECT person_id, duplicate_of FROM people WHERE duplicate_of IS NOT NULL") == [
        (other, cousin)
    ]
    assert execute(swept, "SELECT is_match, judged_by, left_first_name, right_first_name FROM judgements") == [
        (True, "ann", "Hugo", "Gilbert")
    ]
    assert review.progress(ALL, "ann")["open"] == 3
    assert not review.answer(BEN, pair_asked_key(swept), None).ours


def pair_asked_key(dsn: str) -> QuestionKey:
    ((batch, key),) = execute(dsn, "SELECT batch_id, record_key FROM decisions WHERE last_name = 'Nobody'")
    return QuestionKey(batch, key)


def test_two_people_stay_two_and_are_not_asked_about_again(swept: str) -> None:
    cousin, other = person_of(swept, "cousin"), person_of(swept, "other")
    assert review.answer(ANN, pair_asked_key(swept), None).ours
    assert execute(swept, "SELECT person_id, other_id, judged_by FROM apart") == [(cousin, other, "ann")]
    assert execute(swept, "SELECT count(*) FROM people WHERE duplicate_of IS NOT NULL") == [(0,)]
    insert_by_hand(swept, ("more", "Quentin", "Newman", "1 Far Rd, Reno"))
    sweep("sweep 2")
    assert review.progress(ALL, "ann")["open"] == 3


def test_a_pair_that_two_sweeps_found_is_one_question(swept: str) -> None:
    insert_by_hand(swept, ("more", "Quentin", "Newman", "1 Far Rd, Reno"))
    sweep("sweep 2")
    assert pair_asked().batch_id == "sweep 2"


@pytest.mark.parametrize("same", [True, False])
def test_an_answer_about_a_pair_can_be_taken_back_without_a_trace(swept: str, same: bool) -> None:
    before = stored(swept), execute(swept, "SELECT * FROM spellings"), execute(swept, "SELECT * FROM apart")
    key = pair_asked_key(swept)
    assert review.answer(ANN, key, person_of(swept, "cousin") if same else None).ours
    assert review.take_back(ANN).key == key
    assert before == (stored(swept), execute(swept, "SELECT * FROM spellings"), execute(swept, "SELECT * FROM apart"))


def test_a_pair_may_be_somebody_else_again(swept: str) -> None:
    """Who stood for others takes them along, and the elder of the two is who stays."""
    wood = person_of(swept, "wood")
    assert review.answer(ANN, pair_asked_key(swept), wood).ours
    assert review.person(person_of(swept, "other"))["person_id"] == wood


def test_undoing_a_sweep_takes_the_marks_of_its_answers_along(swept: str) -> None:
    assert review.answer(ANN, pair_asked_key(swept), person_of(swept, "cousin")).ours
    database.undo_batch("sweep 1")
    assert execute(swept, "SELECT count(*) FROM people WHERE duplicate_of IS NOT NULL") == [(0,)]


def test_a_person_of_a_pair_who_is_gone_is_not_asked_about(swept: str) -> None:
    key = pair_asked_key(swept)
    execute(swept, "DELETE FROM people WHERE record_key = 'cousin'")
    assert review.progress(ALL, "ann")["open"] == 3
    with pytest.raises(PeopleDbError, match="is gone"):
        review.answer(ANN, key, None)


# What is shown ----------------------------------------------------------------------------------------------------


def test_a_question_says_all_that_is_known(asked: str) -> None:
    load("batch 4", ("again", "Robert", "Jones", "7 Oak Ave, Dover DE"))
    question = review.one_question(QuestionKey("batch 2", "thin"))
    assert (question.source, question.run_id, question.reason) == ("new.csv", "run of batch 2", "BORDERLINE")
    assert question.record == {"first_name": [("Robert", False)], "last_name": [("Jones", False)], "address": []}
    assert question.candidate.person_id == person_of(asked, "jones")
    own, later = question.candidate.spellings
    assert (own.address, later.address) == ([("7 Oak Avenue, Dover", False)], [("7 Oak Ave, Dover DE", False)])
    assert "between the cut-offs: from 29.8 % on" in question.why
    assert [term.name for term in question.candidate.terms] == [
        "First name",
        "Last name",
        "Address",
        "Before comparing",
    ]
    total = sum(term.log_odds for term in question.candidate.terms)
    assert total == pytest.approx(_log_odds(question.candidate.score))


@pytest.mark.parametrize(
    ("similarity", "commonness", "found"),
    [
        (1.0, 0.9, "the same (100 %), a common name"),
        (1.0, 0.1, "the same (100 %)"),
        (0.2, 0.9, "different (20 %)"),
        (None, 0.9, "missing on one side"),
        (1.0, None, "the same (100 %)"),
    ],
)
def test_a_common_name_is_called_that(similarity: float | None, commonness: float | None, found: str) -> None:
    similarities = {"last_name": similarity, "last_name_commonness": commonness}
    (term,) = review.explained({"last_name": 2.5}, similarities)
    assert (term.found, term.log_odds) == (found, 2.5)


def test_the_runner_up_is_shown(people_db: str) -> None:
    database.champion("a run")
    load("batch 1", ("one", "Robert", "Jones", "7 Oak Avenue, Dover"), ("two", "Robert", "Jones", "99 Hill Rd, Troy"))
    load("batch 2", THIN)
    question = review.one_question(QuestionKey("batch 2", "thin"))
    both = {question.candidate.person_id, question.runner_up.person_id}
    assert both == {person_of(people_db, "one"), person_of(people_db, "two")}
    assert question.runner_up.score == pytest.approx(question.candidate.score)


def test_a_candidate_who_is_gone_is_no_error(asked: str) -> None:
    execute(asked, "DELETE FROM people WHERE record_key = 'jones'")
    question = review.one_question(QuestionKey("batch 2", "thin"))
    assert question.candidate is None
    assert review.answer(ANN, question.key, None)[0]


@pytest.mark.parametrize(
    ("ours", "theirs", "pieces"),
    [
        ("Smith", "Smyth", [("Sm", False), ("i", True), ("th", False)]),
        ("SMITH", "smith", [("SMITH", False)]),
        ("Ann", "Robert", [("Ann", True)]),
        ("Ann", None, [("Ann", False)]),
        (None, "Ann", []),
        ("", None, []),
        ("Main  Street", "Main Street", [("Main", False), (" ", True), (" Street", False)]),
        ("İpek", "ipek", [("İ", True), ("pek", False)]),
    ],
)
def test_differences_are_marked_by_character(
    ours: str | None, theirs: str | None, pieces: list[tuple[str, bool]]
) -> None:
    marked = review.marked(ours, theirs)
    assert marked == pieces
    assert "".join(piece for piece, _ in marked) == (ours or "")


# Answers ----------------------------------------------------------------------------------------------------------

RELATIVE_KEY = QuestionKey("batch 2", "relative")


def answer_new(reviewer: Reviewer) -> review.Outcome:
    return review.answer(reviewer, RELATIVE_KEY, None)


def test_an_answer_is_stored_with_the_name_of_who_gave_it(asked: str) -> None:
    assert review.answer(ANN, RELATIVE_KEY, None)[0]
    assert execute(asked, "SELECT judged_by, is_match, record_key FROM judgements") == [("ann", False, "relative")]
    assert execute(asked, "SELECT decision, reason FROM decisions WHERE record_key = 'relative'") == [("NEW", "JUDGED")]
    assert execute(asked, "SELECT first_name_std FROM people WHERE record_key = 'relative'") == [("george",)]
    assert "relative" not in next_keys(ANN) + next_keys(BEN)


def test_another_candidate_may_be_the_answer(asked: str) -> None:
    wood = person_of(asked, "wood")
    assert review.answer(ANN, RELATIVE_KEY, wood)[0]
    assert execute(asked, "SELECT person_id FROM decisions WHERE record_key = 'relative'") == [(wood,)]
    with pytest.raises(PeopleDbError, match="there is no person 999"):
        review.answer(ANN, QuestionKey("batch 2", "thin"), 999)


def test_the_same_answer_again_changes_nothing(asked: str) -> None:
    answer_new(ANN)
    before = stored(asked)
    assert answer_new(ANN)[0], "a page that did not hear back sends it again"
    assert stored(asked) == before


def test_nobody_overturns_what_somebody_else_has_answered(asked: str) -> None:
    smith = person_of(asked, "smith")
    review.answer(ANN, RELATIVE_KEY, smith)
    before = {**stored(asked), "judgements": []}
    ours, known, *_ = review.answer(BEN, RELATIVE_KEY, None)
    assert (ours, known.person_id, known.judged_by) == (False, smith, "ann")
    assert {**stored(asked), "judgements": []} == before


# Disagreement ------------------------------------------------------------------------------------------------------


def test_who_disagrees_is_noted_and_no_model_learns_from_the_pair(asked: str) -> None:
    smith = person_of(asked, "smith")
    review.answer(ANN, RELATIVE_KEY, smith)
    assert database.judged_pairs().num_rows == 1
    for _ in range(2):
        assert review.answer(BEN, RELATIVE_KEY, None).dissent
    assert database.judged_pairs().num_rows == 0
    assert execute(asked, "SELECT judged_by, is_match, dissents FROM judgements ORDER BY judgement_id") == [
        ("ann", True, False),
        ("ben", False, True),
    ]
    assert [row["disputed"] for row in review.person(smith)["judgements"]] == [True, True]
    assert [said.judged_by for said in review.one_question(RELATIVE_KEY).said] == ["ann", "ben"]
    with database.transaction() as connection:
        work = database.review_work(connection, "batch 3", 10)
    assert [(pair.first_name, pair.yes, pair.no) for pair in work.disputed] == [("George", "ann", "ben")]


@pytest.mark.parametrize(("said", "disagrees"), [("smith", True), ("wood", False), (None, False)])
def test_only_what_is_said_about_the_pair_itself_is_disagreement(asked: str, said: str | None, disagrees: bool) -> None:
    review.answer(ANN, RELATIVE_KEY, None)
    outcome = review.answer(BEN, RELATIVE_KEY, said and person_of(asked, said))
    assert (outcome.ours, outcome.dissent) == (False, disagrees)
    assert database.judged_pairs().num_rows == (0 if disagrees else 1)


def test_a_dissent_hinders_nobody_from_taking_the_answer_back(asked: str) -> None:
    review.answer(ANN, RELATIVE_KEY, None)
    review.answer(BEN, RELATIVE_KEY, person_of(asked, "smith"))
    question = review.take_back(ANN)
    assert (question.answer, [said.judged_by for said in question.said]) == (None, ["ben"])
    assert review.take_back(BEN) is None, "a dissent was no answer"


def test_who_comes_round_disagrees_no_more(asked: str) -> None:
    smith = person_of(asked, "smith")
    review.answer(ANN, RELATIVE_KEY, smith)
    review.answer(BEN, RELATIVE_KEY, None)
    with database.writing() as connection:
        database.judge(connection, *RELATIVE_KEY, None, judged_by="ann")
    assert execute(asked, "SELECT count(*) FROM disagreements") == [(0,)]


# How review stands -------------------------------------------------------------------------------------------------


def test_how_review_stood_when_a_batch_was_loaded(asked: str) -> None:
    hours = "CASE batch_id WHEN 'batch 1' THEN 72 WHEN 'batch 2' THEN 49 ELSE 1 END"
    execute(asked, f"UPDATE batches SET loaded_at = now() - interval '1 hour' * {hours}")  # noqa: S608 - fixed text
    with database.transaction() as connection:
        work = database.review_work(connection, "batch 3", 10)
    assert (work.open, work.median_age) == (3, timedelta(hours=48))
    review.answer(ANN, RELATIVE_KEY, person_of(asked, "smith"))  # the household rule says two
    review.answer(ANN, QuestionKey("batch 2", "thin"), person_of(asked, "jones"))
    with database.transaction() as connection:
        work = database.review_work(connection, "batch 3", 2)
        before = database.review_work(connection, "batch 1", 2)
    assert (work.open, work.median_age, work.answered, work.agreed) == (1, timedelta(0), 2, 1)
    assert [(one.batch_id, one.received, one.open, one.answered, one.agreed) for one in work.batches] == [
        ("batch 2", 2, 0, 2, 1),
        ("batch 3", 1, 1, 0, 0),
    ]
    assert (before.open, before.median_age, len(before.batches)) == (0, None, 1)


def test_of_two_answers_at_once_one_holds(asked: str) -> None:
    smith = person_of(asked, "smith")
    barrier = threading.Barrier(2)

    def give(reviewer: Reviewer, person_id: int | None) -> review.Outcome:
        barrier.wait()
        return review.answer(reviewer, RELATIVE_KEY, person_id)

    with ThreadPoolExecutor(2) as pool:
        given = list(pool.map(give, (ANN, BEN), (smith, None)))
    assert sorted(outcome.ours for outcome in given) == [False, True]
    assert given[0][1] == given[1][1]
    assert execute(asked, "SELECT count(*) FROM judgements WHERE NOT dissents") == [(1,)]


def test_while_others_write_the_question_stays_open(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.review.REVIEW_LOCK_TIMEOUT", timedelta(seconds=0.2))
    before = stored(asked)
    with database.writing():
        with pytest.raises(PeopleDbUnreachable, match="lock timeout"):
            answer_new(ANN)
        assert review.next_question(ANN, ALL), "reading goes on"
    assert stored(asked) == before
    assert answer_new(ANN)[0]


def test_a_question_whose_batch_was_taken_back_says_so(asked: str) -> None:
    review.next_question(ANN, ALL)
    database.undo_batch("batch 2")
    with pytest.raises(PeopleDbError, match="its batch was taken back"):
        answer_new(ANN)
    assert next_keys(ANN) == ["sister"]


# Who came meanwhile ------------------------------------------------------------------------------------------------

TWIN = ("twin", "George", "Smith", "12 Main St, Springfield")


def test_somebody_new_is_compared_with_whoever_came_meanwhile(asked: str) -> None:
    """The twin came by another client, whom no batch was compared with."""
    insert_by_hand(asked, TWIN)
    before = stored(asked)
    outcome = review.answer(ANN, RELATIVE_KEY, None)
    assert (outcome.ours, outcome.answer) == (False, None)
    (newcomer,) = outcome.newcomers
    assert newcomer.person_id == max(person for (person,) in execute(asked, "SELECT person_id FROM people"))
    assert newcomer.score >= MODEL.accept_at
    assert newcomer.spellings[0].first_name == [("George", False)]
    assert sum(term.log_odds for term in newcomer.terms) == pytest.approx(_log_odds(newcomer.score))
    after = stored(asked)
    assert {**after, "people": []} == {**before, "people": []}, "nothing but standardised columns was written"
    assert review.one_question(RELATIVE_KEY).answer is None


def test_the_reviewer_says_that_it_is_the_newcomer(asked: str) -> None:
    insert_by_hand(asked, TWIN)
    (newcomer,) = review.answer(ANN, RELATIVE_KEY, None).newcomers
    assert review.answer(ANN, RELATIVE_KEY, newcomer.person_id).ours
    assert execute(asked, "SELECT count(*) FROM people") == [(4,)]


def test_the_reviewer_says_that_it_is_somebody_new_all_the_same(asked: str) -> None:
    insert_by_hand(asked, TWIN)
    (newcomer,) = review.answer(ANN, RELATIVE_KEY, None).newcomers
    seen = [Alike(newcomer.person_id, None)]
    insert_by_hand(asked, TWIN)
    (other,) = review.answer(ANN, RELATIVE_KEY, None, seen).newcomers
    assert other.person_id != newcomer.person_id, "what came since the last look is shown"
    assert review.answer(ANN, RELATIVE_KEY, None, [*seen, Alike(other.person_id, None)]).ours
    assert execute(asked, "SELECT count(*) FROM people") == [(6,)]


def test_who_was_there_before_or_is_only_a_relative_is_no_newcomer(asked: str) -> None:
    insert_by_hand(asked, ("brother", "Theodore", *SMITH[2:]))
    execute(asked, "UPDATE people SET last_name = 'Jonas' WHERE record_key = 'jones'")
    assert review.answer(ANN, RELATIVE_KEY, None).ours


def test_whoever_is_spelt_otherwise_since_is_a_newcomer(asked: str) -> None:
    fields = "first_name = 'George', last_name = 'Smith', address = '12 Main Street, Springfield'"
    execute(asked, f"UPDATE people SET {fields} WHERE record_key = 'wood'")  # noqa: S608 - fixed text
    (newcomer,) = review.answer(ANN, RELATIVE_KEY, None).newcomers
    assert newcomer.person_id == person_of(asked, "wood")


def test_another_open_question_may_be_the_same_new_person(asked: str) -> None:
    load("batch 4", ("again", *RELATIVE[1:]), source="newest.csv")
    execute(asked, "UPDATE spellings SET question_id = 99 WHERE record_key = 'again'")
    (newcomer,) = review.answer(ANN, RELATIVE_KEY, None).newcomers
    assert (newcomer.person_id, newcomer.question_id) == (None, 99)
    assert newcomer.spellings[0].source == "newest.csv"
    assert review.answer(ANN, RELATIVE_KEY, None, [Alike(None, 99)], [99]).ours
    new_person = person_of(asked, "relative")
    assert execute(asked, "SELECT decision, person_id FROM decisions WHERE record_key = 'again'") == [
        ("DUPLICATE", new_person)
    ]
    assert [review.take_back(ANN).record_key for _ in range(2)] == ["again", "relative"]


def test_where_it_is_not_known_with_whom_it_was_compared_that_is_everybody(asked: str) -> None:
    """The rows came from a version before, or with a backup from a cluster that counts otherwise."""
    insert_by_hand(asked, TWIN)
    (newcomer,) = review.answer(ANN, RELATIVE_KEY, None).newcomers
    execute(asked, "UPDATE batches SET compared_with = pg_current_snapshot()")
    assert review.answer(ANN, RELATIVE_KEY, None, [Alike(newcomer.person_id, None)]).ours
    review.take_back(ANN)
    for statement in ("UPDATE batches SET compared_with = NULL", "UPDATE batches SET compared_on = 1"):
        execute(asked, statement)
        assert review.answer(ANN, RELATIVE_KEY, None).newcomers == [newcomer]


def test_who_comes_while_an_answer_waits_for_a_lock_is_seen_too(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compare = newcomers.compare

    def come_after(*args: Any) -> newcomers.Comparison:
        compared = compare(*args)
        if not execute(asked, "SELECT 1 FROM people WHERE record_key = 'twin'"):
            insert_by_hand(asked, TWIN)
        return compared

    monkeypatch.setattr("common.newcomers.compare", come_after)
    assert len(review.answer(ANN, RELATIVE_KEY, None).newcomers) == 1


# Taking back ------------------------------------------------------------------------------------------------------


def judged_new(dsn: str) -> int | None:
    return None


def judged_same(dsn: str) -> int | None:
    return person_of(dsn, "smith")


def judged_other(dsn: str) -> int | None:
    return person_of(dsn, "wood")


@pytest.mark.parametrize("verdict", [judged_new, judged_same, judged_other])
def test_an_answer_can_be_taken_back_without_a_trace(asked: str, verdict: Callable[[str], int | None]) -> None:
    before = stored(asked)
    review.answer(ANN, RELATIVE_KEY, verdict(asked))
    assert stored(asked) != before
    question = review.take_back(ANN)
    assert question.key == RELATIVE_KEY
    assert question.answer is None
    assert stored(asked) == before
    assert review.next_question(ANN, ALL).key == RELATIVE_KEY, "it is on the screen again"
    assert review.take_back(ANN) is None


def test_answers_are_taken_back_one_after_the_other_and_only_ones_own(asked: str) -> None:
    review.answer(ANN, RELATIVE_KEY, None)
    review.answer(ANN, QuestionKey("batch 2", "thin"), person_of(asked, "jones"))
    review.answer(BEN, QuestionKey("batch 3", "sister"), None)
    assert [review.take_back(ANN).record_key for _ in range(2)] == ["thin", "relative"]
    assert review.take_back(ANN) is None
    assert execute(asked, "SELECT judged_by FROM judgements") == [("ben",)]


def test_what_others_lean_on_is_not_taken_back(asked: str) -> None:
    review.answer(ANN, RELATIVE_KEY, None)
    load("batch 4", ("relative again", *RELATIVE[1:]))
    before = stored(asked)
    with pytest.raises(PeopleDbError, match=r"other records were decided to be the person of relative: batch 4 \(1\)"):
        review.take_back(ANN)
    assert stored(asked) == before


def test_an_answer_that_somebody_has_changed_since_is_not_taken_back(asked: str) -> None:
    review.answer(ANN, RELATIVE_KEY, None)
    with database.writing() as connection:
        database.judge(connection, *RELATIVE_KEY, person_of(asked, "smith"), judged_by="ben")
    before = stored(asked)
    with pytest.raises(PeopleDbError, match="somebody else has judged record relative since"):
        review.take_back(ANN)
    assert stored(asked) == before


def test_a_taken_back_answer_trains_no_model(asked: str) -> None:
    review.answer(ANN, RELATIVE_KEY, None)
    assert database.judged_pairs().num_rows == 1
    review.take_back(ANN)
    assert database.judged_pairs().num_rows == 0


# Looking somebody up ----------------------------------------------------------------------------------------------


def test_the_nearest_people_are_found_with_scores_and_reasons(asked: str) -> None:
    before = stored(asked)
    nearest = review.find("Rob", "Jones", "7 Oak Ave, Dover")
    assert nearest[0].person_id == person_of(asked, "jones")
    scores = [person.score or 0 for person in nearest]
    assert scores == sorted(scores, reverse=True)
    assert sum(term.log_odds for term in nearest[0].terms) == pytest.approx(_log_odds(nearest[0].score))
    (relative, *_) = review.find("George", "Smith", "12 Main St, Springfield")
    assert (relative.person_id, relative.household) == (person_of(asked, "smith"), True)
    assert stored(asked) == before, "nothing is inserted"


def test_a_name_alone_finds_somebody(asked: str) -> None:
    assert review.find(" evelyn ", "UNDERWOOD", None)[0].person_id == person_of(asked, "wood")
    assert review.find("", None, " ") == []
    assert review.find("Zacharias", "Quux", "1 Nowhere Lane") == []


def test_a_lookup_scores_as_the_decision_does(asked: str) -> None:
    question = review.one_question(QuestionKey("batch 2", "thin"))
    (found,) = review.find(*THIN[1:])
    assert found.score == question.candidate.score
    assert found.terms == question.candidate.terms


def test_one_person(asked: str) -> None:
    load("batch 4", ("again", "Robert", "Jones", "7 Oak Ave, Dover DE"))
    review.answer(ANN, QuestionKey("batch 2", "thin"), person_of(asked, "jones"))
    person = review.person(person_of(asked, "jones"))
    assert [spelling.address for spelling in person["spellings"]] == [
        "7 Oak Avenue, Dover",
        "7 Oak Ave, Dover DE",
        None,
    ]
    assert {row["record_key"] for row in person["decisions"]} == {"jones", "again", "thin"}
    assert [(row["judged_by"], row["is_match"]) for row in person["judgements"]] == [("ann", True)]
    with pytest.raises(PeopleDbError, match="there is no person 999"):
        review.person(999)


def test_a_row_marked_as_a_duplicate_is_its_person(asked: str) -> None:
    smith, wood = person_of(asked, "smith"), person_of(asked, "wood")
    execute(asked, "UPDATE people SET duplicate_of = %s WHERE person_id = %s", smith, wood)
    assert review.person(wood)["person_id"] == smith
    assert [spelling.first_name for spelling in review.person(smith)["spellings"]] == ["Ann", "Evelyn"]
    assert review.find(*WOOD[1:])[0].person_id == smith
