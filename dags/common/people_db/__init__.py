"""The people database: the only SQL, by what it is about. This is its door.

    connection   transactions
    migrations   the schema, step by step; `role.sql` has the rights that are needed
    people       who is stored, in shards for comparing; standardised columns
    batches      what was decided about records, quarantine, sweeps, undoing
    judgements   what people said about decisions
    models       the champion and those before it

It reads and writes, and knows nothing of how records are compared: `pipeline` does that, inside of a transaction that
`writing` hands it. Functions that take no `connection` are a transaction each.
"""

from common.people_db.batches import (
    FIRST_PEOPLE,
    STORED_DECISIONS,
    Batch,
    batch_decisions,
    batches_before,
    last_canaries,
    loaded_batch,
    loaded_files,
    mark_duplicates,
    note_files,
    quarantine_counts,
    recent_decisions,
    store_canaries,
    stored_report,
    undo_batch,
    write_batch,
)
from common.people_db.connection import Transaction, transaction, writing
from common.people_db.judgements import judge, judged_pairs
from common.people_db.models import champion, last_training, model_results, promote_stored, store_challenger
from common.people_db.people import (
    KNOWN,
    PEOPLE,
    Shard,
    anybody_not_from,
    changed_people,
    count_people,
    count_relatives,
    is_empty,
    known_records,
    people_as_records,
    plan_shards,
    read_people,
    sample_people,
    store_standardised,
    unstandardised_people,
)
from common.run_report import SWEEP

__all__ = [
    "FIRST_PEOPLE",
    "KNOWN",
    "PEOPLE",
    "STORED_DECISIONS",
    "SWEEP",
    "Batch",
    "Shard",
    "Transaction",
    "anybody_not_from",
    "batch_decisions",
    "batches_before",
    "champion",
    "changed_people",
    "count_people",
    "count_relatives",
    "is_empty",
    "judge",
    "judged_pairs",
    "known_records",
    "last_canaries",
    "last_training",
    "loaded_batch",
    "loaded_files",
    "mark_duplicates",
    "model_results",
    "note_files",
    "people_as_records",
    "plan_shards",
    "promote_stored",
    "quarantine_counts",
    "read_people",
    "recent_decisions",
    "sample_people",
    "store_canaries",
    "store_challenger",
    "store_standardised",
    "stored_report",
    "transaction",
    "undo_batch",
    "unstandardised_people",
    "write_batch",
    "writing",
]
