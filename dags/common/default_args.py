"""DEFAULT_ARGS, COMPARE_ARGS and PARAMS of the DAG: retries, SLAs, who is told what, and the form that triggers a run.

Imported when the DAG file is parsed, so it must stay cheap to import.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, Param, RetryAction, RetryRule

from common import alerts
from common.errors import PermanentError
from common.settings import COMPARE_POOL, COMPARE_QUEUE, RETRY_DELAY, RUN_SLA, SOURCE

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "data-team",
    "retries": 3,
    "retry_delay": RETRY_DELAY,
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
    "retry_policy": ExceptionRetryPolicy(rules=[RetryRule(PermanentError, RetryAction.FAIL)]),
    "execution_timeout": timedelta(hours=2),
    # Lists, since Airflow does not wrap a single callback of a mapped task that fails before it is expanded.
    "on_failure_callback": [alerts.mail_failure],
    "on_retry_callback": [alerts.mail_retry],
    "on_success_callback": [alerts.forget_try],
    "on_skipped_callback": [alerts.forget_try],
    # Airflow 3 has no SLA per task: a timer in the task's process mails while it still runs.
    "on_execute_callback": [alerts.note_try, alerts.watch_task_sla],
    # Airflow 3 has no SLA in default_args either: operators ignore these two keys, the DAG makes its deadline of them.
    # They are plain values, since a DeadlineAlert in here would break the DAG's page in the UI.
    "run_sla": RUN_SLA,
    "sla_miss_callback": alerts.mail_sla_miss,
    # Else the batches, which are personal data, would stand in the task logs.
    "show_return_value_in_logs": False,
}

COMPARE_ARGS = {name: value for name, value in {"pool": COMPARE_POOL, "queue": COMPARE_QUEUE}.items() if value}
"""What `compare` has besides: it takes the most memory and all cores."""

FILES, INVENTED, MODEL = "Unusual files", "Invented records", "Model"
"""Groups of the trigger form, closed at first, with what a run on an ordinary file does not need."""

# In the form, text in backticks covers the lines above and below it; bold text does not.
PARAMS = {
    "source": Param(
        SOURCE,
        type="string",
        minLength=1,
        title="Source",
        examples=["incoming/", "incoming/new.csv", "people", "faker"],
        description_md="A file below **incoming/** or a URL: CSV, Excel (**.xlsx**), JSON Lines or Parquet with "
        "columns **first_name**, **last_name**, **address** and, if there is one, **source_key**. A folder, as "
        "**incoming/**, means all files in it that were not loaded yet. **people** looks for duplicates in the table "
        "itself; **faker** invents a batch, where nobody in the table is real.",
    ),
    "columns": Param(
        None,
        type=["null", "object"],
        title="Columns",
        section=FILES,
        description_md="For files with columns whose names are not understood: **first_name**, **last_name**, "
        "**address** or **source_key**, each with the name of a column in the file, or several joined by **+**, as in "
        '{"address": "street + zip + city"}.',
    ),
    "encoding": Param(
        None,
        type=["null", "string"],
        title="Encoding",
        section=FILES,
        examples=["cp1252", "utf-8", "utf-16"],
        description_md="For CSV and JSON Lines that are neither UTF-8 nor UTF-16: **cp1252** is what Excel on Windows "
        "mostly writes.",
    ),
    "system": Param(
        "default",
        type="string",
        minLength=1,
        title="System",
        description_md="Which system the batch comes from. Together with a record's `source_key` it names a person for "
        "good: two systems that number their people alike need two names.",
    ),
    "rows": Param(
        1_000,
        type="integer",
        minimum=0,
        maximum=1_000_000,
        title="Rows",
        section=INVENTED,
        description_md="For source **faker** only: records in the batch.",
    ),
    "returning": Param(
        0.3,
        type="number",
        minimum=0,
        maximum=1,
        title="Returning",
        section=INVENTED,
        description_md="For source **faker** only: share of the records that are stored people, written differently.",
    ),
    "existing": Param(
        10_000,
        type="integer",
        minimum=0,
        maximum=10_000_000,
        title="Existing",
        section=INVENTED,
        description_md="For source **faker** only: people that an empty table is filled with first.",
    ),
    "retrain_every": Param(
        None,
        type=["null", "integer"],
        minimum=0,
        title="Retrain every",
        section=MODEL,
        description_md="Retrain the model before every so many batches; 1 is now, 0 is never. Without it the model is "
        "retrained when the table first holds 1,000 people, when it has doubled since, and after 100 judgements more.",
    ),
    "labelled_pairs": Param(
        None,
        type=["null", "string"],
        title="Labelled pairs",
        section=MODEL,
        description_md="Prepared data to train on: path or URL of a CSV or Parquet file with columns "
        "**left_first_name**, **left_last_name**, **left_address**, the same with **right_**, and **is_match**. "
        "Without it the data is generated.",
    ),
    "champion": Param(
        None,
        type=["null", "string"],
        title="Champion",
        section=MODEL,
        description_md="Version of a stored model (table **models**) that decides from this run on.",
    ),
}
