"""A whole run, task by task, on an embedded server: what each task takes and how much memory it needs.

    make bench ARGS="--run 10000x1000000"

The people come into the table as another client would put them there. The first run standardises and encodes all of
them, the second one meets segments that are kept, and a sweep compares the people with each other. Each task is a
process of its own, as Airflow makes them; the seconds are those of the task's code, without Airflow's own, and the
core seconds those of its process, without the server's. The first use of the search compiles it.
"""

import logging
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "dags"), str(HERE)]

import pyarrow as pa  # noqa: E402
import pyarrow.feather as feather  # noqa: E402
from bench_data import Case, case  # noqa: E402
from launch import environment, people_db_connection, write_keys  # noqa: E402
from postgres import Server  # noqa: E402

FORK = multiprocessing.get_context("fork")
NAMES = {"first_name": "first_name_std", "last_name": "last_name_std", "address": "address_std"}


@contextmanager
def settings(folder: Path) -> Any:
    """A Postgres and folders of the benchmark's own, which the modules of the project are then imported with."""
    for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "DEDUPE_"))]:
        del os.environ[name]
    os.environ.update(environment(folder))
    os.environ.update(DEDUPE_XCOM_ROOT=str(folder / "xcom"), DEDUPE_REPORTS_DIR=str(folder / "reports"))
    write_keys(folder)
    server = Server(folder / "postgres")
    with server.use():
        server.create_database("people")
        os.environ["AIRFLOW_CONN_PEOPLE_DB"] = people_db_connection(server.socket_folder)
        yield server.dsn("people")
    server.remove()


def fill(dsn: str, people: pa.Table) -> None:
    """Insert people as a client that knows nothing of this project."""
    import psycopg
    from common import people_db

    people_db.is_empty()  # applies the schema
    statement = "COPY dedupe.people (first_name, last_name, address) FROM STDIN"
    with psycopg.connect(dsn) as connection, connection.cursor().copy(statement) as copy:
        for row in zip(*(people[name].to_pylist() for name in NAMES.values()), strict=True):
            copy.write_row(row)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE dedupe.people")


def batch(records: pa.Table, source: str) -> pa.Table:
    """Records as `ingest` gives them."""
    from common.sources import INCOMING

    columns = {name: records[std] for name, std in NAMES.items()}
    columns["record_key"] = pa.array([f"{place:032x}" for place in range(len(records))])
    for name in INCOMING.names:
        columns.setdefault(name, pa.nulls(len(records), pa.string()))
    table = pa.table({name: columns[name] for name in INCOMING.names})
    return table.replace_schema_metadata({"source": source, "system": source, "people_before": "0"})


class Run:
    """Runs tasks one after the other, each in a process of its own, and prints what it took."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tasks = 0
        self.seconds = self.cpu = 0.0

    def task(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """Call a task's function in a process of its own; tables travel through files, as those of XCom do."""
        self.tasks += 1
        result = self.folder / f"result-{self.tasks}"
        queue: Any = FORK.SimpleQueue()

        def child() -> None:
            import structlog

            structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
            logging.disable()
            begin = time.perf_counter()
            value = function(*args)
            seconds = time.perf_counter() - begin
            if isinstance(value, pa.Table):
                feather.write_feather(value, result, compression="uncompressed")
                keep = {key.decode(): text.decode() for key, text in (value.schema.metadata or {}).items()}
                value = ("table", keep)
            used = resource.getrusage(resource.RUSAGE_SELF)
            queue.put((value, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6))

        process = FORK.Process(target=child)
        process.start()
        value, seconds, cpu, memory = queue.get()
        process.join()
        self.seconds += seconds
        self.cpu += cpu
        print(f"  {name:<60} {seconds:>8.2f} s {cpu:>8.2f} core s {memory:>6.2f} GB", flush=True)
        if isinstance(value, tuple) and value[0] == "table":
            return feather.read_table(result, memory_map=True).replace_schema_metadata(value[1])
        return value


def whole_run(folder: Path, incoming: pa.Table, run_id: str) -> None:
    """From `standardise` to `report`, with the shipped model."""
    from common import pipeline, segments
    from common.linkage.model import STARTING_MODEL

    model, run = STARTING_MODEL.to_dict(), Run(folder)
    print(run_id, flush=True)
    records = run.task("standardise", pipeline.standardise_batch, incoming)
    shards = run.task("plan_shards", pipeline.plan_shards, records)
    kept = [run.task(f"encode {place}", segments.keep, shard) for place, shard in enumerate(shards)]
    shadow = run.task("canaries", pipeline.make_canaries, records, run_id)
    blocks = run.task("plan_blocks", pipeline.plan_blocks, records, kept)
    pairs = [
        run.task(f"compare {block['name']}", pipeline.compare_batch, records, model, block, shadow, run_id)
        for block in blocks
    ]
    decided = run.task("decide", pipeline.decide_batch, records, model, pairs)
    numbers = run.task("load", pipeline.load_batch, records, model, pairs, decided, shards, run_id)
    run.task("report", pipeline.report_batch, numbers, model, pairs, shadow, run_id)
    print(f"  {'all tasks, one after the other':<60} {run.seconds:>8.2f} s {run.cpu:>8.2f} core s", flush=True)
    print(
        "  " + " ".join(f"{name}={number}" for name, number in numbers.items() if isinstance(number, int)), flush=True
    )


def measure(size: str, variety: str) -> None:
    """Print what two runs and a sweep take.

    Args:
        size: RECORDSxPEOPLE.
        variety: of names, see `bench_data`.
    """
    records, _, people = size.partition("x")
    made: Case = case(2 * int(records), int(people), variety)
    half = int(records)
    with tempfile.TemporaryDirectory() as name, settings(Path(name)) as dsn:
        from common.sources import INCOMING

        fill(dsn, made.people)
        print(f"{size} {variety}, {os.cpu_count()} cores")
        whole_run(Path(name), batch(made.incoming.slice(0, half), "first"), "first run, nothing is encoded")
        whole_run(Path(name), batch(made.incoming.slice(half), "second"), "second run, segments are kept")
        described = {"source": "people", "system": "people", "people_before": "0"}
        whole_run(Path(name), INCOMING.empty_table().replace_schema_metadata(described), "sweep")
