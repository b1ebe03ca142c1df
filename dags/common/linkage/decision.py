"""Decisions: from scored candidate pairs to what happens with each record of a batch.

Records of one batch that reach `accept_at` with each other form a group, which is decided as one person: its best
candidate is the best of all its records, and at most one of these, the survivor, is inserted. So the outcome depends
neither on the order of the rows nor on which record of a group happened to resemble an existing person more.

`decide` puts three tables together:

- groups: which records of the batch are one person, and which of them survives.
- verdicts: one row for each group. Is it somebody known, or somebody new, or must somebody look at it?
- evidence: one row for each record that is not inserted, with the pair of records that decided.
"""

from enum import StrEnum

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import logit

from common.linkage.comparison import COLUMNS
from common.linkage.model import COMPARISON_VECTOR, SIMILARITIES, LinkageModel


class Decision(StrEnum):
    """What happens with a record."""

    NEW = "NEW"
    """Nobody comes near: inserted."""
    DUPLICATE = "DUPLICATE"
    """Score at `accept_at` or above: kept, not inserted."""
    REVIEW = "REVIEW"
    """Too near to insert, too far to drop: kept for a person to judge."""


class Reason(StrEnum):
    """Why a record was decided the way it was."""

    NO_CANDIDATE = "NO_CANDIDATE"
    """Nobody in the table or in the batch reaches `review_at`."""
    SURVIVOR = "SURVIVOR"
    """The one record of its within-batch duplicates that is inserted."""
    MATCH = "MATCH"
    """An existing person reaches `accept_at`."""
    WITHIN_BATCH = "WITHIN_BATCH"
    """A duplicate of another record of the batch, and shares its fate."""
    KNOWN_RECORD = "KNOWN_RECORD"
    """An earlier batch inserted this very record."""
    BORDERLINE = "BORDERLINE"
    """The best candidate lies between `review_at` and `accept_at`."""
    HOUSEHOLD = "HOUSEHOLD"
    """The best candidate lives there too, but has another first name or is of another generation."""
    THIN_MARGIN = "THIN_MARGIN"
    """Two existing people fit about equally well."""


