"""### Keep a table of people free of duplicates

Takes a batch of incoming records (first name, last name, address), standardises them, compares each with **every**
person in the table and with the rest of the batch, and decides by a regression model:

| decision | what happens |
|---|---|
| `NEW` | inserted into `people` |
| `DUPLICATE` | kept in `decisions` with the person it belongs to |
| `REVIEW` | kept in `decisions` for somebody to judge |
| quarantined | kept in `quarantine` with a reason code and the raw row |

Nothing is lost: received = quarantined + duplicates + review + inserted. Every task can be retried, cleared or killed
without anybody being inserted twice. The run's report is mailed and lies in the reports folder.

Does **not** protect against: duplicates that were in the table before (`people` is only compared with what comes in).
"""

from typing import TYPE_CHECKING, Any

import pendulum
from airflow.sdk import Param, dag, task
from common import alerts
from common.arrow_xcom import opens_tables
from common.settings import DEFAULT_ARGS

if TYPE_CHECKING:
    import pyarrow as pa
    from common.people_db import Shard


@task
def ingest(params: dict[str, Any] | None = None, run_id: str | None = None) -> "pa.Table":
    """Read the batch: a file or object, or invented records of which some are stored people written differently."""
    from common import ingestion

    return ingestion.ingest(params, run_id)


@task
@opens_tables
def standardise(incoming: "pa.Table") -> "pa.Table":
    """Clean names and addresses for comparison; mark rows that cannot be used with a reason code."""
    from common import ingestion

    return ingestion.standardise_batch(incoming)


@task
@opens_tables
def plan_shards(batch: "pa.Table") -> "list[Shard]":
    """Split the table into ranges that one comparison each can hold, and note what the table holds now."""
    from common import people_db

    return people_db.plan_shards()


@task(map_index_template="people {{ task.op_kwargs['shard']['first_person'] }} on")
@opens_tables
def compare(batch: "pa.Table", shard: "Shard") -> "pa.Table":
    """Find every candidate pair of the batch in one shard of the table, and within the batch itself."""
    from common import people_db
    from common.linkage.batch import batch_pairs
    from common.linkage.model import STARTING_MODEL

    return batch_pairs(batch, people_db.read_people(shard), STARTING_MODEL, with_batch=shard["with_batch"])


@task
@opens_tables
def decide(batch: "pa.Table", pairs: "list[pa.Table]") -> "pa.Table":
    """Make NEW, DUPLICATE or REVIEW of every usable record, with score, reason and runner-up."""
    import pyarrow as pa
    from common import people_db
    from common.linkage import decision
    from common.linkage.model import STARTING_MODEL

    return decision.decide(batch, pa.concat_tables(pairs), people_db.known_records(batch), STARTING_MODEL)


@task(multiple_outputs=False)
@opens_tables
def load(
    batch: "pa.Table",
    pairs: "list[pa.Table]",
    decisions: "pa.Table",
    shards: "list[Shard]",
    run_id: str | None = None,
) -> dict[str, Any]:
    """Write people, decisions and quarantine in one transaction, after a last look at what changed meanwhile."""
    import dataclasses

    import pyarrow as pa
    from common import ingestion
    from common.linkage.model import STARTING_MODEL

    pairs = pa.concat_tables(pairs)
    return dataclasses.asdict(ingestion.load_batch(batch, pairs, decisions, shards, STARTING_MODEL, run_id))


@task(on_success_callback=alerts.mail_report)
@opens_tables
def report(numbers: dict[str, Any], run_id: str | None = None) -> str:
    """Check that the numbers add up, write the report and mail it."""
    from common import ingestion

    return ingestion.report_batch(numbers, run_id)


@dag(
    schedule="@daily",
    start_date=pendulum.datetime(2026, 11, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    tags=["people", "record linkage", "postgres"],
    doc_md=__doc__,
    default_args=DEFAULT_ARGS,
    deadline=DEFAULT_ARGS["deadline"],
    params={
        "source": Param(
            "faker",
            type="string",
            minLength=1,
            title="Source",
            description="`faker` invents a batch. Else a path below the project or a URL of a CSV, JSON Lines or Parquet "
            "file with columns first_name, last_name, address and, if there is one, source_key.",
        ),
        "rows": Param(
            1_000,
            type="integer",
            minimum=0,
            maximum=1_000_000,
            title="Rows",
            description="Faker only: records in the batch.",
        ),
        "returning": Param(
            0.3,
            type="number",
            minimum=0,
            maximum=1,
            title="Returning",
            description="Faker only: share of the records that are stored people, written differently.",
        ),
        "existing": Param(
            10_000,
            type="integer",
            minimum=0,
            maximum=10_000_000,
            title="Existing",
            description="Faker only: people that an empty table is filled with first.",
        ),
    },
)
def dedupe_people() -> None:
    """Wire the tasks."""
    batch = standardise(ingest())
    shards = plan_shards(batch)
    pairs = compare.partial(batch=batch).expand(shard=shards)
    decisions = decide(batch, pairs)
    report(load(batch, pairs, decisions, shards))


alerts.without_deadline_in_tests(dedupe_people())
