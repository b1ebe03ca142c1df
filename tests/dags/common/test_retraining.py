"""Retraining: what is learnt from, which model decides from then on, and what is said about it."""

import json
import logging
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowSkipException
from common import people_db as db
from common import pipeline, retraining, review, sources
from common.default_args import PARAMS
from common.errors import PeopleDbError, SourceError
from common.linkage import rarity, training
from common.linkage.corruption import Record
from common.linkage.model import SIMILARITIES, STARTING_MODEL, CommonNames, LinkageModel
from common.linkage.standardise import standardise
from common.settings import FLIPS_FOR_GAIN, PROMOTION_MARGIN, RETRAIN_JUDGEMENTS

PEOPLE = training.MIN_PEOPLE
SHIPPED = "... + address parts"


@pytest.fixture(autouse=True)
def _few_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retraining, "TRAINING_PEOPLE", PEOPLE)


def given(**params: Any) -> dict[str, Any]:
    return {name: param.value for name, param in PARAMS.items()} | {"retrain_every": 1} | params


def execute(dsn: str, statement: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        cursor = connection.execute(statement, tuple(values))
        return cursor.fetchall() if cursor.description else []


def insert_people(dsn: str, count: int, seed: int = 1) -> None:
    assert db.is_empty()  # makes the tables
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection, connection.cursor() as cursor:
        rows = sources.fake_people(count, seed).select(Record._fields).to_pylist()
        statement = "INSERT INTO people (first_name, last_name, address) VALUES (%s, %s, %s)"
        cursor.executemany(statement, [tuple(row.values()) for row in rows])


def judge(dsn: str, left: Record, right: Record, is_match: bool) -> None:
    assert isinstance(db.is_empty(), bool)
    execute(
        dsn,
        """
        INSERT INTO judgements (left_first_name, left_last_name, left_address,
                                right_first_name, right_last_name, right_address, is_match)
        VALUES (%s, %s, %s, %s, %s, %s, %s)
        """,
        [*left, *right, is_match],
    )


def load(dsn: str, *records: Record, run_id: str = "run 1", decides: LinkageModel = STARTING_MODEL) -> None:
    """A batch, decided by a model."""
    columns = {name: pa.array([getattr(r, name) for r in records], pa.string()) for name in Record._fields}
    keys = pa.array([f"{run_id} {n}" for n in range(len(records))])
    nothing = pa.nulls(len(records), pa.string())
    raw = pa.table({"record_key": keys, "source_key": nothing, **columns, "problem": nothing, "raw": nothing})
    batch = (
        standardise(raw)
        .append_column("quarantine_reason", nothing)
        .replace_schema_metadata({"source": "s", "system": "s"})
    )
    shards = pipeline.plan_shards(batch)
    model = decides.to_dict()
    pairs = pipeline.compare_all(batch, model, shards, run_id)
    decisions = pipeline.decide_batch(batch, model, pairs)
    described = db.Batch(f"batch of {run_id}", run_id, "s", "s", people_before=0)
    pipeline.load_decided(described, batch, decides, pa.concat_tables(pairs), decisions, shards)


ANN = Record("Annabel", "Quimby", "12 Wisteria Street, Springfield, IL 62701")
ANN_TYPO = Record("Anabel", "Quimby", "12 Wisteria St, Springfeld, IL 62701")
SISTER = Record("Victoria", "Quimby", "12 Wisteria Street, Springfield, IL 62701")
BOB = Record("Robert", "Jones", "7 Oak Avenue, Dover, DE 19901")


# What is learnt from ------------------------------------------------------------------------------------------------


def test_never_is_skipped(people_db: str) -> None:
    with pytest.raises(AirflowSkipException, match="champion stands"):
        retraining.training_pairs(given(retrain_every=0), "run 1")


def test_every_nth_batch(people_db: str) -> None:
    """Only batches that runs have loaded count, and the run's own does not, so that its retry does the same."""
    trained = []
    for number in range(5):
        for _ in ("first try", "retry"):
            try:
                retraining.training_pairs(given(retrain_every=2), f"run {number}")
                trained.append(number)
            except AirflowSkipException:
                pass
            if f"run {number}" not in [run for (run,) in execute(people_db, "SELECT run_id FROM batches")]:
                load(people_db, BOB._replace(address=f"{number}{number} Elm Road"), run_id=f"run {number}")
    assert trained == [0, 0, 2, 2, 4, 4]


def trains(dsn: str, run_id: str, **params: Any) -> bool:
    """Whether a run trains by itself; if so it stores its challenger, as the DAG does."""
    assert db.is_empty() in (True, False)
    try:
        pairs = retraining.training_pairs(given(retrain_every=None, **params), run_id)
    except AirflowSkipException:
        return False
    table = json.loads(pairs.schema.metadata[b"table"])
    execute(
        dsn,
        "INSERT INTO models (version, formula, content, results, lineage, trained_by) VALUES (%s, %s, %s, %s, %s, %s)",
        [run_id, SHIPPED, json.dumps(STARTING_MODEL.to_dict()), "{}", json.dumps(table), run_id],
    )
    return True


def test_it_trains_when_the_table_first_holds_enough_and_when_it_has_doubled(people_db: str) -> None:
    insert_people(people_db, PEOPLE - 1)
    assert not trains(people_db, "run 1")
    statement = "INSERT INTO people (first_name, last_name, address) SELECT 'Ann', 'Lee', n::text FROM generate_series"
    execute(people_db, f"{statement}(1, 1) AS n")
    assert trains(people_db, "run 2")
    with pytest.raises(psycopg.errors.UniqueViolation):
        trains(people_db, "run 2")  # a retry trains again: its own training does not count
    assert not trains(people_db, "run 3")
    execute(people_db, f"{statement}(1, {PEOPLE}) AS n")
    assert trains(people_db, "run 4")
    assert not trains(people_db, "run 5")


def test_it_trains_when_people_have_judged_enough(people_db: str) -> None:
    for number in range(RETRAIN_JUDGEMENTS):
        assert not trains(people_db, "run 1")
        judge(people_db, ANN, ANN_TYPO._replace(address=str(number)), True)
    assert trains(people_db, "run 2")
    judge(people_db, ANN, BOB, False)
    assert not trains(people_db, "run 3")


def test_a_champion_of_before_trainings_were_counted_does_not_hinder_one(people_db: str) -> None:
    insert_people(people_db, PEOPLE)
    retraining.choose_model(None, given(), "run 1")
    assert champions(people_db)[0][3] == {"from": "shipped"}
    assert trains(people_db, "run 2")


@pytest.mark.parametrize(("relatives", "inserts"), [(2, False), (PEOPLE // 5, True)])
def test_a_table_full_of_families_teaches_to_insert_relatives(people_db: str, relatives: int, inserts: bool) -> None:
    insert_people(people_db, PEOPLE)
    assert db.count_relatives("run 1") <= 2, "invented people live apart"
    execute(
        people_db,
        """
        INSERT INTO people (first_name, last_name, address)
        SELECT 'Zebedee', upper(last_name), address FROM people ORDER BY person_id LIMIT %s
        """,
        [relatives],
    )
    assert db.count_relatives("run 1") >= 2 * relatives
    fitted = retraining.fit_models(retraining.training_pairs(given(), "run 1"), "run 1")
    assert {LinkageModel.from_dict(m["content"]).inserts_relatives for m in fitted[:-1]} == {inserts}
    assert not LinkageModel.from_dict(fitted[-1]["content"]).inserts_relatives, "the champion is as it was"


def test_where_pairs_come_from(people_db: str) -> None:
    alone = retraining.training_pairs(given(), "run 1")
    assert training.lineage(alone).keys() == {"generated people"}
    insert_people(people_db, PEOPLE - 1)
    assert training.lineage(retraining.training_pairs(given(), "run 1")).keys() == {"generated people"}, "too few"
    execute(people_db, "INSERT INTO people (first_name, last_name, address) VALUES (%s, %s, %s)", BOB)
    judge(people_db, ANN, ANN_TYPO, True)
    pairs = retraining.training_pairs(given(), "run 1")
    sizes = training.lineage(pairs)
    assert list(sizes) == ["generated people", "stored people", "judgements"]
    assert sizes["judgements"] == 1
    assert min(sizes["generated people"], sizes["stored people"]) > 300
    assert sum(sizes.values()) == pairs.num_rows


def test_a_retry_learns_from_the_same_pairs_and_another_run_from_others(people_db: str) -> None:
    insert_people(people_db, PEOPLE + 200)
    one = retraining.training_pairs(given(), "run 1")
    assert one.equals(retraining.training_pairs(given(), "run 1"), check_metadata=True)
    assert not one.equals(retraining.training_pairs(given(), "run 2"))


def test_a_prepared_data_set_replaces_the_generated_one(people_db: str, incoming: Any) -> None:
    people = sources.fake_people(80, 3).select(Record._fields).to_pylist()
    fields = [tuple(person.values()) for person in people]
    rows = [(*one, *(one if same else other), same) for one, other in pairwise(fields) for same in (1, 0)]
    lines = [",".join(sources.PAIRS.names)]
    lines += [",".join(f'"{value}"' for value in row) for row in rows[::3]]
    (incoming / "pairs.csv").write_text("\n".join(lines))
    path = str(incoming / "pairs.csv")
    pairs = retraining.training_pairs(given(labelled_pairs=path), "run 1")
    assert training.lineage(pairs) == {path: len(rows[::3])}
    assert set(pairs["kind"].to_pylist()) == {"judged"}


def test_a_prepared_data_set_that_is_not_there(people_db: str, incoming: Any) -> None:
    with pytest.raises(SourceError, match="no such file"):
        retraining.training_pairs(given(labelled_pairs=str(incoming / "none.csv")), "run 1")


# Fitting ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs() -> pa.Table:
    made = training.generated_pairs(sources.fake_people(2 * PEOPLE, 1), 0, 10_000)
    return training.joined({"generated people": made})


def test_all_models_are_fitted_and_shown_beside_the_champion(
    people_db: str, pairs: pa.Table, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    fitted = retraining.fit_models(pairs, "run 1")
    assert [model["formula"] for model in fitted] == [*(formula.name for formula in training.FORMULAS), "champion"]
    travelled = json.loads(json.dumps(fitted))
    assert all(LinkageModel.from_dict(m["content"]).version == m["results"]["version"] for m in travelled)
    assert LinkageModel.from_dict(fitted[-1]["content"]) == STARTING_MODEL
    (shown,) = (text.splitlines() for text in caplog.messages if text.startswith("train and test results"))
    assert len(shown) == 2 + len(fitted)
    for model, line in zip(fitted, shown[2:], strict=True):
        fresh = LinkageModel.from_dict(model["content"])
        test = training.evaluate(fresh, pairs, training.TEST)
        assert model["results"]["version"] == fresh.version
        assert model["results"]["test_log_loss"] == test.log_loss
        assert model["lineage"] == {"generated people": pairs.num_rows}
        assert model["formula"] in line
        for number in (f"{test.log_loss:.4f}", f"{test.f1:.4f}", f"{100 * test.reinserted:.2f}"):
            assert number in line.split()
    for column in ("train log-loss", "test F1", "test re-inserted %", "test wrongly dropped %"):
        assert column in shown[1]


def test_judgements_change_the_model(people_db: str) -> None:
    """Somebody judges, again and again, that a swapped name is somebody else."""
    before = training.fit(training.FORMULAS[-2], retraining.training_pairs(given(), "run 1"))
    for number in range(60):
        person = Record(f"Annabel{number}", "Quimby", f"{number} Wisteria Street")
        judge(people_db, person, person._replace(first_name=person.last_name, last_name=person.first_name), False)
    after = training.fit(training.FORMULAS[-2], retraining.training_pairs(given(), "run 1"))
    assert after.version != before.version
    assert after.swapped < before.swapped - 0.5


# Choosing -----------------------------------------------------------------------------------------------------------


def fitted_as(losses: dict[str, float], champion: float = 0.2, **change: Any) -> list[dict[str, Any]]:
    """What `fit_models` would return where the models have these test log-losses."""
    found = [
        {
            "formula": name,
            "content": {**STARTING_MODEL.to_dict(), "intercept": -9.0 - number, **change},
            "results": {"test_log_loss": loss},
            "lineage": {"generated people": 7},
        }
        for number, (name, loss) in enumerate(losses.items())
    ]
    standing = {"formula": "champion", "content": STARTING_MODEL.to_dict(), "results": {"test_log_loss": champion}}
    return [*found, {**standing, "lineage": {}}]


def champions(dsn: str) -> list[tuple[Any, ...]]:
    return execute(dsn, "SELECT version, formula, promoted_by, lineage FROM models WHERE champion")


def test_the_shipped_model_is_the_first_champion(people_db: str) -> None:
    assert retraining.choose_model(None, given(), "run 1") == STARTING_MODEL.to_dict()
    assert champions(people_db) == [(STARTING_MODEL.version, "shipped", "run 1", {"from": "shipped"})]


def test_the_best_on_test_is_promoted(people_db: str) -> None:
    fitted = fitted_as({"names": 0.15, SHIPPED: 0.1, "address": 0.12})
    chosen = retraining.choose_model(fitted, given(), "run 1")
    assert chosen == fitted[1]["content"]
    version = LinkageModel.from_dict(chosen).version
    assert champions(people_db) == [(version, SHIPPED, "run 1", {"generated people": 7})]
    assert execute(people_db, "SELECT results FROM models WHERE champion") == [({"test_log_loss": 0.1},)]
    assert retraining.choose_model(None, given(), "run 2") == chosen, "it decides from then on"


@pytest.mark.parametrize(
    ("loss", "promoted"),
    [(0.2, False), (0.2 * (1 - PROMOTION_MARGIN) + 1e-9, False), (0.2 * (1 - PROMOTION_MARGIN) - 1e-9, True)],
)
def test_the_champion_stands_unless_it_is_beaten_by_the_margin(
    people_db: str, loss: float, promoted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    chosen = retraining.choose_model(fitted_as({SHIPPED: loss}), given(), "run 1")
    assert (chosen != STARTING_MODEL.to_dict()) == promoted
    assert (champions(people_db)[0][0] != STARTING_MODEL.version) == promoted
    assert ("new champion" if promoted else f"champion {STARTING_MODEL.version} stands") in caplog.messages[-1]


def test_the_over_fitted_one_is_never_promoted(people_db: str) -> None:
    chosen = retraining.choose_model(fitted_as({SHIPPED: 0.3, "over-fitted": 0.01}), given(), "run 1")
    assert chosen == STARTING_MODEL.to_dict()


def test_without_retraining_the_champion_stands(people_db: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert retraining.choose_model(None, given(), "run 1") == STARTING_MODEL.to_dict()
    assert "no retraining in this run" in caplog.messages[-1]


def test_an_older_model_is_made_champion_again(people_db: str) -> None:
    retraining.choose_model(fitted_as({SHIPPED: 0.1}), given(), "run 1")
    again = given(champion=STARTING_MODEL.version)
    assert retraining.choose_model(fitted_as({SHIPPED: 0.1}), again, "run 2") == STARTING_MODEL.to_dict()
    assert [(version, by) for version, _, by, _ in champions(people_db)] == [(STARTING_MODEL.version, "run 2")]
    assert execute(people_db, "SELECT count(*) FROM models") == [(2,)], "the one that stepped down is kept"


def test_a_model_that_nobody_stored_cannot_be_champion(people_db: str) -> None:
    retraining.choose_model(None, given(), "run 1")
    with pytest.raises(PeopleDbError, match="no model of version feedbeef"):
        retraining.choose_model(None, given(champion="feedbeef"), "run 2")
    assert champions(people_db)[0][0] == STARTING_MODEL.version


def test_what_would_change_is_logged_and_masked(people_db: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert db.is_empty()
    load(people_db, ANN, BOB)
    for statement in ("UPDATE people SET content_key = NULL", "UPDATE decisions SET content_key = NULL"):
        execute(people_db, statement)  # else what says the same is known, and nothing is compared
    load(people_db, ANN_TYPO, BOB._replace(address="7 Oak Ave, Dover, DE 19901"), run_id="run 2")
    assert [d for (d,) in execute(people_db, "SELECT decision FROM decisions WHERE run_id = 'run 2'")] == [
        "DUPLICATE"
    ] * 2
    caplog.clear()
    # At this cut-off the typos no longer pass, but the same text does.
    retraining.choose_model(fitted_as({SHIPPED: 0.3}, intercept=-9.7445, accept_at=0.9965), given(), "run 3")
    flips = [message for message in caplog.messages if "->" in message]
    assert any("would change 1 of the last 2 decisions" in message for message in caplog.messages)
    assert len(flips) == 1
    assert flips[0].startswith("DUPLICATE -> REVIEW: A*****, Q*****, ** W*******")
    for word in ("nabel", "uimby", "isteria", "pring"):
        assert word not in caplog.text


def test_too_many_changes_for_what_it_gains_are_no_promotion(people_db: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert db.is_empty()
    load(people_db, ANN, BOB)
    for statement in ("UPDATE people SET content_key = NULL", "UPDATE decisions SET content_key = NULL"):
        execute(people_db, statement)  # else what says the same is known, and nothing is compared
    load(people_db, ANN_TYPO, BOB._replace(address="7 Oak Ave, Dover, DE 19901"), run_id="run 2")
    changed = {"intercept": -9.7445, "accept_at": 0.9965}  # one of the two decisions flips
    small = 0.5 / FLIPS_FOR_GAIN - 0.01
    chosen = retraining.choose_model(fitted_as({SHIPPED: 0.2 * (1 - small)}, **changed), given(), "run 3")
    assert chosen == STARTING_MODEL.to_dict()
    assert "1 from DUPLICATE to REVIEW" in caplog.messages
    assert "it would change 50.0 % of the last decisions" in caplog.messages[-1]
    assert execute(people_db, "SELECT count(*) FROM models WHERE formula = %s", [SHIPPED]) == [(1,)], (
        "kept all the same"
    )
    large = 0.5 / FLIPS_FOR_GAIN + 0.01
    chosen = retraining.choose_model(fitted_as({SHIPPED: 0.2 * (1 - large)}, **changed), given(), "run 4")
    assert chosen["accept_at"] == 0.9965


def test_what_somebody_has_judged_is_nothing_that_a_model_changes(
    people_db: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Relatives who were judged new, with scores as high as those of duplicates, let no model be promoted any more."""
    caplog.set_level(logging.INFO)
    assert db.is_empty()
    load(people_db, ANN, BOB)
    load(people_db, SISTER, run_id="run 2")
    ((batch_id, key),) = execute(people_db, "SELECT batch_id, record_key FROM decisions WHERE decision = 'REVIEW'")
    with db.writing() as connection:
        db.judge(connection, batch_id, key, None, "ann")
    challenger = fitted_as({SHIPPED: 0.19}, intercept=STARTING_MODEL.intercept + 0.001)
    chosen = retraining.choose_model(challenger, given(), "run 3")
    assert not any("would change" in message for message in caplog.messages)
    assert chosen == challenger[0]["content"]


@pytest.fixture
def asking(people_db: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A challenger that would change one of the last two decisions, after promotions were set to ask first."""
    monkeypatch.setattr("common.retraining.PROMOTION_ASKS", True)
    assert db.is_empty()
    load(people_db, ANN, BOB)
    for statement in ("UPDATE people SET content_key = NULL", "UPDATE decisions SET content_key = NULL"):
        execute(people_db, statement)  # else what says the same is known, and nothing is compared
    load(people_db, ANN_TYPO, BOB._replace(address="7 Oak Ave, Dover, DE 19901"), run_id="run 2")
    fitted = fitted_as({SHIPPED: 0.1}, intercept=-9.7445, accept_at=0.9965)
    assert retraining.choose_model(fitted, given(), "run 3") == STARTING_MODEL.to_dict()
    return fitted[0]["content"]  # type: ignore[no-any-return]


def test_a_promotion_that_asks_waits_and_says_what_would_change(asking: dict[str, Any], people_db: str) -> None:
    assert champions(people_db)[0][0] == STARTING_MODEL.version
    open_one = review.promotions()["open"]
    assert open_one["version"] == LinkageModel.from_dict(asking).version
    assert (open_one["champion"], open_one["asked_by"]) == (STARTING_MODEL.version, "run 3")
    changes = open_one["changes"]
    assert (changes["decisions"], changes["changed"]) == (2, 1)
    assert changes["kinds"] == [{"before": "DUPLICATE", "after": "REVIEW", "count": 1}]
    assert changes["test"] == {"challenger": {"test_log_loss": 0.1}, "champion": {"test_log_loss": 0.2}}
    (example,) = changes["examples"]
    assert (example["before"], example["after"], example["last_name"]) == ("DUPLICATE", "REVIEW", ANN_TYPO.last_name)
    (stored,) = execute(people_db, "SELECT changes::text FROM promotions")
    assert ANN_TYPO.last_name not in stored[0]


def test_an_approved_model_decides_from_the_next_run_on(asking: dict[str, Any], people_db: str) -> None:
    version = LinkageModel.from_dict(asking).version
    for _ in range(2):
        assert review.answer_promotion(version, True, "ann")["ours"]
    assert champions(people_db)[0][:3] == (version, SHIPPED, "approved by ann")
    assert retraining.choose_model(None, given(), "run 4") == asking
    found = review.promotions()
    assert (found["open"], found["answered"][0]["answered_by"]) == (None, "ann")


def test_a_rejected_model_is_not_asked_about_again(
    asking: dict[str, Any], people_db: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    version = LinkageModel.from_dict(asking).version
    assert review.answer_promotion(version, False, "ann")["ours"]
    outcome = review.answer_promotion(version, True, "ben")
    assert (outcome["ours"], outcome["answer"]["answered_by"]) == (False, "ann")
    fitted = fitted_as({SHIPPED: 0.1}, intercept=-9.7445, accept_at=0.9965)
    assert retraining.choose_model(fitted, given(), "run 4") == STARTING_MODEL.to_dict()
    assert caplog.messages[-1].endswith(f"challenger {version} was rejected")
    assert review.promotions()["open"] is None


def test_of_two_answers_at_once_about_a_model_one_holds(asking: dict[str, Any], people_db: str) -> None:
    version = LinkageModel.from_dict(asking).version
    barrier = threading.Barrier(2)

    def answer(name: str, approve: bool) -> dict[str, Any]:
        barrier.wait(60)
        return review.answer_promotion(version, approve, name)

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(answer, ("ann", "ben"), (True, False)))
    assert sorted(outcome["ours"] for outcome in outcomes) == [False, True]
    assert outcomes[0]["answer"] == outcomes[1]["answer"]
    assert (champions(people_db)[0][0] == version) == outcomes[0]["answer"]["approved"]


def test_a_newer_challenger_asks_instead_and_an_old_one_can_no_longer_be_approved(
    asking: dict[str, Any], people_db: str
) -> None:
    version = LinkageModel.from_dict(asking).version
    newer = fitted_as({SHIPPED: 0.09}, intercept=-9.7, accept_at=0.9965)
    retraining.choose_model(newer, given(), "run 4")
    assert review.promotions()["open"]["version"] == LinkageModel.from_dict(newer[0]["content"]).version
    with pytest.raises(PeopleDbError, match="does not ask any more"):
        review.answer_promotion(version, True, "ann")
    retraining.choose_model(None, given(champion=version), "run 5")
    with pytest.raises(PeopleDbError, match="which is not champion any more"):
        review.answer_promotion(review.promotions()["open"]["version"], True, "ann")


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_a_missed_limit_is_said(
    limit: float, people_db: str, pairs: pa.Table, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraining, "MAX_REVIEWED", limit)
    fitted = retraining.fit_models(pairs, "run 1")
    missed = [m["formula"] for m in fitted if m["results"]["test_borderline"] > limit]
    said = [text.split(" misses MAX_REVIEWED")[0] for text in caplog.messages if "misses MAX_REVIEWED" in text]
    assert said == missed
    assert bool(said) == (limit == 0)


def test_the_same_model_would_change_nothing(people_db: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert db.is_empty()
    load(people_db, ANN, BOB)
    load(people_db, ANN_TYPO, SISTER, run_id="run 2")
    retraining.choose_model(fitted_as({SHIPPED: 0.3}, intercept=STARTING_MODEL.intercept), given(), "run 3")
    assert any("would change 0 of the last 2 decisions" in message for message in caplog.messages)


def test_common_names_count_in_decisions_and_in_what_would_change(
    people_db: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Decided by a model for which all these names are common, which then would change none of its decisions."""
    caplog.set_level(logging.INFO)
    assert db.is_empty()
    known = {rarity.key(name): 1.0 for name in ("annabel", "anabel", "victoria", "quimby", "robert", "jones")}
    common = {name: CommonNames(0.7, known) for name in rarity.NAMES}
    model = replace(STARTING_MODEL, common_names=common)
    load(people_db, ANN, BOB, decides=model)
    load(people_db, ANN_TYPO, SISTER, run_id="run 2", decides=model)
    for score, contributions, vector in execute(
        people_db, "SELECT score, contributions, vector FROM decisions WHERE score IS NOT NULL"
    ):
        assert sum(contributions.values()) == pytest.approx(np.log(score / (1 - score)))
        assert vector["last_name_commonness"] == 1
    retraining.choose_model(fitted_as({SHIPPED: 0.3}, **model.to_dict()), given(), "run 3")
    assert any("would change 0 of the last 2 decisions" in message for message in caplog.messages)


def test_the_contributions_of_a_decision_sum_to_its_log_odds(people_db: str) -> None:
    assert db.is_empty()
    load(people_db, ANN, BOB)
    load(people_db, ANN_TYPO, SISTER, Record("Jones", "Robert", None), run_id="run 2")
    rows = execute(people_db, "SELECT score, contributions, decision FROM decisions WHERE run_id = 'run 2'")
    assert {decision for _, _, decision in rows} == {"DUPLICATE", "REVIEW"}
    for score, contributions, _ in rows:
        assert contributions.keys() == {"intercept", *SIMILARITIES, "swapped"}
        assert sum(contributions.values()) == pytest.approx(np.log(score / (1 - score)))
        assert contributions["intercept"] == STARTING_MODEL.intercept
    assert STARTING_MODEL.curves["address"].missing in [row[1]["address"] for row in rows]