DECISIONS = pa.schema(
    [
        pa.field("record_key", pa.string(), nullable=False),
        pa.field("decision", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        ("person_id", pa.int64()),
        ("survivor_key", pa.string()),
        ("matched_record_key", pa.string()),
        ("score", pa.float64()),
        *[(name, pa.float64()) for name in SIMILARITIES],
        ("swapped", pa.bool_()),
        ("runner_up_person_id", pa.int64()),
        ("runner_up_score", pa.float64()),
        ("margin", pa.float64()),
    ]
)
"""One row for each usable record.

`person_id` is the existing person it belongs to; where that person is another record of the same batch, it is null
and `survivor_key` names that record. Score and comparison vector are those of the pair that decided: with
`matched_record_key` if that is set, else with `person_id`. `margin` is in log-odds.
"""


def zone(score: float, model: LinkageModel) -> Decision:
    """Where a match score lies between the cut-offs of a model."""
    if score >= model.accept_at:
        return Decision.DUPLICATE
    return Decision.REVIEW if score >= model.review_at else Decision.NEW


def decide(records: pa.Table, pairs: pa.Table, known: pa.Table, model: LinkageModel) -> pa.Table:
    """Decide every usable record of a batch.

    Args:
        records: a standardised batch; rows with a `quarantine_reason` are passed over.
        pairs: all candidate pairs at or above `model.review_at`: `record_key`, then either `person_id` (an existing
            person) or `other_record_key` (a record of the batch, each such pair once), the comparison vector,
            `score` and `household`.
        known: `record_key`, `person_id` of records of this batch that are people already.
        model: supplies the cut-offs and the margin.

    Returns:
        A table of schema `DECISIONS`, in the order of `records`.
    """
    usable = records.filter(pc.is_null(records["quarantine_reason"]))
    with_people, within_batch = _pairs_with_people(pairs, known), _pairs_within_batch(pairs)
    groups = _groups(usable, within_batch, model.accept_at)
    decided = groups.merge(_verdicts(groups, with_people, within_batch, model), on="group")
    # Of a group that is somebody new, only the survivor is inserted.
    spare = (decided["decision"] == Decision.NEW) & (decided["record_key"] != decided["survivor"])
    decided.loc[spare, ["decision", "reason"]] = Decision.DUPLICATE, Reason.WITHIN_BATCH
    decided = decided.merge(_evidence(decided, with_people, within_batch), on="record_key", how="left")
    by_other_record = (decided["decision"] == Decision.DUPLICATE) & decided["matched_record_key"].notna()
    decided.loc[by_other_record, "reason"] = Reason.WITHIN_BATCH
    decided.loc[decided["decision"] == Decision.NEW, "survivor_key"] = None
    decided = _with_known_records(decided, known)
    decided["margin"] = decided["margin"].replace(np.inf, np.nan)
    decided = decided.set_index("record_key").loc[usable["record_key"].to_pylist()].reset_index()
    return pa.Table.from_pandas(decided[DECISIONS.names], schema=DECISIONS, preserve_index=False)


def _with_known_records(decided: pd.DataFrame, known: pa.Table) -> pd.DataFrame:
    """The decisions, where every record that is a person already belongs to that person, whatever its group does."""
    person_of = known.to_pandas().set_index("record_key")["person_id"]
    own_person = decided["record_key"].map(person_of).astype("Int64")
    is_known = own_person.notna()
    decided["person_id"] = own_person.fillna(decided["person_id"])
    decided.loc[is_known, ["decision", "reason"]] = Decision.DUPLICATE, Reason.KNOWN_RECORD
    decided.loc[is_known, DECISIONS.names[4:]] = None  # no pair has decided it
    return decided


def _log_odds(score: pd.Series) -> pd.Series:
    # A score that rounds to 1 is not certain: two of them are a thin margin, not the difference of two infinities.
    log_odds: pd.Series = logit(score.clip(upper=np.nextafter(1, 0)))
    return log_odds


def _pairs_with_people(pairs: pa.Table, known: pa.Table) -> pd.DataFrame:
    """Pairs with existing people; a known record is its own person for certain."""
    existing = pairs.filter(pc.is_valid(pairs["person_id"])).drop(["other_record_key"]).to_pandas()
    existing["log_odds"] = _log_odds(existing["score"])
    certain = known.to_pandas().assign(score=1.0, log_odds=np.inf, household=False)
    # Int64, since merges make floats of an int64 column with gaps, and ids above 2**53 would change.
    both: pd.DataFrame = pd.concat([existing, certain], ignore_index=True).astype({"person_id": "Int64"})
    return both


def _pairs_within_batch(pairs: pa.Table) -> pd.DataFrame:
    """Pairs of two records of the batch, each in both directions."""
    one_way = pairs.filter(pc.is_valid(pairs["other_record_key"])).drop(["person_id"]).to_pandas()
    one_way["log_odds"] = _log_odds(one_way["score"])
    other_way = one_way.rename(columns={"record_key": "other_record_key", "other_record_key": "record_key"})
    both: pd.DataFrame = pd.concat([one_way, other_way], ignore_index=True)
    return both


def _groups(usable: pa.Table, within_batch: pd.DataFrame, accept_at: float) -> pd.DataFrame:
    """The groups, one row a record: record_key, group, survivor.

    Groups are numbered by the rank of their survivors, 0 the best. The survivor is the most complete record, then the
    longest, then the one with the smallest key: a choice that does not depend on the order of the rows.
    """
    std = usable.select(list(COLUMNS.values())).to_pandas()
    records = pd.DataFrame(
        {
            "record_key": usable["record_key"].to_pandas(),
            "fields": std.notna().sum(axis=1),
            "length": std.apply(lambda column: column.str.len()).sum(axis=1),
        }
    )
    records = records.sort_values(["fields", "length", "record_key"], ascending=[False, False, True])
    records = records.reset_index(drop=True)[["record_key"]]
    position = pd.Series(records.index, index=records["record_key"])
    same = within_batch[(within_batch["score"] >= accept_at) & ~within_batch["household"]]
    edges = coo_array(
        (
            np.ones(len(same), dtype=np.int8),
            (position[same["record_key"]].to_numpy(), position[same["other_record_key"]].to_numpy()),
        ),
        shape=(len(records), len(records)),
    )
    records["component"] = connected_components(edges, directed=False)[1]
    records["group"] = pd.factorize(records["component"])[0]
    records["survivor"] = records.groupby("group")["record_key"].transform("first")
    return records.drop(columns="component")


def _verdicts(
    groups: pd.DataFrame, with_people: pd.DataFrame, within_batch: pd.DataFrame, model: LinkageModel
) -> pd.DataFrame:
    """The verdicts, one row a group: decision, reason, the person or group that it belongs to, runner-up and margin."""
    verdicts = groups.groupby("group").size().rename("records").reset_index()
    verdicts = verdicts.merge(_best_people(groups, with_people), on="group", how="left")
    alone = verdicts["best_score"].isna()
    relative = verdicts["household"].fillna(False).astype(bool)
    accepted = (verdicts["best_score"] >= model.accept_at) & ~relative
    thin = accepted & (verdicts["margin"] < model.margin)
    verdicts["decision"] = np.select(
        [alone, accepted & ~thin], [Decision.NEW, Decision.DUPLICATE], default=Decision.REVIEW
    )
    verdicts["reason"] = np.select(
        [alone & (verdicts["records"] > 1), alone, relative, thin, accepted],
        [Reason.SURVIVOR, Reason.NO_CANDIDATE, Reason.HOUSEHOLD, Reason.THIN_MARGIN, Reason.MATCH],
        default=Reason.BORDERLINE,
    )
    verdicts["target_group"] = verdicts["group"]
    new_groups = set(verdicts.loc[alone, "group"])
    for group, (near, reason) in _near_other_groups(groups, new_groups, within_batch).items():
        verdicts.loc[group, ["decision", "reason", "target_group"]] = Decision.REVIEW, reason, near
    survivors = groups.drop_duplicates("group").set_index("group")["survivor"]
    verdicts["survivor_key"] = verdicts["target_group"].map(survivors).where(alone)
    return verdicts.drop(columns=["records", "best_score", "household"])


def _best_people(groups: pd.DataFrame, with_people: pd.DataFrame) -> pd.DataFrame:
    """One row a group with candidates among existing people: the best, the runner-up, and the margin between them.

    A relative is the best candidate only where there is no other, and never a runner-up.
    """
    candidates = with_people.merge(groups[["record_key", "group"]], on="record_key").sort_values(
        ["group", "household", "log_odds", "person_id"], ascending=[True, True, False, True]
    )
    candidates = candidates.drop_duplicates(["group", "person_id"])
    place = candidates.groupby("group").cumcount()
    candidates = candidates[["group", "person_id", "score", "log_odds", "household"]]
    best = candidates[place == 0]
    runner_up = candidates[(place == 1) & ~candidates["household"]].add_prefix("runner_up_")
    ranked = best.merge(runner_up, left_on="group", right_on="runner_up_group", how="left")
    ranked["margin"] = ranked["log_odds"] - ranked["runner_up_log_odds"]
    return ranked.rename(columns={"score": "best_score"}).drop(
        columns=["log_odds", "runner_up_group", "runner_up_log_odds", "runner_up_household"]
    )


def _near_other_groups(
    groups: pd.DataFrame, new_groups: set[int], within_batch: pd.DataFrame
) -> dict[int, tuple[int, Reason]]:
    """New groups that come near a new group of better rank, which one and why: as if that one had come before."""
    group_of = groups.set_index("record_key")["group"]
    near: dict[int, list[tuple[bool, float, int]]] = {}
    columns = (
        group_of.loc[within_batch["record_key"]],
        group_of.loc[within_batch["other_record_key"]],
        within_batch["household"],
        within_batch["log_odds"],
    )
    for group, better, household, log_odds in zip(*columns, strict=True):
        if better < group and group in new_groups and better in new_groups:
            near.setdefault(group, []).append((household, -log_odds, better))
    chosen: dict[int, tuple[int, Reason]] = {}
    for group in sorted(near):
        inserted = [candidate for candidate in near[group] if candidate[2] not in chosen]
        if inserted:
            household, _, better = min(inserted)
            chosen[group] = better, Reason.HOUSEHOLD if household else Reason.BORDERLINE
    return chosen


def _evidence(decided: pd.DataFrame, with_people: pd.DataFrame, within_batch: pd.DataFrame) -> pd.DataFrame:
    """The evidence, one row a record that is not new: record_key, matched_record_key, score and comparison vector.

    That is the record's own pair with its person; without one, its best pair with a record of the group that it
    belongs to, the survivor first, and at last with a record of its own group.
    """
    direct = with_people.merge(decided[["record_key", "person_id"]], on=["record_key", "person_id"])
    rest = decided[(decided["decision"] != Decision.NEW) & ~decided["record_key"].isin(direct["record_key"])]
    other = decided[["record_key", "group"]].add_prefix("other_")
    indirect = rest[["record_key", "group", "target_group", "survivor_key"]].merge(within_batch, on="record_key")
    indirect = indirect.merge(other, on="other_record_key")
    indirect["in_target"] = indirect["other_group"] == indirect["target_group"]
    indirect["is_survivor"] = indirect["other_record_key"] == indirect["survivor_key"]
    indirect = indirect[indirect["in_target"] | (indirect["other_group"] == indirect["group"])]
    indirect = indirect.rename(columns={"other_record_key": "matched_record_key"})
    evidence = pd.concat([direct, indirect], ignore_index=True).sort_values(
        ["in_target", "is_survivor", "log_odds", "matched_record_key"], ascending=[False, False, False, True]
    )
    return evidence.drop_duplicates("record_key")[["record_key", "matched_record_key", "score", *COMPARISON_VECTOR]]
