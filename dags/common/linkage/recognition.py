"""Records that were here before: by what they say, or by the key that their own system gave them.

What was seen is a fact where the comparison is a likelihood, so it comes first: the same record again is the same
person, or waits in the same open question. Two rules keep facts from being stretched. Records of which little is
known, a name without an address, may be of two people though they say the same: where a record does not even reach
`accept_at` with itself, somebody must look, unless its key agrees. And where a known key comes with a content that
has nothing in common with that person, somebody must look.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.linkage.batch import self_pairs
from common.linkage.comparison import comparison_vectors
from common.linkage.decision import KNOWN
from common.linkage.model import LinkageModel
from common.linkage.verdict import Reason

IN_COMMON = 0.9
"""Similarity of at least one field (first name, last name, address) that makes a known key credible."""


class _Owner(NamedTuple):
    person_id: int | None
    question_id: int | None


def recognise(
    records: pa.Table, by_content: pa.Table, by_key: pa.Table, spellings: pa.Table, model: LinkageModel
) -> pa.Table:
    """Which records of a batch were here before.

    Args:
        records: a standardised batch.
        by_content: schema `SEEN`: who said the same before.
        by_key: schema `SEEN`: who came under the same key of the same system before.
        spellings: `person_id` and the columns `STANDARDISED` of the people of `by_key`, all spellings.
        model: tells whether a record says enough.

    Returns:
        A table of schema `KNOWN`, each record once at most.
    """
    contents, keys = _owners(by_content), _owners(by_key)
    seen = records.filter(pc.is_in(records["record_key"], pa.array([*contents, *keys], pa.string())))
    scores = dict(zip(seen["record_key"].to_pylist(), self_pairs(seen, model)["score"].to_pylist(), strict=True))
    common = _in_common(seen, keys, spellings, model)
    rows = []
    for key in sorted(scores):
        same_content, same_key = contents.get(key, []), keys.get(key, [])
        agreed = [owner for owner in same_key if owner in same_content]
        if agreed or not same_key:
            owner = min(agreed or same_content, key=_order)
            reason, certain = Reason.KNOWN_RECORD, bool(agreed) or scores[key] >= model.accept_at
            certain &= len({other for other in agreed or same_content if other.person_id is not None}) <= 1
        else:
            owner, reason = min(same_key, key=_order), Reason.SAME_KEY
            certain = owner.person_id is None or (key, owner.person_id) in common
        rows.append((key, *owner, reason.value, certain))
    columns: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else [()] * len(KNOWN)
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, KNOWN.types, strict=True)], schema=KNOWN)


def _order(owner: _Owner) -> tuple[bool, int]:
    """People before questions, the first before later ones."""
    return owner.person_id is None, owner.person_id if owner.person_id is not None else owner.question_id or 0


def _owners(seen: pa.Table) -> dict[str, list[_Owner]]:
    owners: dict[str, list[_Owner]] = {}
    for row in seen.to_pylist():
        owners.setdefault(row["record_key"], []).append(_Owner(row["person_id"], row["question_id"]))
    return owners


def _in_common(
    records: pa.Table, keys: Mapping[str, Sequence[_Owner]], spellings: pa.Table, model: LinkageModel
) -> set[tuple[str, int]]:
    """Records and the people of their keys, where some spelling of the person has a field in common with the record."""
    rows_of: dict[int, list[int]] = {}
    for row, person_id in enumerate(spellings["person_id"].to_pylist()):
        rows_of.setdefault(person_id, []).append(row)
    pairs = [
        (place, row, key, owner.person_id)
        for place, key in enumerate(records["record_key"].to_pylist())
        for owner in keys.get(key, ())
        if owner.person_id is not None
        for row in rows_of.get(owner.person_id, ())
    ]
    if not pairs:
        return set()
    left, right, record_keys, people = zip(*pairs, strict=True)
    vectors = comparison_vectors(records, spellings, np.array(left), np.array(right), model)
    best = pc.max_element_wise(*(vectors[name] for name in ("first_name", "last_name", "address")))
    alike = pc.fill_null(pc.greater_equal(best, IN_COMMON), False).to_pylist()
    return {pair for pair, is_alike in zip(zip(record_keys, people, strict=True), alike, strict=True) if is_alike}
