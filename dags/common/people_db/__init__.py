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
from common.people_db.judgements import judge, judge_pair, judged_pairs, people_apart, split, take_back
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
    snapshot,
)
from common.people_db.questions import Compared, answer_question, compared, record_of
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
    marked_rows,
    open_keys,
    progress,
    question,
    release,
    skip,
    spellings,
    stands_for,
    waiting_beside,
    waiting_in,
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
    "Compared",
    "Erased",
    "QuestionKey",
    "Reviewer",
    "Shard",
    "Spelling",
    "Transaction",
    "answer_of",
    "answer_question",
    "anybody_not_from",
    "batch_decisions",
    "batches_before",
    "begun_batch",
    "champion",
    "changed_candidates",
    "claim",
    "claim_next",
    "compared",
    "count_people",
    "count_relatives",
    "decided_key",
    "deciding_model",
    "erase_person",
    "history",
    "is_empty",
    "judge",
    "judge_pair",
    "judged_pairs",
    "last_canaries",
    "last_training",
    "loaded_batch",
    "loaded_files",
    "mark_duplicates",
    "marked_rows",
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
    "record_of",
    "release",
    "sample_people",
    "seen_contents",
    "seen_keys",
    "skip",
    "snapshot",
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
    "waiting_in",
    "write_batch",
    "writing",
]
