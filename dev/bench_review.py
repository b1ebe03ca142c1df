"""How long a reviewer waits after "somebody new", in a table of many people, by how many came since the question.

    .venv/bin/python dev/bench_review.py [PEOPLE]

A real Postgres is started for it. The time is that of the answer and of the next question, without the browser.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "dags"))

import psycopg
from launch import environment, people_db_connection
from postgres import Server

CAME = (0, 100, 1_000, 10_000, 20_000, 50_000)
QUESTIONS = 5  # answers of each kind, of which the median is told


def main() -> None:
    """Print a row for each number of people who came meanwhile, and one for where that is not known."""
    people = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(environment(Path(folder)))
        server = Server(Path(folder) / "postgres")
        with server.use():
            server.create_database("bench_review")
            os.environ["AIRFLOW_CONN_PEOPLE_DB"] = people_db_connection(server.socket_folder, "bench_review")
            _measure(server.dsn("bench_review"), people)
        server.remove()


def _measure(dsn: str, people: int) -> None:
    from common import lookup
    from common.people_db import champion
    from common.standardising import standardise_people
    from reviewing import load

    champion("bench")
    lookup.warm_up()
    _insert(dsn, people, seed=1)
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        rows = connection.execute("SELECT last_name, address FROM people ORDER BY person_id LIMIT 200").fetchall()
    relatives = [(f"r{place}", f"Q{place}xv", last_name, address) for place, (last_name, address) in enumerate(rows)]
    from common import people_db

    came = 0
    for wanted in CAME:
        _insert(dsn, wanted - came, seed=2 + wanted)
        came = wanted
        with people_db.transaction() as connection:
            standardise_people(connection)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")  # as autovacuum does
        if not wanted:
            load("questions", *relatives)
        print(f"{wanted:7,} came meanwhile: {_seconds():.3f} s", flush=True)
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        connection.execute("UPDATE batches SET compared_on = 1")
    print(f"not known who did: {_seconds():.3f} s", flush=True)


def _seconds() -> float:
    """Seconds from an answer to the next question."""
    from common import review
    from common.people_db import Asked, Reviewer

    bench, times = Reviewer("bench", "bench-screen"), []
    question = review.next_question(bench, Asked())
    for _ in range(QUESTIONS):
        begin = time.perf_counter()
        assert question is not None  # noqa: S101 - there are more than are answered
        assert review.answer(bench, question.key, None).ours  # noqa: S101
        question = review.next_question(bench, Asked())
        review.progress(Asked(), "bench")
        times.append(time.perf_counter() - begin)
    return median(times)


def _insert(dsn: str, count: int, seed: int) -> None:
    from common import sources

    with (
        psycopg.connect(dsn, options="-c search_path=dedupe") as connection,
        connection.cursor().copy("COPY people (first_name, last_name, address) FROM STDIN") as copy,
    ):
        for row in sources.fake_people(count, seed).select(["first_name", "last_name", "address"]).to_pylist():
            copy.write_row(tuple(row.values()))


if __name__ == "__main__":
    main()
