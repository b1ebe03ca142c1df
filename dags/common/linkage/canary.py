"""Canaries: records with a known answer, scored in every run and never loaded.

Copies of stored people, written differently, must be found again; stored people must not be taken for anybody else.
What goes wrong with them estimates what goes wrong with the batch.
"""

from dataclasses import dataclass
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.linkage.corruption import Record, corrupt
from common.linkage.model import LinkageModel

_KEY = "canary "  # records of a batch have hexadecimal keys


@dataclass(frozen=True)
class Canaries:
    """How the canaries of a run fared.

    Attributes:
        returning: copies of stored people.
        reinserted: those of them that would be inserted again.
        strangers: stored people, compared with everybody else.
        dropped: those of them that would be taken for somebody else.
    """

    returning: int
    reinserted: int
    strangers: int
    dropped: int

    def __str__(self) -> str:
        """Both rates with their 95 % intervals, on one line."""
        return (
            f"canaries: re-inserted {_rate(self.reinserted, self.returning)} of {self.returning:,} returning, "
            f"wrongly dropped {_rate(self.dropped, self.strangers)} of {self.strangers:,} strangers"
        )

    def exceed(self, max_reinserted: float, max_dropped: float, fewest: int) -> bool:
        """Whether a rate is past its limit beyond doubt: its whole interval lies above.

        A rate of fewer than `fewest` canaries never is. In a table of a few people nobody is an average person, and
        one odd pair among them would be a third of everybody.
        """
        rates = (
            (self.reinserted, self.returning, max_reinserted),
            (self.dropped, self.strangers, max_dropped),
        )
        return any(of >= fewest and interval(hits, of)[0] > limit for hits, of, limit in rates)


def interval(hits: int, of: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson 1927), in [0, 1]; all of it if there is nothing to count."""
    from scipy.stats import binomtest  # takes half a second, which tasks without canaries need not pay

    if not of:
        return 0.0, 1.0
    found = binomtest(hits, of).proportion_ci(confidence_level=0.95, method="wilson")
    return float(found.low), float(found.high)


def _rate(hits: int, of: int) -> str:
    low, high = interval(hits, of)
    return f"{hits / max(of, 1):.1%} ({low:.1%} to {high:.1%})"


def canary_records(people: pa.Table, seed: int) -> pa.Table:
    """One returning canary and one stranger for each of these stored people.

    Args:
        people: `person_id` and raw `first_name`, `last_name`, `address`.
        seed: of all chance.

    Returns:
        Raw records with `record_key`, `person_id` (who it is), and `returning`.
    """
    rng = Random(seed)  # noqa: S311 - chance, not secrecy
    rows = []
    for person in people.to_pylist():
        original = Record(*(person[name] for name in Record._fields))
        copy, _ = corrupt(original, rng)
        for returning, record in ((True, copy), (False, original)):
            key = f"{_KEY}{person['person_id']} {'returning' if returning else 'stranger'}"
            rows.append(
                {"record_key": key, "person_id": person["person_id"], "returning": returning, **record._asdict()}
            )
    raw = [(name, pa.string()) for name in Record._fields]
    schema = pa.schema([("record_key", pa.string()), ("person_id", pa.int64()), ("returning", pa.bool_()), *raw])
    return pa.Table.from_pylist(rows, schema=schema)


def is_canary(record_keys: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which keys of records are those of canaries."""
    return pc.starts_with(record_keys, _KEY)


def judge_canaries(canaries: pa.Table, pairs: pa.Table, model: LinkageModel) -> Canaries:
    """Count what went wrong.

    Args:
        canaries: as `canary_records` made them, those in quarantine left out.
        pairs: their candidate pairs with all people, as `block_pairs` returns them; others are passed over.
        model: supplies the cut-offs.
    """
    pairs = pairs.filter(pc.is_in(pairs["record_key"], canaries["record_key"].combine_chunks()))
    who = dict(zip(canaries["record_key"].to_pylist(), canaries["person_id"].to_pylist(), strict=True))
    person = pa.array([who[key] for key in pairs["record_key"].to_pylist()], pa.int64())
    own = pc.equal(pairs["person_id"], person)
    accepted = pc.and_not(pc.greater_equal(pairs["score"], model.accept_at), pairs["household"])
    possible = pc.invert(pc.and_(pairs["household"], model.inserts_relatives))
    found = set(pairs.filter(pc.and_(own, possible))["record_key"].to_pylist())
    taken = set(pairs.filter(pc.and_not(accepted, own))["record_key"].to_pylist())
    returning = canaries["returning"].to_numpy()
    keys = np.array(canaries["record_key"].to_pylist(), dtype=object)
    return Canaries(
        returning=int(returning.sum()),
        reinserted=sum(key not in found for key in keys[returning]),
        strangers=int((~returning).sum()),
        dropped=sum(key in taken for key in keys[~returning]),
    )
