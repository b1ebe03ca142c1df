"""Whom records resemble: compared with everybody, and again with those who came while that took its time."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from common import people_db
from common.linkage.batch import Effort, batch_pairs
from common.linkage.model import LinkageModel
from common.settings import MAX_CANDIDATES


def find(
    records: pa.Table, model: LinkageModel, shards: Sequence[people_db.Shard], effort: Effort | None = None
) -> pa.Table:
    """Who records may be: their pairs with everybody and with all open questions, as `batch_pairs` returns them.

    Args:
        records: `record_key`, the columns `STANDARDISED` and `quarantine_reason`.
        model: that scores; pairs below its `review_at` are left out.
        shards: as planned, see `people_db.plan_shards`.
        effort: limits for each shard, and what is proved.

    Raises:
        CandidateExplosion: the limits do not do.
    """
    return pa.concat_tables(
        [batch_pairs(records, people_db.read_people(shard), model, with_batch=False, effort=effort) for shard in shards]
    )


def warm_up() -> None:
    """Load what the search has compiled, which takes seconds in a process that has not searched yet."""
    from common.linkage.model import STARTING_MODEL
    from common.linkage.standardise import standardise

    text = pa.array(["a"], pa.string())
    records = standardise(pa.table({name: text for name in ("record_key", "first_name", "last_name", "address")}))
    people = records.append_column("person_id", pa.array([1], pa.int64()))
    records = records.append_column("quarantine_reason", pa.nulls(1, pa.string()))
    batch_pairs(records, people, STARTING_MODEL, with_batch=False)


def current_pairs(
    connection: people_db.Transaction, records: pa.Table, model: LinkageModel, pairs: pa.Table, snapshot: str
) -> pa.Table:
    """The pairs as the table is now; the very same object if nobody came, changed or went since it was compared.

    Args:
        connection: within `people_db.writing`, so that it stays so. Everybody is standardised.
        records: that were compared.
        model: that scored.
        pairs: as they were found.
        snapshot: what the table held then, see `people_db.Shard`.
    """
    current, stale = people_db.changed_candidates(connection, snapshot, pairs)
    if not current.num_rows and not len(stale):
        return pairs
    effort = Effort(candidates=MAX_CANDIDATES)
    fresh = batch_pairs(records, current, model, with_batch=False, effort=effort).cast(pairs.schema)
    kept = np.delete(np.arange(len(pairs)), stale.to_numpy())
    return pa.concat_tables([pairs.take(kept), fresh])
