"""Every knob of the project, once. A leaf: it knows neither Airflow nor any other module of ours.

What differs between deployments is read from the environment; the rest are constants with the reason beside them.
Every variable that is read here stands in `.env.example`.
"""

import os
import tempfile
from datetime import timedelta
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def listed(name: str, default: str) -> list[str]:
    """A variable of the environment that holds several values, separated by commas: colons stand in URLs."""
    return [value for part in os.environ.get(name, default).split(",") if (value := part.strip())]


def whole(name: str, default: int, least: int = 1) -> int:
    """A variable of the environment that holds a whole number, also written as 4_000_000; where it is empty, `default`.

    Raises:
        ValueError: it holds something else, or less than `least`. The text names the variable.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise ValueError(f"{name} is to be a whole number from {least} on, not {text!r}")
    return number


DAG_ID = "dedupe_people"

VERSION = "0.2.0"
"""Version of this code. It stands beside every migration of the schema that this code applies."""

PEOPLE_CONN_ID = "people_db"
PEOPLE_SCHEMA = os.environ.get("DEDUPE_SCHEMA", "dedupe")
"""Postgres schema that holds the project's tables."""

REPORTS_DIR = os.environ.get("DEDUPE_REPORTS_DIR", str(PROJECT_ROOT / "reports"))
"""Where the reports go: a folder that every worker and the api-server share, or a URL as s3://conn_id@bucket/reports."""

XCOM_ROOT = os.environ.get("DEDUPE_XCOM_ROOT", str(PROJECT_ROOT / ".xcom"))
"""Where batches lie between tasks: a folder that every worker shares, or a URL such as s3://conn_id@bucket/xcom."""


def _days(name: str, default: str) -> timedelta | None:
    """A number of days; None, where it is empty: for ever."""
    text = os.environ.get(name, default).strip()
    return timedelta(days=float(text)) if text else None


KEEP_QUARANTINED = _days("DEDUPE_KEEP_QUARANTINED_DAYS", "")
"""How long quarantined rows are kept as they arrived, from when their batch was loaded; their reasons stay."""

KEEP_FIELDS = _days("DEDUPE_KEEP_FIELDS_DAYS", "")
"""How long the raw fields of decided records are kept; of those that wait for an answer, until they have it."""

KEEP_REPORTS = _days("DEDUPE_KEEP_REPORTS_DAYS", "")
"""How long reports are kept. They hold no name in full."""

KEEP_BATCHES = _days("DEDUPE_KEEP_BATCHES_DAYS", "30")
"""How long the files of a run's batch are kept when it is done. A task that needs one that is gone can be cleared only
together with those before it."""

KEEP_BATCHES_OF_DELETED = timedelta(days=1)
"""How long those of a run are kept that Airflow knows no more: nothing can ask for them."""

KEEP_NOTES = timedelta(days=30)
"""How long notes of tries are kept, and mails that were given up."""

MAIL_KEPT = timedelta(days=7)
"""How long a mail waits for a mail server."""

MAX_ATTACHED = 5_000_000
"""Bytes of a page that a mail still takes along: servers refuse large mails, and the page can be opened in the UI."""

MAIL_TRIES, MAIL_PAUSE = 5, timedelta(minutes=1)
"""Tries of a mail that the server refuses, and the pause after the first; each further pause is four times as long."""

MAIL_TO = listed("DEDUPE_MAIL_TO", "data-team@localhost")
MAIL_FROM = os.environ.get("DEDUPE_MAIL_FROM", "dedupe-people@localhost")

ALLOWED_HOSTS = listed("DEDUPE_ALLOWED_HOSTS", "")
"""Names under which Airflow's UI may be asked, against pages elsewhere that rebind a name of theirs; none: any name."""

ALLOWED_SOURCE_ROOTS = tuple(listed("DEDUPE_SOURCE_ROOTS", "incoming"))
"""Folders and beginnings of URLs that sources may be read from, besides object stores whose connection is named."""

SOURCE = os.environ.get("DEDUPE_SOURCE") or "/".join([*ALLOWED_SOURCE_ROOTS[:1], ""])
"""What a run loads that is not told otherwise, as those of the schedule: by default what is new in the drop folder."""

EMBEDDED_PEOPLE_DB = os.environ.get("DEDUPE_EMBEDDED_PEOPLE_DB") == "1"
"""Whether the people live in the server inside this checkout, where things are tried out: invented people may join them
whoever they are. dev/launch.py knows and says it."""

SHARD_PEOPLE = whole("DEDUPE_SHARD_PEOPLE", 1_000_000)
"""People or spellings in a shard: what one `encode` encodes and one `compare` compares with, some 500 bytes each.
Shards that are full stay as they are when this changes."""

BLOCK_RECORDS = whole("DEDUPE_BLOCK_RECORDS", 50_000)
"""Records of a batch that one `compare` compares with one shard."""

SEGMENT_CACHE = Path(
    os.environ.get("DEDUPE_SEGMENT_CACHE") or Path(tempfile.gettempdir()) / f"dedupe-people-{os.getuid()}"
)
"""Where a worker keeps segments that it has fetched from an object store, to map them into memory."""

SEGMENTS_KEPT = timedelta(hours=1)
"""How long a segment is kept that the last run did not use: another run may use it, which else makes it again."""

MAX_BLOCKS, MAX_SWEPT_SHARDS = 1_000, 40
"""Comparisons of a run, and shards of a sweep, whose pairs come to 820: Airflow maps a task at most 1,024 times unless
`[core] max_map_length` says otherwise. Beyond that blocks and shards are larger."""

SWEEP_EVERY = whole("DEDUPE_SWEEP_EVERY", 30, least=0)
"""After so many batches the table is swept for duplicates by itself, and besides after a model was promoted and after a
table was adopted; 0: never by itself."""

