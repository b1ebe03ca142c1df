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
import numpy.typing as npt
import psycopg
import pyarrow as pa
from launch import DAG, ROOT, guarded, say
from live import Live
from postgres import Server

sys.path.insert(0, str(ROOT / "dags"))

from common.linkage.comparison import comparison_vectors
from common.linkage.model import STARTING_MODEL, LinkageModel

IN_FLIGHT = 3  # runs at once, so that they also meet in `load`

ROUNDING = 1e-3  # log-odds; similarities of names are kept as 32-bit floats


@dataclass(frozen=True)
class Pair:
    """Two people who reach `accept_at`."""

    person_id: int
    other_id: int
    score: float


def pairs_at(connection: psycopg.Connection[Any], model: LinkageModel) -> list[Pair]:
    """All pairs of people at or above `model.accept_at`, found by comparing all names with all names.

    Nothing of the candidate search is used: DuckDB compares the names, then the addresses of pairs that these do not
    rule out, and jellyfish scores what is left. As in the runs, the later person is the left one, and of two of the
    same batch the one with the smaller id, which is the one with the smaller key.
    """
    rows = connection.execute(
        "SELECT person_id, batch_id, first_name_std, last_name_std, address_std FROM dedupe.people ORDER BY person_id"
    ).fetchall()
    columns = ("person_id", "batch_id", "first_name_std", "last_name_std", "address_std")
    types = (pa.int64(), *(pa.string(),) * 4)
    people = pa.table({name: pa.array([row[k] for row in rows], types[k]) for k, name in enumerate(columns)})
    codes: dict[str | None, int] = {}
    first, last = (np.array([codes.setdefault(row[k], len(codes)) for row in rows], np.int64) for k in (2, 3))
    similarities = _similarities(list(codes))
    by_first, by_last = (model.curves[name](similarities).astype(np.float32) for name in ("first_name", "last_name"))
    whole, *parts = (model.curve(name) for name in ("address", "address_words", "address_numbers"))
    by_parts = sum(max(*curve.log_odds, curve.missing) for curve in parts)
    needed = np.log(model.accept_at / (1 - model.accept_at)) - model.intercept - by_parts - ROUNDING
    found = [np.empty((0, 3))]
    for one, (my_first, my_last) in enumerate(zip(first, last, strict=True)):
        their_first, their_last = first[:one], last[:one]
        straight = by_first[my_first, their_first] + by_last[my_last, their_last]
        swapped = np.maximum(
            by_first[my_first, their_last] + by_last[my_last, their_first],
            by_first[their_first, my_last] + by_last[their_last, my_first],
        )
        names = np.maximum(straight, swapped + model.swapped)
        others = np.flatnonzero(names >= needed - max(*whole.log_odds, whole.missing))
        found.append(np.column_stack((np.full(len(others), one), others, names[others])))
    result = []
    for some in np.array_split(np.concatenate(found), 1 + len(rows) // 100):
        later, earlier = some[:, 0].astype(np.int64), some[:, 1].astype(np.int64)
        enough = some[:, 2] + whole(_address_similarities(people, later, earlier)) >= needed
        later, earlier = later[enough], earlier[enough]
        same = np.array([rows[a][1] == rows[b][1] for a, b in zip(later, earlier, strict=True)], bool)
        left, right = np.where(same, earlier, later), np.where(same, later, earlier)
        scores = comparison_vectors(people, people, left, right, model)["score"].to_numpy()
        result += [
            Pair(rows[a][0], rows[b][0], float(score))
            for a, b, score in zip(later, earlier, scores, strict=True)
            if score >= model.accept_at
        ]
    return result


def _similarities(names: list[str | None]) -> npt.NDArray[np.float32]:
    """Jaro-Winkler similarity of each name and each; NaN where one is missing."""
    query = (
        "SELECT l.code AS l, r.code AS r, jaro_winkler_similarity(l.name, r.name) AS alike FROM names AS l, names AS r"
        " WHERE l.name IS NOT NULL AND r.name IS NOT NULL AND l.code BETWEEN ? AND ?"
    )
    result = np.full((len(names), len(names)), np.nan, np.float32)
    with duckdb.connect(":memory:") as con:
        con.register("names", pa.table({"code": np.arange(len(names)), "name": pa.array(names, pa.string())}))
        for begin in range(0, len(names), 500):
            found = con.execute(query, [begin, begin + 499]).fetchnumpy()
            result[found["l"], found["r"]] = found["alike"]
    return result


def _address_similarities(
    people: pa.Table, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Similarity of the addresses of pairs, as written or with sorted words; NaN where one is missing."""
    address, place = people["address_std"], np.arange(len(left))
    columns = {"place": place, "l": address.take(pa.array(left)), "r": address.take(pa.array(right))}
    with duckdb.connect(":memory:") as con:
        con.register("pairs", pa.table(columns))
        con.execute(
            "CREATE MACRO ordered(address) AS array_to_string(list_sort(string_split(address, ' ')), ' ')",
        )
        found = con.execute(
            "SELECT greatest(jaro_winkler_similarity(l, r), jaro_winkler_similarity(ordered(l), ordered(r))) AS alike"
            " FROM pairs ORDER BY place"
        ).fetchnumpy()
    return np.ma.filled(np.ma.asarray(found["alike"], np.float64), np.nan)


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
