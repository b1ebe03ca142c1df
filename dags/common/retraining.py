"""Retraining: labelled pairs from what there is, several regression models, and which one decides from now on."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from airflow.sdk.exceptions import AirflowSkipException

from common import people_db, sources
from common.linkage import training
from common.linkage.decision import zone
from common.linkage.model import SIMILARITIES, LinkageModel
from common.linkage.rarity import NAMES, NOTHING_KNOWN, common_names, commonness
from common.linkage.standardise import standardise
from common.linkage.verdict import Decision, Reason
from common.masking import masked
from common.settings import (
    COST_DROPPED,
    COST_REINSERTED,
    COST_REVIEWED,
    FLIP_EXAMPLES,
    FLIPS_AMONG,
    FLIPS_FOR_GAIN,
    FLIPS_SHOWN,
    INVENTED_WEIGHT,
    MAX_DROPPED,
    MAX_REVIEWED,
    PROMOTION_ASKS,
    PROMOTION_MARGIN,
    RELATIVES_FROM,
    RETRAIN_GROWTH,
    RETRAIN_JUDGEMENTS,
    TRAINING_PEOPLE,
)

log = logging.getLogger(__name__)

GENERATED, STORED, JUDGEMENTS = "generated people", "stored people", "judgements"
"""Where labelled pairs come from, besides a prepared data set, which goes by its path."""

TOLD = ("test_log_loss", "test_f1", "test_reinserted", "test_dropped", "test_reviewed")
"""The results that whoever approves a challenger sees beside the champion's."""

COSTS = training.Costs(COST_REINSERTED, COST_DROPPED, COST_REVIEWED, MAX_DROPPED, MAX_REVIEWED)

_PREPARED_SEED = 0  # the generated data set is the same everywhere

Fitted = dict[str, Any]
"""A fitted model as plain JSON types: `formula`, `content` (of the LinkageModel), `results`, `lineage`."""


def training_pairs(params: Mapping[str, Any], run_id: str) -> pa.Table:
    """Labelled pairs for a run: a prepared data set, pairs made of stored people, and what people judged.

    Args:
        params: of the DAG: `retrain_every`, and `labelled_pairs`, the path or URL of a CSV or Parquet file of pairs,
            or nothing for the data set that the project generates by itself.
        run_id: seeds what is random.

    Returns:
        A table of schema `training.LABELLED`. Metadata: its lineage (pairs by where they come from), and `table` (how
        many people and judgements there are, and whether relatives are inserted without a question).

    Raises:
        AirflowSkipException: this run does not retrain.
    """
    people, judged = people_db.count_people(run_id), people_db.judged_pairs()
    if not _is_due(params, run_id, people, judged.num_rows):
        raise AirflowSkipException("no retraining in this run: the champion stands")
    seed = int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:6])
    stored, _ = people_db.sample_people(TRAINING_PEOPLE, seed, run_id)
    enough = stored.num_rows >= training.MIN_PEOPLE
    known = common_names(standardise(stored)) if enough else NOTHING_KNOWN
    parts = {}
    if prepared := params["labelled_pairs"]:
        parts[prepared] = training.judged_pairs(sources.read_pairs(prepared), _PREPARED_SEED, known)
    else:
        invented = sources.fake_people(TRAINING_PEOPLE, _PREPARED_SEED)
        parts[GENERATED] = training.generated_pairs(invented, _PREPARED_SEED, people, training.SURROUNDINGS)
    if enough:
        parts[STORED] = training.generated_pairs(stored, seed, people)
    if judged.num_rows:
        parts[JUDGEMENTS] = training.judged_pairs(judged, _PREPARED_SEED, known)
    log.info("labelled pairs: %s", ", ".join(f"{part.num_rows:,} from {name}" for name, part in parts.items()))
    relatives = people_db.count_relatives(run_id) / max(people, 1)
    log.info("%.1f %% of %d stored people live with relatives", 100 * relatives, people)
    table = {"people": people, "judgements made": judged.num_rows, "inserts relatives": relatives >= RELATIVES_FROM}
    pairs = training.joined(parts, known)
    return pairs.replace_schema_metadata({**pairs.schema.metadata, "table": json.dumps(table)})


