"""Decisions: from scored candidate pairs to what happens with each record of a batch.

Records of one batch that reach `accept_at` with each other form a group that is decided as one person: the group's
best candidate is the best of its members, and at most one of them, the survivor, is inserted. So the outcome
depends neither on the order of the rows nor on which twin happened to resemble an existing person more.
"""

from enum import StrEnum

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

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


_EVIDENCE = ["score", *COMPARISON_VECTOR]


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
    people, twins = _people_pairs(pairs, known), _twin_pairs(pairs)
    groups = _groups(usable, twins, model.accept_at)
    decided = groups.merge(_decide_groups(groups, people, twins, model), on="group")
    spare = (decided["decision"] == Decision.NEW) & (decided["record_key"] != decided["survivor"])
    decided.loc[spare, ["decision", "reason"]] = Decision.DUPLICATE, Reason.WITHIN_BATCH
    decided = decided.merge(_evidence(decided, people, twins), on="record_key", how="left")
    by_twin = (decided["decision"] == Decision.DUPLICATE) & decided["matched_record_key"].notna()
    decided.loc[by_twin, "reason"] = Reason.WITHIN_BATCH
    decided.loc[decided["decision"] == Decision.NEW, "survivor_key"] = None
    # Its own person, even where it is a twin of another known record.
    own_person = decided["record_key"].map(known.to_pandas().set_index("record_key")["person_id"]).astype("Int64")
    is_known = own_person.notna()
    decided["person_id"] = own_person.fillna(decided["person_id"])
    decided.loc[is_known, ["decision", "reason"]] = Decision.DUPLICATE, Reason.KNOWN_RECORD
    decided.loc[is_known, DECISIONS.names[4:]] = None  # no pair decided it
    decided["margin"] = decided["margin"].replace(np.inf, np.nan)
    decided = decided.set_index("record_key").loc[usable["record_key"].to_pylist()].reset_index()
    return pa.Table.from_pandas(decided[DECISIONS.names], schema=DECISIONS, preserve_index=False)


def _log_odds(score: pd.Series) -> pd.Series:
    # A score that rounds to 1 is not certain: two of them are a thin margin, not the difference of two infinities.
    score = score.clip(upper=np.nextafter(1, 0))
    log_odds: pd.Series = np.log(score) - np.log1p(-score)
    return log_odds


def _people_pairs(pairs: pa.Table, known: pa.Table) -> pd.DataFrame:
    """Pairs with existing people; a known record is its own person for certain."""
    existing = pairs.filter(pc.is_valid(pairs["person_id"])).drop(["other_record_key"]).to_pandas()
    existing["log_odds"] = _log_odds(existing["score"])
    certain = known.to_pandas().assign(score=1.0, log_odds=np.inf, household=False)
    # Int64: as floats, which is what merges make of an int64 column with gaps, ids above 2**53 would change.
    both: pd.DataFrame = pd.concat([existing, certain], ignore_index=True).astype({"person_id": "Int64"})
    return both


def _twin_pairs(pairs: pa.Table) -> pd.DataFrame:
    """Pairs within the batch, each in both directions."""
    twins = pairs.filter(pc.is_valid(pairs["other_record_key"])).drop(["person_id"]).to_pandas()
    twins["log_odds"] = _log_odds(twins["score"])
    mirrored = twins.rename(columns={"record_key": "other_record_key", "other_record_key": "record_key"})
    both: pd.DataFrame = pd.concat([twins, mirrored], ignore_index=True)
    return both


