"""Decisions: from scored candidate pairs to what happens with each record of a batch.

Records of one batch that reach `accept_at` with each other form a group, which is decided as one person: its best
candidate is the best of all its records, and at most one of these, the survivor, is inserted. So the outcome depends
neither on the order of the rows nor on which record of a group happened to resemble an existing person more.

`decide` puts three tables together:

- groups: which records of the batch are one person, and which of them survives.
- verdicts: one row for each group. Is it somebody known, or somebody new, or must somebody look at it?
- evidence: one row for each record that is not inserted, with the pair of records that decided.
"""

from collections.abc import Set

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import logit

from common.linkage.comparison import COLUMNS
from common.linkage.model import COMPARISON_VECTOR, SIMILARITIES, LinkageModel
from common.linkage.rarity import COMMONNESS
from common.linkage.tables import PAIR_ENDS
from common.linkage.verdict import Decision, Reason

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
        *[(name, pa.float64()) for name in COMMONNESS],
        ("runner_up_person_id", pa.int64()),
        ("runner_up_score", pa.float64()),
        ("margin", pa.float64()),
        ("via_batch_id", pa.string()),
        ("via_record_key", pa.string()),
        ("question_id", pa.int64()),
        ("question_key", pa.string()),
    ]
)
"""One row for each usable record.

`person_id` is the existing person it belongs to; where that person is another record of the same batch, it is null
and `survivor_key` names that record. A record in review that resembles none but others in review has neither. Score
and comparison vector are those of the pair that decided: with `matched_record_key` if that is set, else with a
spelling of `person_id` or of an open question, which `via_batch_id` and `via_record_key` name if it is not the first
spelling of a person. `margin` is in log-odds. A record in review shares the open question `question_id`, or a new one
with all records of the same `question_key`.
"""

KNOWN = pa.schema(
    [
        ("record_key", pa.string()),
        ("person_id", pa.int64()),
        ("question_id", pa.int64()),
        ("reason", pa.string()),
        ("certain", pa.bool_()),
    ]
)
"""Records of a batch that were here before, see `recognition`: whose they are (`person_id`), or which open question
they wait in (`question_id`). If that is not `certain`, somebody must look."""


def zone(score: float, model: LinkageModel) -> Decision:
    """Where a match score lies between the cut-offs of a model."""
    if score >= model.accept_at:
        return Decision.DUPLICATE
    return Decision.REVIEW if score >= model.review_at else Decision.NEW


def decide(
    records: pa.Table,
    pairs: pa.Table,
    known: pa.Table,
    model: LinkageModel,
    *,
    apart: Set[tuple[str, str]] = frozenset(),
) -> pa.Table:
    """Decide every usable record of a batch.

    Args:
        records: a standardised batch; rows with a `quarantine_reason` are passed over.
        pairs: all candidate pairs at or above `model.review_at`, as `batch_pairs` returns them.
        known: records of this batch that were here before, schema `KNOWN`.
        model: supplies the cut-offs and the margin.
        apart: pairs of record keys, both ways round, of which somebody has said that they are two people: no third
            record makes one of them, and nobody is asked about them again.

    Returns:
        A table of schema `DECISIONS`, in the order of `records`.
    """
    usable = records.filter(pc.is_null(records["quarantine_reason"]))
    pairs, known = _of_usable(pairs, usable), _of_usable(known, usable)
    within_batch = _pairs_within_batch(pairs)
    two = _stand_in(apart, within_batch)
    within_batch["household"] |= two
    with_people = _pairs_with(pairs, known, "person_id", model)
    with_questions = _pairs_with(pairs, known, "question_id", model)
    groups = _groups(usable, within_batch, model.accept_at)
    within_batch = within_batch[~two]
    if model.inserts_relatives:
        within_batch = within_batch[~within_batch["household"]]
        with_people = _without_relatives(with_people, groups, "person_id")
        with_questions = _without_relatives(with_questions, groups, "question_id")
    verdicts = _verdicts(groups, with_people, with_questions, model)
    verdicts = _with_neighbours(verdicts, groups, within_batch)
    decided = groups.merge(verdicts, on="group")
    # Of a group that is somebody new, only the survivor is inserted.
    spare = (decided["decision"] == Decision.NEW) & (decided["record_key"] != decided["survivor"])
    decided.loc[spare, ["decision", "reason"]] = Decision.DUPLICATE, Reason.WITHIN_BATCH
    evidence = _evidence(decided, with_people, with_questions, within_batch)
    decided = decided.merge(evidence, on="record_key", how="left")
    by_other_record = (decided["decision"] == Decision.DUPLICATE) & decided["matched_record_key"].notna()
    decided.loc[by_other_record, "reason"] = Reason.WITHIN_BATCH
    decided.loc[decided["decision"] == Decision.NEW, "survivor_key"] = None
    decided["question_key"] = decided["survivor"]
    decided = _with_known_records(decided, known)
    in_review = decided["decision"] == Decision.REVIEW
    decided["question_id"] = decided["question_id"].where(in_review)
    decided["question_key"] = decided["question_key"].where(in_review & decided["question_id"].isna())
    decided["margin"] = decided["margin"].replace(np.inf, np.nan)
    decided = decided.set_index("record_key").loc[usable["record_key"].to_pylist()].reset_index()
    return pa.Table.from_pandas(decided[DECISIONS.names], schema=DECISIONS, preserve_index=False)