def _is_due(params: Mapping[str, Any], run_id: str, people: int, judgements: int) -> bool:
    """Whether a run retrains: as its params say, or else if the table or what people judged has grown enough."""
    every = params["retrain_every"]
    if every is not None:
        return bool(every) and people_db.batches_before(run_id) % every == 0
    last = people_db.last_training(run_id)
    grown = people >= max(training.MIN_PEOPLE, RETRAIN_GROWTH * last["people"])
    judged = judgements - last["judgements"] >= RETRAIN_JUDGEMENTS
    return grown or judged or bool(params["labelled_pairs"])


def fit_models(pairs: pa.Table, run_id: str) -> list[Fitted]:
    """Fit every formula and print train and test results beside the champion's, which comes last.

    The models learn from all pairs. Their results are taken, and their cut-offs set for the most part, on pairs like
    those of the table: of a prepared data set if there is one, else of the stored people, else of the invented ones.
    """
    champion = people_db.champion(run_id)
    lineage = training.lineage(pairs)
    table = json.loads(pairs.schema.metadata.get(b"table", b"{}"))
    prepared = [name for name in lineage if name not in (GENERATED, STORED, JUDGEMENTS)]
    like_the_table = [*prepared, *(name for name in (STORED, GENERATED) if name in lineage)][0]
    measured = training.part(pairs, like_the_table)
    tailoring = training.Tailoring(
        like=like_the_table,
        invented=GENERATED if GENERATED in lineage and like_the_table != GENERATED else None,
        invented_weight=INVENTED_WEIGHT,
        judged=JUDGEMENTS if JUDGEMENTS in lineage else None,
        inserts_relatives=table.get("inserts relatives", False),
        costs=COSTS,
    )
    models = {formula.name: training.tailored(formula, pairs, tailoring) for formula in training.FORMULAS}
    models["champion"] = champion
    results = training.results_table(models, measured)
    log.info("train and test results on %s\n%s", like_the_table, _as_text(results))
    for row in results:
        if row["test_borderline"] > MAX_REVIEWED:
            log.warning(
                "%s misses MAX_REVIEWED: %.1f %% of new records in review on test, %.1f %% allowed, relatives left out",
                *(row["model"], 100 * row["test_borderline"], 100 * MAX_REVIEWED),
            )
    return [
        {
            "formula": row["model"],
            "content": models[row["model"]].to_dict(),
            "results": row,
            "lineage": lineage | table,
        }
        for row in results
    ]


def _as_text(results: Sequence[Mapping[str, Any]]) -> str:
    table = pd.DataFrame(
        {
            "model": row["model"],
            **{
                f"{split} {shown}": f"{row[f'{split}_{key}'] * scale:.{digits}f}"
                for shown, key, scale, digits in (
                    ("log-loss", "log_loss", 1, 4),
                    ("F1", "f1", 1, 4),
                    ("F1 with review", "found_f1", 1, 4),
                    ("re-inserted %", "reinserted", 100, 2),
                    ("wrongly dropped %", "dropped", 100, 2),
                    ("review %", "reviewed", 100, 2),
                )
                for split in (training.TRAIN, training.TEST)
            },
        }
        for row in results
    )
    return table.to_string(index=False)


