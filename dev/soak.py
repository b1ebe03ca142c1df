"""`make soak`: many runs under the real scheduler, with tasks killed and the scheduler restarted at random.

At the end every received record must be accounted for, and no two people may resemble each other so much that one of
them should not have been inserted.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import psycopg
import pyarrow as pa
from launch import DAG, ROOT, guarded, say
from live import Live
from postgres import Server

sys.path.insert(0, str(ROOT / "dags"))

from common.linkage.comparison import comparison_vectors
from common.linkage.model import STARTING_MODEL, LinkageModel

IN_FLIGHT = 3  # runs at once, so that they also meet in `load`


@dataclass(frozen=True)
class Pair:
    """Two people who reach `accept_at`."""

    person_id: int
    other_id: int
    score: float


def pairs_at(connection: psycopg.Connection[Any], model: LinkageModel) -> list[Pair]:
    """All pairs of people at or above `model.accept_at`, found by comparing all addresses with all.

    Nothing of the candidate search is used: DuckDB compares the addresses, since no two names make up for an address
    below some similarity, and jellyfish scores what is left. As in the runs, the later person is the left one,
    and of two of the same batch the one with the smaller id, which is the one with the smaller key.
    """
    rows = connection.execute(
        "SELECT person_id, batch_id, first_name_std, last_name_std, address_std FROM dedupe.people ORDER BY person_id"
    ).fetchall()
    names = ("person_id", "batch_id", "first_name_std", "last_name_std", "address_std")
    types = (pa.int64(), *(pa.string(),) * 4)
    people = pa.table({name: pa.array([row[place] for row in rows], types[place]) for place, name in enumerate(names)})
    by_names = sum(max(max(curve.log_odds), curve.missing) for name, curve in model.curves.items() if name != "address")
    needed = np.log(model.accept_at / (1 - model.accept_at)) - model.intercept - by_names
    similarities = np.linspace(0, 1, 1001)
    enough = similarities[model.curves["address"](similarities) >= needed - 1e-9]
    least = float(enough[0]) - 0.001 if len(enough) else 2.0
    with_missing = bool(model.curves["address"].missing >= needed - 1e-9)
    with duckdb.connect(":memory:") as con:
        con.register("given", people)
        con.execute(
            "CREATE TABLE people AS SELECT row_number() OVER (ORDER BY person_id) - 1 AS place, batch_id,"
            " address_std AS a, array_to_string(list_sort(string_split(address_std, ' ')), ' ') AS b FROM given"
        )
        found = con.execute(
            """
            SELECT CASE WHEN l.batch_id IS NOT DISTINCT FROM e.batch_id THEN e.place ELSE l.place END AS l,
                   CASE WHEN l.batch_id IS NOT DISTINCT FROM e.batch_id THEN l.place ELSE e.place END AS r
            FROM people AS l JOIN people AS e ON l.place > e.place
            WHERE ($with_missing AND (l.a IS NULL OR e.a IS NULL))
               OR jaro_winkler_similarity(l.a, e.a) >= $least OR jaro_winkler_similarity(l.b, e.b) >= $least
            """,
            {"with_missing": with_missing, "least": least},
        ).fetchnumpy()
    left, right = np.asarray(found["l"]), np.asarray(found["r"])
    scores = comparison_vectors(people, people, left, right, model)["score"].to_numpy()
    ids = people["person_id"].to_numpy()
    return [
        Pair(int(max(ids[one], ids[two])), int(min(ids[one], ids[two])), float(score))
        for one, two, score in zip(left, right, scores, strict=True)
        if score >= model.accept_at
    ]


def soak(live: Live, runs: int, rows: int, existing: int, rng: random.Random) -> Counter[str]:
    """Let all the runs end, whatever is killed meanwhile; returns how often what happened."""
    seen: Counter[str] = Counter()
    waiting, started = [f"soak_{number}" for number in range(runs)], set[str]()
    next_kill = time.monotonic() + rng.expovariate(1 / 10)
    while waiting or started:
        while waiting and len(started) < IN_FLIGHT:
            conf = {"source": "faker", "rows": rows, "existing": existing, "retrain_every": 0}
            try:
                live.trigger(waiting[0], **conf)
            except OSError as error:
                if getattr(error, "code", None) != HTTPStatus.CONFLICT:  # it is there: only its answer was lost
                    break  # an API server that is busy
            started.add(waiting.pop(0))
        for run_id in sorted(started):
            state = live.state(run_id)
            if state in {"success", "failed"}:
                started.remove(run_id)
                seen[state] += 1
                if state == "failed":  # four tries were killed: somebody clears it
                    started.add(run_id)
                    with suppress(OSError):
                        live.api(f"/api/v2/dags/{DAG}/dagRuns/{run_id}/clear", {"dry_run": False})
        if time.monotonic() > next_kill:
            if rng.random() < 0.1:
                signum = rng.choice([signal.SIGTERM, signal.SIGKILL])
                live.stop("scheduler", signum)
                live.start("scheduler")
                seen[f"scheduler ended by {signum.name}"] += 1
            else:
                query = "SELECT pid, task_id FROM task_instance WHERE state = 'running' AND pid IS NOT NULL"
                for pid, task_id in rng.sample(tasks := live.metadata(query), min(1, len(tasks))):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        seen[f"{task_id} killed"] += 1
            next_kill = time.monotonic() + rng.expovariate(1 / 10)
        time.sleep(0.5)
    return seen


def judged(live: Live, runs: int, rows: int) -> list[str]:
    """What is wrong at the end."""
    wrong = []
    sums = "sum(received)::bigint, sum(quarantined + duplicates + review + inserted)::bigint, count(*)"
    received, accounted, batches = live.people(f"SELECT {sums} FROM batches WHERE run_id LIKE 'soak%%'")[0]  # noqa: S608
    if (received, accounted, batches) != (runs * rows, runs * rows, runs):
        wrong.append(f"{runs} x {rows} records came; {batches} batches received {received}, accounted {accounted}")
    kept = live.people(
        "SELECT (SELECT count(*) FROM decisions JOIN batches USING (batch_id) WHERE batches.run_id LIKE 'soak%%')"
        " + (SELECT count(*) FROM quarantine JOIN batches USING (batch_id) WHERE run_id LIKE 'soak%%')"
    )[0][0]
    if kept != runs * rows:
        wrong.append(f"{kept} decisions and quarantined rows for {runs * rows} records")
    with psycopg.connect(live.people_dsn) as connection:
        pairs = pairs_at(connection, STARTING_MODEL)
    wrong += [f"people {pair.person_id} and {pair.other_id} reach {pair.score:.3f}" for pair in pairs]
    return wrong


def main(args: list[str]) -> int:
    """Returns 0 if all is well at the end."""
    parser = argparse.ArgumentParser(prog="dev/soak.py", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rows", type=int, default=500, help="records in each run")
    parser.add_argument("--existing", type=int, default=10_000, help="people to begin with")
    parser.add_argument("--seed", type=int, default=0, help="of what is killed when")
    given = parser.parse_args(args)
    folder = Path(tempfile.mkdtemp(prefix="dedupe-people-soak-"))
    server = Server(folder / "postgres")
    with server.use():
        live = Live(folder / "home", server)
        # No runs of the schedule, and no retraining: one model must have decided all.
        live.edit(
            "dedupe_people.py",
            ('schedule="@daily"', "schedule=None"),
            ("max_active_runs=1", f"max_active_runs={IN_FLIGHT}"),
        )
        say(f"{given.runs} runs of {given.rows} records; everything lies in {folder}, and stays if something is wrong")
        begin = time.monotonic()
        with live.running():
            seen = soak(live, given.runs, given.rows, given.existing, random.Random(given.seed))  # noqa: S311
        say(f"{time.monotonic() - begin:,.0f} s; comparing everybody with everybody ...")
        wrong = judged(live, given.runs, given.rows)
        people = live.people("SELECT count(*) FROM people")[0][0]
    for event, count in sorted(seen.items()):
        print(f"{count:>7,}  {event}")
    print(f"{people:>7,}  people; {len(wrong)} things wrong")
    print("\n".join(wrong[:20]))
    if not wrong:
        server.remove()
        shutil.rmtree(folder)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