def _of_usable(rows: pa.Table, usable: pa.Table) -> pa.Table:
    """Those pairs, or known records, that are about usable records alone."""
    for name in {"record_key", "other_record_key"} & set(rows.column_names):
        rows = rows.filter(pc.or_(pc.is_null(rows[name]), pc.is_in(rows[name], usable["record_key"])))
    return rows


def _without_relatives(pairs: pd.DataFrame, groups: pd.DataFrame, end: str) -> pd.DataFrame:
    """The pairs of those candidates of a group that are not relatives by every spelling and every record.

    Whoever is a relative by some alone is kept as one, so that somebody looks.
    """
    group = pairs["record_key"].map(groups.set_index("record_key")["group"])
    return pairs[~pairs["household"].groupby([group, pairs[end]]).transform("all").astype(bool)]


def _with_known_records(decided: pd.DataFrame, known: pa.Table) -> pd.DataFrame:
    """The decisions, where every record that was here before belongs where it did, whatever its group does."""
    before = _frame(known).set_index("record_key")
    own = before.reindex(decided["record_key"]).reset_index(drop=True)
    own.index = decided.index
    here_before = own["reason"].notna()
    certain = here_before & own["certain"].fillna(False).astype(bool)
    decided.loc[here_before, "person_id"] = own["person_id"]
    decided.loc[here_before, "question_id"] = own["question_id"]
    decided.loc[here_before, "reason"] = own["reason"]
    decided.loc[here_before, "decision"] = Decision.REVIEW
    decided.loc[certain & own["question_id"].isna(), "decision"] = Decision.DUPLICATE
    decided.loc[here_before, "question_key"] = decided["record_key"]
    decided.loc[here_before, _EVIDENCE] = None  # no pair has decided it
    return decided


_EVIDENCE = DECISIONS.names[DECISIONS.names.index("survivor_key") : DECISIONS.names.index("question_id")]


def _frame(table: pa.Table) -> pd.DataFrame:
    """A table in pandas. Int64, since merges make floats of an int64 column with gaps, and large ids would change."""
    frame: pd.DataFrame = table.to_pandas(integer_object_nulls=True)
    return frame.astype({name: "Int64" for name in ("person_id", "question_id") if name in frame})


def _log_odds(score: pd.Series) -> pd.Series:
    # A score that rounds to 1 is not certain: two of them are a thin margin, not the difference of two infinities.
    log_odds: pd.Series = logit(score.clip(upper=np.nextafter(1, 0)))
    return log_odds


