"""Models: there is one champion, whoever promotes at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
from common import people_db as database
from common.linkage.model import STARTING_MODEL


def test_promotions_at_once_leave_one_champion_and_none_fails(people_db: str) -> None:
    models = [replace(STARTING_MODEL, intercept=STARTING_MODEL.intercept - number / 10) for number in range(1, 7)]
    assert database.is_empty()
    barrier = threading.Barrier(len(models))

    def promote(number: int) -> None:
        barrier.wait(60)
        database.store_challenger(models[number], "formula", {}, {}, f"run {number}")
        database.promote_stored(models[number].version, f"run {number}")

    with ThreadPoolExecutor(len(models)) as pool:
        list(pool.map(promote, range(len(models))))
    with psycopg.connect(people_db) as connection:
        champions = connection.execute("SELECT version FROM dedupe.models WHERE champion").fetchall()
    assert [database.champion("later").version] == [version for (version,) in champions]
    assert champions[0][0] in {model.version for model in models}


def test_whoever_asks_first_does_not_dethrone_who_was_promoted_meanwhile(people_db: str) -> None:
    assert database.is_empty()
    with ThreadPoolExecutor(8) as pool:
        assert {model.version for model in pool.map(database.champion, map(str, range(8)))} == {STARTING_MODEL.version}
