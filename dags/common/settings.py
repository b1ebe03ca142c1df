"""Every knob of the project, once. Imported when the DAG file is parsed, so it must stay cheap to import.

What differs between deployments is read from the environment; the rest are constants with the reason beside them.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, Param, RetryDecision, RetryPolicy
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert

from common import alerts

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def listed(name: str, default: str) -> list[str]:
    """A variable of the environment that holds several values, separated by commas: colons stand in URLs."""
    return [value for part in os.environ.get(name, default).split(",") if (value := part.strip())]


PEOPLE_CONN_ID = "people_db"
PEOPLE_SCHEMA = os.environ.get("DEDUPE_SCHEMA", "dedupe")
"""Postgres schema that holds the project's tables."""

REPORTS_DIR = Path(os.environ.get("DEDUPE_REPORTS_DIR", PROJECT_ROOT / "reports"))
"""Where the HTML reports go: one folder that every worker can write."""

XCOM_ROOT = os.environ.get("DEDUPE_XCOM_ROOT", str(PROJECT_ROOT / ".xcom"))
"""Where batches lie between tasks: a folder that every worker shares, or a URL such as s3://conn_id@bucket/xcom."""

OUTBOX_DIR = REPORTS_DIR / "outbox"
"""Where mails wait for a mail server that is down."""

TRIES_DIR = REPORTS_DIR / "tries"
"""Where tries of tasks leave notes, so that those that were killed are told of too."""

MAIL_TO = listed("DEDUPE_MAIL_TO", "data-team@localhost")
MAIL_FROM = os.environ.get("DEDUPE_MAIL_FROM", "dedupe-people@localhost")

PEOPLE = Asset(name="people", uri=f"dedupe-people://{PEOPLE_SCHEMA}/people")
"""What other DAGs can be scheduled on: its events carry the numbers of the run."""

ALLOWED_SOURCE_ROOTS = tuple(listed("DEDUPE_SOURCE_ROOTS", str(PROJECT_ROOT / "incoming")))
"""Folders and beginnings of URLs that sources may be read from, besides object stores whose connection is named."""

SHARD_PEOPLE = 4_000_000
"""People per mapped `compare`; a shard of this size needs about 3 GB."""

CERTIFIED_RECORDS = 5
"""Records of a batch that `compare` also compares exhaustively, as a proof that it misses no pair."""

MAX_CANDIDATE_PAIRS = 5_000_000
MAX_ADDRESS_COMPARISONS = 20_000_000_000
"""Work of one `compare` beyond which it fails at once: usually a placeholder name in many records is the reason."""

PROGRESS_SECONDS = 5
"""Pause between two progress lines of long work."""

CANARIES = 300
"""Stored people of whom a run makes canaries: a returning one and a stranger of each."""

CANARY_RUNS = 10
"""Runs beside which the report shows the canaries of this one."""

CANARY_LIMITS = {"max_reinserted": 0.10, "max_dropped": 0.02}
"""Rates past which the mail's subject warns, if their whole 95 % interval lies above."""

TRAINING_PEOPLE = 10_000
"""People drawn for labelled pairs, from the generated data set and from the table each."""

MAX_DROPPED = 0.005
"""Share of new records that the trained model may take for somebody known (wrongly dropped)."""

MAX_REVIEWED = 0.01
"""Share of new records that it may put to review besides, relatives left out; more leaves fewer re-inserted."""

PROMOTION_MARGIN = 0.02
"""A challenger must have a test log-loss this much lower than the champion's, as a share of it."""

FLIPS_AMONG, FLIP_EXAMPLES = 1_000, 5
"""Among how many of the last decisions a challenger's changes are counted, and how many are shown, masked."""

LOCK_TIMEOUT = timedelta(minutes=5)
"""How long `load` waits for other writers before it fails and is retried."""

RUN_SLA = timedelta(seconds=float(os.environ.get("DEDUPE_RUN_SLA_SECONDS", 3600)))
"""A run that is not done this long after it was queued is reported as an SLA miss."""

TASK_SLA = timedelta(seconds=float(os.environ.get("DEDUPE_TASK_SLA_SECONDS", 1800)))
"""A task that still runs after this long is reported as an SLA miss."""

FAIL_AT_ONCE = frozenset(
    {
        "common.arrow_xcom.MissingBatch",
        "common.source.SourceError",
        "common.people_db.PeopleDbError",
        "common.report.ReportError",
        "common.linkage.batch.MissedPairsError",
        "common.linkage.candidates.CandidateExplosion",
        "common.linkage.model.ModelError",
    }
)
"""Errors that another try cannot mend: the input, the set-up or the numbers are wrong."""


class FailAtOnce(RetryPolicy):
    """No retry after the errors of `FAIL_AT_ONCE`; Airflow's own policy would import their modules at each parse."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """Compare by name, base classes included."""
        kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(exception).__mro__}
        return RetryDecision.fail() if kinds & FAIL_AT_ONCE else RetryDecision.default()


DEFAULT_ARGS: dict[str, Any] = {
    "owner": "data-team",
    "retries": 3,
    "retry_delay": timedelta(seconds=float(os.environ.get("DEDUPE_RETRY_DELAY_SECONDS", 30))),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
    "retry_policy": FailAtOnce(),
    "execution_timeout": timedelta(hours=2),
    # Lists, since Airflow does not wrap a single callback of a mapped task that fails before it is expanded.
    "on_failure_callback": [alerts.mail_failure],
    "on_retry_callback": [alerts.mail_retry],
    "on_success_callback": [alerts.forget_try],
    "on_skipped_callback": [alerts.forget_try],
    # Airflow 3 has no SLA per task: a timer in the task's process mails while it still runs.
    "on_execute_callback": [alerts.note_try, alerts.watch_task_sla],
    # Airflow 3 has no SLA per run in default_args either: operators ignore this key, the DAG passes it on.
    "deadline": DeadlineAlert(
        reference=alerts.RunQueued(),
        interval=RUN_SLA,
        callback=SyncCallback(alerts.mail_sla_miss),
        name="run SLA",
    ),
    # Else the batches, personal data, would stand in the task logs.
    "show_return_value_in_logs": False,
}

PARAMS = {
    "source": Param(
        "faker",
        type="string",
        minLength=1,
        title="Source",
        description="`faker` invents a batch, `people` looks for duplicates in the table itself. Else a path below the "
        "project or a URL of a CSV, JSON Lines or Parquet file with columns first_name, last_name, address and, if "
        "there is one, source_key.",
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
    "retrain_every": Param(
        7,
        type="integer",
        minimum=0,
        title="Retrain every",
        description="Retrain the model before every so many batches, from the first; 0 is never.",
    ),
    "labelled_pairs": Param(
        "",
        type="string",
        title="Labelled pairs",
        description="Prepared data to train on: path or URL of a CSV or Parquet file with columns left_first_name, "
        "left_last_name, left_address, the same with right_, and is_match. Empty: generated data.",
    ),
    "champion": Param(
        "",
        type="string",
        title="Champion",
        description="Version of a stored model (table models) that decides from this run on, whatever the results.",
    ),
}