def _pairs_with(pairs: pa.Table, known: pa.Table, end: str, model: LinkageModel) -> pd.DataFrame:
    """Pairs with existing people (`end` is `person_id`) or with open questions (`question_id`).

    A record that was here before is its own person for certain, or comes near it at least.
    """
    existing = _frame(pairs.filter(pc.is_valid(pairs[end])).drop(["other_record_key"]))
    existing["log_odds"] = _log_odds(existing["score"])
    before = _frame(known.filter(pc.is_valid(known[end])))
    before = before.assign(
        score=np.where(before["certain"], 1.0, model.review_at),
        log_odds=np.where(before["certain"], np.inf, _log_odds(pd.Series([model.review_at]))[0]),
        household=False,
        first_spelling=True,
    )
    both: pd.DataFrame = pd.concat([existing, before], ignore_index=True)
    return both.astype({"person_id": "Int64", "question_id": "Int64", "household": bool})


def _pairs_within_batch(pairs: pa.Table) -> pd.DataFrame:
    """Pairs of two records of the batch, each in both directions."""
    one_way = pairs.filter(pc.is_valid(pairs["other_record_key"])).drop(PAIR_ENDS.names).to_pandas()
    one_way["log_odds"] = _log_odds(one_way["score"])
    other_way = one_way.rename(columns={"record_key": "other_record_key", "other_record_key": "record_key"})
    both: pd.DataFrame = pd.concat([one_way, other_way], ignore_index=True)
    return both


def _stand_in(chosen: Set[tuple[str, str]], within_batch: pd.DataFrame) -> pd.Series:
    """Which pairs of two records are among the chosen ones."""
    pairs = zip(within_batch["record_key"], within_batch["other_record_key"], strict=True)
    return pd.Series([pair in chosen for pair in pairs], within_batch.index, bool)


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
    same = same[~_joins_relatives(same, within_batch)]
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


def _joins_relatives(same: pd.DataFrame, within_batch: pd.DataFrame) -> pd.Series:
    """Which pairs belong to a record that would make one person of two who are known to be two."""
    sides = ["record_key", "other_record_key"]
    relatives = within_batch.loc[within_batch["household"], sides].set_axis(["one", "other"], axis=1)
    bridges = same[sides].set_axis(["record_key", "one"], axis=1).merge(relatives, on="one")
    bridges = bridges.merge(same[sides].set_axis(["record_key", "other"], axis=1), on=["record_key", "other"])
    cut = set(zip(bridges["record_key"], bridges["one"], strict=True))
    cut |= {(one, record) for record, one in cut}
    return _stand_in(cut, same)


def _verdicts(
    groups: pd.DataFrame, with_people: pd.DataFrame, with_questions: pd.DataFrame, model: LinkageModel
) -> pd.DataFrame:
    """The verdicts, one row a group, as if there were no other group in the batch.

    Decision and reason, the person or the open question that it belongs to, runner-up and margin.
    """
    verdicts = groups.groupby("group").size().rename("records").reset_index()
    verdicts = verdicts.merge(_best_people(groups, with_people), on="group", how="left")
    verdicts = verdicts.merge(_best_questions(groups, with_questions), on="group", how="left")
    alone, waiting = verdicts["best_score"].isna(), verdicts["question_score"].notna()
    relative = verdicts["household"].fillna(False).astype(bool)
    other_relative = verdicts["question_household"].fillna(False).astype(bool)
    accepted = (verdicts["best_score"] >= model.accept_at) & ~relative
    later = accepted & ~verdicts["first_spelling"].fillna(False).astype(bool)
    thin = accepted & (verdicts["margin"] < model.margin)
    verdicts["decision"] = np.select(
        [alone & ~waiting, accepted & ~thin & ~later], [Decision.NEW, Decision.DUPLICATE], default=Decision.REVIEW
    )
    verdicts["reason"] = np.select(
        [
            *(alone & waiting & other_relative, alone & waiting, alone & (verdicts["records"] > 1), alone, relative),
            *(thin, later, accepted),
        ],
        [
            *(Reason.HOUSEHOLD, Reason.OPEN_QUESTION, Reason.SURVIVOR, Reason.NO_CANDIDATE, Reason.HOUSEHOLD),
            *(Reason.THIN_MARGIN, Reason.LATER_SPELLING, Reason.MATCH),
        ],
        default=Reason.BORDERLINE,
    )
    verdicts["nearest_question_id"] = verdicts["question_id"]
    shared = (verdicts["question_score"] >= model.accept_at) & ~other_relative
    verdicts["question_id"] = verdicts["question_id"].where(shared.fillna(False))
    columns = ["group", "decision", "reason", "person_id", "question_id", "nearest_question_id"]
    return verdicts[[*columns, "runner_up_person_id", "runner_up_score", "margin"]]


