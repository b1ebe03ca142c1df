"""A sweep: the table is searched for people who are in it more than once, and the duplicates are marked."""

import logging
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from common import people_db
from common.linkage.batch import self_pairs
from common.linkage.decision import DECISIONS, KNOWN, decide
from common.linkage.model import COMPARISON_VECTOR, LinkageModel
from common.linkage.standardise import standardise
from common.linkage.sweep import PEOPLE_PAIRS
from common.linkage.tables import PAIR_ENDS
from common.linkage.validation import add_quarantine_reason
from common.run_report import RunReport
from common.settings import SWEEP_EVERY, SWEEP_REMOVES

log = logging.getLogger(__name__)


def as_of(pairs: pa.Table, snapshot: str) -> pa.Table:
    """Pairs of people with the snapshot of `people_db.plan_shards`, from before they were found, in their metadata."""
    return pairs.replace_schema_metadata({**(pairs.schema.metadata or {}), "snapshot": snapshot})


def decide_people(connection: people_db.Transaction, pairs: Sequence[pa.Table], model: LinkageModel) -> pa.Table:
    """Who in the table is whose duplicate; pairs with people who have changed since the comparison are passed over.

    Args:
        connection: a transaction.
        pairs: of people, as `linkage.sweep.people_pairs` returns them and `as_of` a snapshot. Those who say the same
            come to them here.
        model: that scored.

    Returns:
        The columns `DECISIONS`, a row for everybody in a pair, and `record`: the row of a standardised batch that they
        are (`people_db.people_as_records`), as a struct.
    """
    found = pa.concat_tables(pairs).replace_schema_metadata(None)
    copies = people_db.copies_of_people(connection)
    ids = pc.unique(pa.chunked_array([*_ends(found), *_ends(copies)], pa.int64()))
    records = people_db.people_as_records(connection, ids.to_pylist(), _snapshot(pairs[0]))
    records = add_quarantine_reason(standardise(records))
    found = pa.concat_tables([found, _pairs_of_copies(copies, records, model)])
    found = _by_key(found, records)
    log.info("%d pairs of %d people reach review_at", len(found), len(records))
    decisions = decide(records, found, KNOWN.empty_table(), model, apart=_apart(records))
    return decisions.append_column("record", records.combine_chunks().to_struct_array())


def mark(
    connection: people_db.Transaction,
    batch: people_db.Batch,
    pairs: pa.Table,
    decided: pa.Table,
    model: LinkageModel,
) -> RunReport:
    """Mark the duplicates of a decided sweep, or remove them with `SWEEP_REMOVES`.

    Where somebody has changed since it was decided, it is decided again.

    Args:
        connection: within `people_db.writing`.
        batch: what the sweep is.
        pairs: that were decided.
        decided: what `decide_people` made of them.
        model: that scored.
    """
    ids = _ids(_records(decided))
    now = people_db.people_as_records(connection, ids.to_pylist(), _snapshot(pairs))
    if set(now["record_key"].to_pylist()) != set(decided["record_key"].to_pylist()):
        decided = decide_people(connection, [pairs], model)
    decisions = decided.select(DECISIONS.names)
    return people_db.mark_duplicates(connection, batch, _records(decided), decisions, model, remove=SWEEP_REMOVES)


def why() -> str | None:
    """Why a sweep is due, in one line; None if it is not."""
    if not SWEEP_EVERY:
        return None
    with people_db.transaction() as connection:
        return people_db.why_sweep(connection, SWEEP_EVERY)


def _records(decided: pa.Table) -> pa.Table:
    return pa.Table.from_struct_array(decided["record"])


def _snapshot(pairs: pa.Table) -> str:
    return str(pairs.schema.metadata[b"snapshot"], "utf-8")


def _ends(pairs: pa.Table) -> list[pa.Array]:
    return [*pairs["person_id"].chunks, *pairs["other_id"].chunks]


def _apart(records: pa.Table) -> set[tuple[str, str]]:
    """Keys of people whom somebody called two."""
    key_of = dict(zip(_ids(records).to_pylist(), records["record_key"].to_pylist(), strict=True))
    pairs = ((row["person_id"], row["other_id"]) for row in people_db.people_apart().to_pylist())
    return {(key_of[one], key_of[other]) for one, other in pairs if one in key_of and other in key_of}


def _pairs_of_copies(copies: pa.Table, records: pa.Table, model: LinkageModel) -> pa.Table:
    """The pairs of people who say the same, where what they say reaches `review_at` with itself."""
    place = pc.index_in(copies["person_id"], _ids(records))
    copies, place = copies.filter(pc.is_valid(place)), place.drop_null()
    scored = self_pairs(records.take(place), model)
    scored = pa.table(
        [
            *(copies[name] for name in ("person_id", "other_id")),
            *(scored[name] for name in (*COMPARISON_VECTOR, "score")),
            pa.repeat(False, len(copies)),
        ],
        PEOPLE_PAIRS.names,
    )
    return scored.cast(PEOPLE_PAIRS).filter(pc.greater_equal(scored["score"], model.review_at))


def _by_key(pairs: pa.Table, records: pa.Table) -> pa.Table:
    """Pairs by person as those of a batch, by record key, see `block_pairs`; without people who are no records."""
    ids = _ids(records)
    left, right = (pc.index_in(pairs[name], ids) for name in ("person_id", "other_id"))
    both = pc.and_(pc.is_valid(left), pc.is_valid(right))
    pairs, left, right = (part.filter(both) for part in (pairs, left, right))
    return pa.table(
        {
            "record_key": records["record_key"].take(left),
            **{field.name: pa.nulls(len(pairs), field.type) for field in PAIR_ENDS},
            "other_record_key": records["record_key"].take(right),
            **{name: pairs[name] for name in PEOPLE_PAIRS.names[2:]},
        }
    )


def _ids(records: pa.Table) -> pa.Array:
    return pa.array(map(int, records["source_key"].to_pylist()), pa.int64())
