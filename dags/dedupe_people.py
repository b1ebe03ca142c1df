"""Keep a table of people free of duplicates.

Compares each record of a batch with **every** person in the table and with the rest of the batch. `NEW` people are
inserted; `DUPLICATE` and `REVIEW` are kept in `decisions` with score and reason, unusable rows in `quarantine`.
Nothing is lost: received = quarantined + duplicates + review + inserted, whatever is retried, cleared or killed.
With `source` = `people` the table is compared with itself: duplicates in it are marked, and nobody is deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import dag
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert
from common import alerts, events
from common.deadline import RunQueued
from common.default_args import COMPARE_ARGS, DEFAULT_ARGS, PARAMS
from common.pages.links import ReportLink
from common.settings import DAG_ID
from common.table_task import table_task

if TYPE_CHECKING:
    from pyarrow import Table

    Json = dict[str, Any]


@table_task()
def ingest(params: Json | None = None, run_id: str | None = None) -> Table:
    """Read the batch: a file or object, or invented records of which some are stored people written differently."""
    from common import pipeline

    return pipeline.ingest(params, run_id)


@table_task()
def standardise(incoming: Table) -> Table:
    """Clean names and addresses for comparison; mark rows that cannot be used with a reason code."""
    from common import pipeline

    return pipeline.standardise_batch(incoming)


@table_task()
def plan_shards(batch: Table) -> list[Json]:
    """Split the table into ranges that one comparison each can hold, and note what the table holds now."""
    from common import pipeline

    return pipeline.plan_shards(batch)


@table_task(map_index_template="people from {{ task.op_kwargs['shard']['first_person'] }} on")
def encode(shard: Json) -> Json:
    """Encode the people of a shard for the search, unless what was encoded in an earlier run is what they are still."""
    from common import segments

    return dict(segments.keep(shard))


@table_task()
def plan_blocks(batch: Table, kept: list[Json]) -> list[Json]:
    """Pair up blocks of the batch with segments of people, each pair within the budget of one comparison."""
    from common import pipeline

    return pipeline.plan_blocks(batch, kept)


@table_task()
def canaries(batch: Table, run_id: str | None = None) -> Table:
    """Make records with a known answer: copies of stored people, and stored people as strangers."""
    from common import pipeline

    return pipeline.make_canaries(batch, run_id)


@table_task()
def training_pairs(params: Json | None = None, run_id: str | None = None) -> Table:
    """Make labelled pairs of prepared data, stored people and judgements; skipped between retrainings."""
    from common import retraining

    return retraining.training_pairs(params, run_id)


@table_task()
def fit_models(pairs: Table, run_id: str | None = None) -> list[Json]:
    """Fit several regression models and print their train and test results."""
    from common import retraining

    return retraining.fit_models(pairs, run_id)


@table_task(trigger_rule="none_failed", multiple_outputs=False)
def choose_model(fitted: list[Json] | None = None, params: Json | None = None, run_id: str | None = None) -> Json:
    """Promote the best model on test if it clearly beats the champion, else let the champion stand."""
    from common import retraining

    return retraining.choose_model(fitted, params, run_id)


@table_task(map_index_template="{{ task.op_kwargs['block']['name'] }}", **COMPARE_ARGS)
def compare(batch: Table, model: Json, shadow: Table, block: Json, run_id: str | None = None) -> Table:
    """Find every candidate pair of a block of the batch with a segment of people, and within the batch itself."""
    from common import pipeline

    return pipeline.compare_batch(batch, model, block, shadow, run_id)


@table_task()
def decide(batch: Table, model: Json, pairs: list[Table]) -> Table:
    """Make NEW, DUPLICATE or REVIEW of every usable record, with score, reason and runner-up."""
    from common import pipeline

    return pipeline.decide_batch(batch, model, pairs)


@table_task(multiple_outputs=False, outlets=[events.PEOPLE])
def load(
    batch: Table, model: Json, pairs: list[Table], decided: Table, shards: list[Json], run_id: str | None = None
) -> Json:
    """Write people, decisions and quarantine in one transaction, after a last look at what changed meanwhile."""
    from common import pipeline

    return events.tell_other_dags(pipeline.load_batch(batch, model, pairs, decided, shards, run_id))


@table_task(on_success_callback=[alerts.forget_try, alerts.mail_report])
def report(numbers: Json, model: Json, pairs: list[Table], shadow: Table, run_id: str | None = None) -> str:
    """Check that the numbers add up, write the report and mail it."""
    from common import pipeline

    page = pipeline.report_batch(numbers, model, pairs, shadow, run_id, alerts.outbox.undelivered())
    events.tell_dashboards(numbers)
    return page


@table_task()
def sweep_due() -> str:
    """Say why the table should be searched for duplicates now; skipped if there is no reason."""
    from common import pipeline

    return pipeline.sweep_due()


@table_task(trigger_rule="none_failed", on_success_callback=[alerts.forget_try, alerts.tell_the_rest])
def tidy(dag_run: Any = None, ti: Any = None) -> str:
    """Remove what is older than it is kept: raw fields, files of batches of runs that are done, reports."""
    from common import retention

    return retention.tidy_after(dag_run, ti)


@dag(
    schedule="@daily",
    start_date=pendulum.datetime(2026, 11, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    tags=["people", "record linkage", "postgres"],
    doc_md=__doc__,
    default_args=DEFAULT_ARGS,
    deadline=DeadlineAlert(
        reference=RunQueued(),
        interval=DEFAULT_ARGS["run_sla"],
        callback=SyncCallback(DEFAULT_ARGS["sla_miss_callback"]),
        name="run SLA",
    ),
    on_failure_callback=alerts.mail_run_failure,
    params=PARAMS,
)
def dedupe_people() -> None:
    """Wire the tasks."""
    batch = standardise(ingest())
    shards = plan_shards(batch)
    labelled = training_pairs()
    batch >> labelled  # the first people of an empty table are invented by `ingest`
    model = choose_model(fit_models(labelled))
    shadow = canaries(batch)
    # Airflow does not take the documentation of a mapped task from its docstring.
    encoded = encode.override(doc_md=encode.function.__doc__).expand(shard=shards)
    compared = compare.override(doc_md=compare.function.__doc__).partial(batch=batch, model=model, shadow=shadow)
    pairs = compared.expand(block=plan_blocks(batch, encoded))
    decisions = decide(batch, model, pairs)
    loaded = load(batch, model, pairs, decisions, shards)
    written = report(loaded, model, pairs, shadow)
    written.operator.operator_extra_links = (ReportLink(),)  # type: ignore[attr-defined]
    why = sweep_due()
    sweep = TriggerDagRunOperator(
        task_id="sweep",
        trigger_dag_id=DAG_ID,
        trigger_run_id="sweep_after_{{ run_id[:230] }}",
        conf={"source": "people", "retrain_every": 0, "why": why},
        skip_when_already_exists=True,
        doc_md="Start a run that searches the table for duplicates, once for each run that finds it due.",
    )
    # The last of all: it tells of tries that were killed, and must not take one that still runs for such.
    written >> why >> sweep >> tidy()


alerts.without_deadline_in_tests(dedupe_people())