def _best_people(groups: pd.DataFrame, with_people: pd.DataFrame) -> pd.DataFrame:
    """One row a group with candidates among existing people: the best, the runner-up, and the margin between them.

    The best of a person's spellings speaks for the person, but whoever is a relative by one of them is a relative. A
    relative is the best candidate only where there is no other, and never a runner-up.
    """
    candidates = _candidates(groups, with_people, "person_id")
    place = candidates.groupby("group").cumcount()
    best = candidates[place == 0]
    runner_up = candidates[(place == 1) & ~candidates["household"]].add_prefix("runner_up_")
    ranked = best.merge(runner_up, left_on="group", right_on="runner_up_group", how="left")
    ranked["margin"] = ranked["log_odds"] - ranked["runner_up_log_odds"]
    columns = ["group", "person_id", "score", "household", "first_spelling"]
    columns += ["runner_up_person_id", "runner_up_score", "margin"]
    return ranked[columns].rename(columns={"score": "best_score"})


def _best_questions(groups: pd.DataFrame, with_questions: pd.DataFrame) -> pd.DataFrame:
    """One row a group with candidates among open questions: the best, its score, and whether it is a relative's."""
    best = _candidates(groups, with_questions, "question_id").drop_duplicates("group")
    best = best[["group", "question_id", "score", "household"]]
    return best.rename(columns={"score": "question_score", "household": "question_household"})


def _candidates(groups: pd.DataFrame, pairs: pd.DataFrame, end: str) -> pd.DataFrame:
    """One row a group and candidate, the best candidates of each group first."""
    candidates = pairs.merge(groups[["record_key", "group"]], on="record_key")
    candidates = candidates.groupby(["group", end], as_index=False).agg(
        score=("score", "max"),
        log_odds=("log_odds", "max"),
        household=("household", "any"),
        first_spelling=("first_spelling", "any"),
    )
    return candidates.sort_values(["group", "household", "log_odds", end], ascending=[True, True, False, True])


def _with_neighbours(verdicts: pd.DataFrame, groups: pd.DataFrame, within_batch: pd.DataFrame) -> pd.DataFrame:
    """The verdicts, and `target_group` and `survivor_key`: groups that would be new but come near another one wait."""
    is_new = verdicts["decision"] == Decision.NEW
    near = _near_other_groups(groups, set(verdicts.loc[is_new, "group"]), within_batch)
    roots = verdicts[["group", "decision", "person_id"]].add_prefix("root_")
    near = near.merge(roots, on="root_group", how="left")
    nobody = (near["root_decision"] == Decision.REVIEW) & near["root_person_id"].isna()
    near["near_reason"] = np.select(
        [near["relative"].astype(bool), nobody], [Reason.HOUSEHOLD, Reason.OPEN_QUESTION], default=Reason.BORDERLINE
    )
    verdicts = verdicts.merge(near, on="group", how="left")
    waits = verdicts["root_group"].notna()
    verdicts.loc[waits, "decision"] = Decision.REVIEW
    verdicts.loc[waits, "reason"] = verdicts["near_reason"]
    verdicts["person_id"] = verdicts["person_id"].fillna(verdicts["root_person_id"])
    verdicts["target_group"] = verdicts["near_group"].fillna(verdicts["group"])
    # Whose survivor is inserted: the group itself, or the new one that it goes back to.
    inserted = verdicts["root_group"].where(verdicts["root_decision"] == Decision.NEW)
    inserted = inserted.fillna(verdicts["group"].where(is_new & ~waits))
    survivors = groups.drop_duplicates("group").set_index("group")["survivor"]
    verdicts["survivor_key"] = inserted.map(survivors)
    columns = ["near_group", "root_group", "relative", "root_decision", "root_person_id", "near_reason"]
    return verdicts.drop(columns=columns)