def _groups(usable: pa.Table, twins: pd.DataFrame, accept_at: float) -> pd.DataFrame:
    """Columns record_key, group, survivor; groups are numbered by the rank of their survivors, 0 the best.

    The survivor is the most complete record, then the longest, then the one with the smallest key: a choice that
    does not depend on the order of the rows.
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
    same = twins[(twins["score"] >= accept_at) & ~twins["household"]]
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


def _ranked_people(people: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """Per group with candidates among existing people: the best and the runner-up, and the margin between them.

    A relative is the best candidate only where there is no other, and never a runner-up.
    """
    candidates = people.merge(groups[["record_key", "group"]], on="record_key").sort_values(
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


def _decide_groups(
    groups: pd.DataFrame, people: pd.DataFrame, twins: pd.DataFrame, model: LinkageModel
) -> pd.DataFrame:
    """One row per group: decision and reason, the person or the group that it belongs to, runner-up and margin."""
    outcome = groups.groupby("group").size().rename("records").reset_index()
    outcome = outcome.merge(_ranked_people(people, groups), on="group", how="left")
    alone = outcome["best_score"].isna()
    relative = outcome["household"].fillna(False).astype(bool)
    accepted = (outcome["best_score"] >= model.accept_at) & ~relative
    thin = accepted & (outcome["margin"] < model.margin)
    outcome["decision"] = np.select(
        [alone, accepted & ~thin], [Decision.NEW, Decision.DUPLICATE], default=Decision.REVIEW
    )
    outcome["reason"] = np.select(
        [alone & (outcome["records"] > 1), alone, relative, thin, accepted],
        [Reason.SURVIVOR, Reason.NO_CANDIDATE, Reason.HOUSEHOLD, Reason.THIN_MARGIN, Reason.MATCH],
        default=Reason.BORDERLINE,
    )
    outcome["target_group"] = outcome["group"]
    for group, (near, reason) in _borderline_groups(groups, set(outcome.loc[alone, "group"]), twins).items():
        outcome.loc[group, ["decision", "reason", "target_group"]] = Decision.REVIEW, reason, near
    survivors = groups.drop_duplicates("group").set_index("group")["survivor"]
    outcome["survivor_key"] = outcome["target_group"].map(survivors).where(alone)
    return outcome.drop(columns=["records", "best_score", "household"])


def _borderline_groups(groups: pd.DataFrame, alone: set[int], twins: pd.DataFrame) -> dict[int, tuple[int, Reason]]:
    """New groups that come near a new group of better rank, which and why: as if that one had come a batch earlier."""
    group_of = groups.set_index("record_key")["group"]
    near: dict[int, list[tuple[bool, float, int]]] = {}
    left, right = group_of.loc[twins["record_key"]], group_of.loc[twins["other_record_key"]]
    for group, better, household, log_odds in zip(left, right, twins["household"], twins["log_odds"], strict=True):
        if better < group and group in alone and better in alone:
            near.setdefault(group, []).append((household, -log_odds, better))
    borderline: dict[int, tuple[int, Reason]] = {}
    for group in sorted(near):
        inserted = [candidate for candidate in near[group] if candidate[2] not in borderline]
        if inserted:
            household, _, better = min(inserted)
            borderline[group] = better, Reason.HOUSEHOLD if household else Reason.BORDERLINE
    return borderline


def _evidence(decided: pd.DataFrame, people: pd.DataFrame, twins: pd.DataFrame) -> pd.DataFrame:
    """Columns record_key, matched_record_key, score and vector of the pair that decided each record but the new ones.

    That is the record's own pair with its person; without one, its best pair with a record of the group that it
    belongs to, the survivor first, and at last with a record of its own group.
    """
    direct = people.merge(decided[["record_key", "person_id"]], on=["record_key", "person_id"])
    rest = decided[(decided["decision"] != Decision.NEW) & ~decided["record_key"].isin(direct["record_key"])]
    other = decided[["record_key", "group"]].add_prefix("other_")
    indirect = rest[["record_key", "group", "target_group", "survivor_key"]].merge(twins, on="record_key")
    indirect = indirect.merge(other, on="other_record_key")
    indirect["in_target"] = indirect["other_group"] == indirect["target_group"]
    indirect["is_survivor"] = indirect["other_record_key"] == indirect["survivor_key"]
    indirect = indirect[indirect["in_target"] | (indirect["other_group"] == indirect["group"])]
    indirect = indirect.rename(columns={"other_record_key": "matched_record_key"})
    evidence = pd.concat([direct, indirect], ignore_index=True).sort_values(
        ["in_target", "is_survivor", "log_odds", "matched_record_key"], ascending=[False, False, False, True]
    )
    return evidence.drop_duplicates("record_key")[["record_key", "matched_record_key", *_EVIDENCE]]
