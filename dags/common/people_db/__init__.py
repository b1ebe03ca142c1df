"""The people database: the only SQL, by what it is about. This is its door.

    connection   transactions
    migrations   the schema, step by step; `role.sql` has the rights that are needed
    people       who is stored, in shards for comparing; standardised columns
    contents     what records and people say once standardised, and who said the same before
    batches      what was decided about records, quarantine, sweeps, undoing
    judgements   what people said about decisions, and who is never the same
    review       who is asked which open question, and what was answered
    questions    records that wait for one answer
    erasure      every trace of a person
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
from common.people_db.contents import (
    seen_contents,
    seen_keys,
    spellings_of,
    store_contents,
    store_standardised,
    unstandardised_decisions,
    unstandardised_people,
)
from common.people_db.erasure import Erased, erase_person, people_of_key
from common.people_db.judgements import judge, judged_pairs, people_apart, split, take_back
from common.people_db.models import (
    champion,
    deciding_model,
    last_training,
    model_results,
    promote_stored,
    store_challenger,
)
from common.people_db.people import (
    CANDIDATES,
    Shard,
    anybody_not_from,
    changed_candidates,
    count_people,
    count_relatives,
    is_empty,
    people_as_records,
    plan_shards,
    read_people,
    sample_people,
)
from common.people_db.questions import answer_question, asked_people, waiting_records
from common.people_db.review import (
    Answer,
    Asked,
    QuestionKey,
    Reviewer,
    Spelling,
    answer_of,
    begun_batch,
    claim,
    claim_next,
    decided_key,
    history,
    open_keys,
    progress,
    question,
    release,
    skip,
    spellings,
    stands_for,
    waiting_beside,
)
from common.run_report import SWEEP

__all__ = [
    "CANDIDATES",
    "FIRST_PEOPLE",
    "STORED_DECISIONS",
    "SWEEP",
    "Answer",
    "Asked",
    "Batch",
    "Erased",
    "QuestionKey",
    "Reviewer",
    "Shard",
    "Spelling",
    "Transaction",
    "answer_of",
    "answer_question",
    "anybody_not_from",
    "asked_people",
    "batch_decisions",
    "batches_before",
    "begun_batch",
    "champion",
    "changed_candidates",
    "claim",
    "claim_next",
    "count_people",
    "count_relatives",
    "decided_key",
    "deciding_model",
    "erase_person",
    "history",
    "is_empty",
    "judge",
    "judged_pairs",
    "last_canaries",
    "last_training",
    "loaded_batch",
    "loaded_files",
    "mark_duplicates",
    "model_results",
    "note_files",
    "open_keys",
    "people_apart",
    "people_as_records",
    "people_of_key",
    "plan_shards",
    "progress",
    "promote_stored",
    "quarantine_counts",
    "question",
    "read_people",
    "recent_decisions",
    "release",
    "sample_people",
    "seen_contents",
    "seen_keys",
    "skip",
    "spellings",
    "spellings_of",
    "split",
    "stands_for",
    "store_canaries",
    "store_challenger",
    "store_contents",
    "store_standardised",
    "stored_report",
    "take_back",
    "transaction",
    "undo_batch",
    "unstandardised_decisions",
    "unstandardised_people",
    "waiting_beside",
    "waiting_records",
    "write_batch",
    "writing",
]