def _near_other_groups(groups: pd.DataFrame, new_groups: set[int], within_batch: pd.DataFrame) -> pd.DataFrame:
    """New groups that come near another one, as if that one had come before: it is not new, or of better rank.

    Returns:
        One row each: `group`, `near_group`, `root_group`, which is the group that this one goes back to in turn, and
        `relative`: whether the two groups are relatives.
    """
    group_of = groups.set_index("record_key")["group"]
    near: dict[int, list[tuple[bool, float, int]]] = {}
    columns = (
        group_of.loc[within_batch["record_key"]],
        group_of.loc[within_batch["other_record_key"]],
        within_batch["household"],
        within_batch["log_odds"],
    )
    for group, other, household, log_odds in zip(*columns, strict=True):
        if group in new_groups and other != group and (other not in new_groups or other < group):
            near.setdefault(group, []).append((household, -log_odds, other))
    root_of: dict[int, int] = {}
    rows = []
    for group in sorted(near):
        household, _, other = min(near[group])
        root_of[group] = root_of.get(other, other)
        rows.append((group, other, root_of[group], household))
    return pd.DataFrame(rows, columns=["group", "near_group", "root_group", "relative"])


def _evidence(
    decided: pd.DataFrame, with_people: pd.DataFrame, with_questions: pd.DataFrame, within_batch: pd.DataFrame
) -> pd.DataFrame:
    """The evidence, one row a record that is not new: which record or spelling decided, score, comparison vector.

    That is the record's own pair with its person; without one, its pair with the open question that it comes near,
    its best pair with a record of the group that it belongs to, the survivor first, and at last with a record of its
    own group.
    """
    rest = decided[decided["decision"] != Decision.NEW]
    direct = with_people.merge(rest[["record_key", "person_id"]], on=["record_key", "person_id"])
    rest = rest[~rest["record_key"].isin(direct["record_key"])]
    asked = rest.loc[rest["person_id"].isna(), ["record_key", "nearest_question_id"]]
    asked = asked.rename(columns={"nearest_question_id": "question_id"}).dropna()
    waiting = with_questions.merge(asked, on=["record_key", "question_id"])
    rest = rest[~rest["record_key"].isin(waiting["record_key"])]
    other = decided[["record_key", "group"]].add_prefix("other_")
    indirect = rest[["record_key", "group", "target_group", "survivor_key"]].merge(within_batch, on="record_key")
    indirect = indirect.merge(other, on="other_record_key")
    indirect["in_target"] = indirect["other_group"] == indirect["target_group"]
    indirect["is_survivor"] = indirect["other_record_key"] == indirect["survivor_key"]
    indirect = indirect[indirect["in_target"] | (indirect["other_group"] == indirect["group"])]
    indirect = indirect.rename(columns={"other_record_key": "matched_record_key"})
    # Of spellings that score the same, the first one of the person (its via is missing) comes first.
    order = ["in_target", "is_survivor", "log_odds", "matched_record_key", "via_batch_id", "via_record_key"]
    evidence = pd.concat([direct, waiting, indirect], ignore_index=True).sort_values(
        order, ascending=[False, False, False, True, True, True], na_position="first"
    )
    columns = ["matched_record_key", "score", *COMPARISON_VECTOR, "via_batch_id", "via_record_key"]
    return evidence.drop_duplicates("record_key")[["record_key", *columns]]