SWEEP_REMOVES = os.environ.get("DEDUPE_SWEEP_REMOVES") == "1"
"""Whether a sweep removes duplicates from the table instead of marking them. Their rows go to `removed_people`."""

COMPARE_POOL = os.environ.get("DEDUPE_COMPARE_POOL", "")
COMPARE_QUEUE = os.environ.get("DEDUPE_COMPARE_QUEUE", "")
"""Airflow's pool and queue for `compare`, so that it runs where there is memory for it; empty: those of other tasks."""

CORES = whole("DEDUPE_CORES", 0)
"""Threads of the search in `compare`; 0: as many as its process may use, by affinity and the quota of
its container."""

CERTIFIED_RECORDS = 5
"""Records of a batch that `compare` also compares exhaustively, as a proof that it misses no pair."""

MAX_CANDIDATE_PAIRS = whole("DEDUPE_MAX_CANDIDATE_PAIRS", 5_000_000)
MAX_ADDRESS_COMPARISONS = whole("DEDUPE_MAX_ADDRESS_COMPARISONS", 20_000_000_000)
"""Work of one `compare` beyond which it gives up the records that have too many candidates, or fails."""

MAX_CANDIDATES = 1_000
"""Candidates of one record beyond which it goes to quarantine as `TOO_COMMON`: usually its name is a placeholder."""

FILL_FROM = float(os.environ.get("DEDUPE_FILL_FROM") or 0)
"""Match score from which on a duplicate fills in what its person lacks, first name, last name or address; so does a
record whose own key names the person. 0: nobody is filled in. Nothing that is there is overwritten."""

PROGRESS_SECONDS = 5
"""Pause between two progress lines of long work."""

CANARIES = 300
"""Stored people of whom a run makes canaries: a returning one and a stranger of each."""

CANARY_RUNS = 10
"""Runs beside which the report shows the canaries of this one."""

CANARY_LIMITS = {"max_reinserted": 0.10, "max_dropped": 0.02}
"""Rates past which report and mail warn, if their whole 95 % interval lies above."""

FEWEST_CANARIES = 100
"""A rate of fewer canaries never warns."""

TRAINING_PEOPLE = 10_000
"""People drawn for labelled pairs, from the generated data set and from the table each."""

INVENTED_WEIGHT = 0.1
"""What a labelled pair of invented people counts beside one of the table's own people."""

RETRAIN_GROWTH, RETRAIN_JUDGEMENTS = 2, 100
"""A run retrains where the table has this many times the people of the last training, or so many judgements more."""

COST_REINSERTED = 5
"""What it costs to insert a known person again, in reviews: somebody must find the two rows later and join them."""

COST_DROPPED = 20
"""What it costs to take a new person for a known one, in reviews: nobody looks for somebody who is not there."""

COST_REVIEWED = 1
"""What it costs to put a record to review: the minute that somebody looks at it."""

MAX_DROPPED = 0.005
"""Share of new records that the trained model may take for somebody known (wrongly dropped), whatever it costs."""

MAX_REVIEWED = 0.1
"""Share of new records that it may put to review besides, relatives left out; where a model misses it on test, the
log and its results say so."""

RELATIVES_FROM = 0.1
"""Share of the table's people who live with relatives from which on a retrained model inserts relatives without a
question: there a shared last name and house with another first name is a family, and hardly ever a wrong first name."""

PROMOTION_MARGIN = 0.02
"""A challenger must have a test log-loss this much lower than the champion's, as a share of it."""

FLIPS_FOR_GAIN = 2.0
"""Share of the last decisions that a challenger may change, for each share by which its log-loss is lower."""

PROMOTION_ASKS = os.environ.get("DEDUPE_PROMOTION_ASKS") == "1"
"""Whether a challenger that beats the champion waits until somebody has approved it on the page for review."""

FLIPS_AMONG, FLIP_EXAMPLES = 1_000, 5
"""Among how many of the last decisions a challenger's changes are counted, and how many are shown, masked."""

FLIPS_SHOWN = 20
"""How many of them whoever approves a challenger is shown."""

LOCK_TIMEOUT = timedelta(minutes=5)
"""How long `load` waits for other writers before it fails and is retried."""

REVIEW_LOCK_TIMEOUT = timedelta(seconds=2)
"""How long an answer of a reviewer waits for other writers, such as `load`, before the page tries it again."""

REVIEW_CLAIM = timedelta(minutes=5)
"""How long a question that stands on one screen is offered on no other one."""

REVIEWED_BATCHES = 10
"""Batches whose review the report shows beside each other."""

FOUND_PEOPLE = 10
"""How many people are shown to whoever looks somebody up."""

FOUND_BELOW = 10
"""They are shown from this many times below `review_at` on: who comes near, and that nobody comes nearer."""

MAX_FOUND = 200_000
"""Pairs beyond which looking somebody up gives up and asks for more of the name or the address."""

MIGRATION_LOCK_TIMEOUT = timedelta(seconds=10)
"""How long a migration waits for a table, and lets others wait behind it, before it fails and is retried."""

RUN_SLA = timedelta(seconds=float(os.environ.get("DEDUPE_RUN_SLA_SECONDS", 3600)))
"""A run that is not done this long after it was queued is reported as an SLA miss."""

TASK_SLA = timedelta(seconds=float(os.environ.get("DEDUPE_TASK_SLA_SECONDS", 1800)))
"""A task that still runs after this long is reported as an SLA miss."""

RETRY_DELAY = timedelta(seconds=float(os.environ.get("DEDUPE_RETRY_DELAY_SECONDS", 30)))
"""Pause before the first retry of a task; it doubles with each."""