def choose_model(fitted: Sequence[Fitted] | None, params: Mapping[str, Any], run_id: str) -> dict[str, Any]:
    """The champion from now on, as `LinkageModel.to_dict`: the best on test, if it beats the champion clearly.

    Args:
        fitted: what `fit_models` returned, or None if this run does not retrain.
        params: of the DAG: `champion`, the version of a stored model to make champion whatever the results, or "".
        run_id: stands beside the promotion.
    """
    if wanted := params["champion"]:
        log.info("champion by request: %s", wanted)
        return people_db.promote_stored(wanted, run_id).to_dict()
    champion = people_db.champion(run_id)
    if fitted is None:
        log.info("no retraining in this run: champion %s stands", champion.version)
        return champion.to_dict()
    *challengers, standing = fitted
    warnings = {formula.name for formula in training.FORMULAS if formula.warning}
    eligible = (model for model in challengers if model["formula"] not in warnings)
    best = min(eligible, key=lambda model: model["results"]["test_log_loss"])
    loss, to_beat = best["results"]["test_log_loss"], standing["results"]["test_log_loss"]
    challenger = LinkageModel.from_dict(best["content"])
    people_db.store_challenger(challenger, best["formula"], best["results"], best["lineage"], run_id)
    gain = (to_beat - loss) / to_beat if to_beat else 0.0
    changes = _changes(challenger)
    flips = changes["changed"] / max(changes["decisions"], 1)
    if gain < PROMOTION_MARGIN or flips > FLIPS_FOR_GAIN * gain:
        log.info(
            "champion %s stands: test log-loss %.4f, challenger %.4f; it would change %.1f %% of the last decisions",
            *(champion.version, to_beat, loss, 100 * flips),
        )
        return champion.to_dict()
    if PROMOTION_ASKS:
        measured = {"challenger": best["results"], "champion": standing["results"]}
        changes["test"] = {name: {key: row[key] for key in TOLD if key in row} for name, row in measured.items()}
        answered = people_db.ask_for_promotion(challenger.version, champion.version, changes, run_id)
        if not answered:
            said = "waits for somebody to approve it on the page for review" if answered is None else "was rejected"
            log.info("champion %s stands: challenger %s %s", champion.version, challenger.version, said)
            return champion.to_dict()
    log.info(
        "new champion %s (%s): test log-loss %.4f, before %.4f", challenger.version, best["formula"], loss, to_beat
    )
    return people_db.promote_stored(challenger.version, run_id).to_dict()


def _fresh_decision(row: Mapping[str, Any], score: float, model: LinkageModel) -> Decision:
    """What a model would make of a stored decision; a rule that put it to review would do so again."""
    fresh = zone(score, model)
    by_rule = row["reason"] in (*(Reason.HOUSEHOLD, Reason.THIN_MARGIN, Reason.LATER_SPELLING, Reason.OPEN_QUESTION),)
    return Decision.REVIEW if by_rule and fresh == Decision.DUPLICATE else fresh


def _changes(challenger: LinkageModel) -> dict[str, Any]:
    """Which of the last decisions the challenger would put into another zone; logs them by kind, with examples.

    What it does with relatives is no flip: that follows from the table, not from what the model has learnt.
    """
    decisions = people_db.recent_decisions(FLIPS_AMONG)
    if not decisions.num_rows:
        return {"decisions": 0, "changed": 0, "kinds": [], "examples": []}
    columns = {**{name: f"{name}_similarity" for name in SIMILARITIES}, "swapped": "swapped"}
    vectors = {name: decisions[column].to_numpy() for name, column in columns.items()}
    names = standardise(decisions)  # the challenger may know other names to be common than were known then
    vectors |= {f"{name}_commonness": commonness(names[f"{name}_std"], challenger.commonness(name)) for name in NAMES}
    scores = challenger.score(vectors)
    flips = [
        (row, fresh, score)
        for row, score in zip(decisions.to_pylist(), scores, strict=True)
        if (fresh := _fresh_decision(row, score, challenger)) != row["decision"]
    ]
    log.info("challenger %s would change %d of the last %d decisions", challenger.version, len(flips), len(scores))
    kinds = sorted(Counter((row["decision"], str(fresh)) for row, fresh, _ in flips).items())
    for (before, after), count in kinds:
        log.info("%d from %s to %s", count, before, after)
    for row, fresh, score in flips[:FLIP_EXAMPLES]:
        who = masked(row["first_name"], row["last_name"], row["address"])
        log.info("%s -> %s: %s, score %.3f -> %.3f", row["decision"], fresh, who, row["score"], score)
    return {
        "decisions": len(scores),
        "changed": len(flips),
        "kinds": [{"before": before, "after": after, "count": count} for (before, after), count in kinds],
        # By key, without names: whoever is erased is to be found in no other place.
        "examples": [
            {
                "record_key": row["record_key"],
                "before": row["decision"],
                "after": str(fresh),
                "score_before": row["score"],
                "score_after": float(score),
            }
            for row, fresh, score in flips[:FLIPS_SHOWN]
        ],
    }
