"""Retraining: labelled pairs from what there is, several regression models, and which one decides from now on."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from airflow.sdk.exceptions import AirflowSkipException

from common import people_db, sources
from common.linkage import training
from common.linkage.decision import Decision, Reason, zone
from common.linkage.model import COMPARISON_VECTOR, SIMILARITIES, LinkageModel
from common.masking import masked
from common.settings import (
    FLIP_EXAMPLES,
    FLIPS_AMONG,
    MAX_DROPPED,
    MAX_REVIEWED,
    PROMOTION_MARGIN,
    TRAINING_PEOPLE,
)

log = logging.getLogger(__name__)

_PREPARED_SEED = 0  # the generated data set is the same everywhere

Fitted = dict[str, Any]
"""A fitted model as plain JSON types: `formula`, `content` (of the LinkageModel), `results`, `lineage`."""


def training_pairs(params: Mapping[str, Any], run_id: str) -> pa.Table:
    """Labelled pairs for a run: a prepared data set, pairs made of stored people, and what people judged.

    Args:
        params: of the DAG: `retrain_every`, and `labelled_pairs`, the path or URL of a CSV or Parquet file of pairs,
            or "" for the data set that the project generates by itself.
        run_id: seeds what is random.

    Returns:
        A table of schema `training.LABELLED`, its lineage (pairs by where they come from) as metadata.

    Raises:
        AirflowSkipException: this run does not retrain.
    """
    every = params["retrain_every"]
    if every == 0 or people_db.batches_before(run_id) % every:
        raise AirflowSkipException("no retraining in this run: the champion stands")
    parts = {}
    table_size = people_db.count_people(run_id)
    if prepared := params["labelled_pairs"]:
        parts[prepared] = training.judged_pairs(sources.read_pairs(prepared), _PREPARED_SEED)
    else:
        people = sources.fake_people(TRAINING_PEOPLE, _PREPARED_SEED)
        parts["generated people"] = training.generated_pairs(people, _PREPARED_SEED, table_size)
    seed = int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:6])
    stored, _ = people_db.sample_people(TRAINING_PEOPLE, seed, run_id)
    if stored.num_rows >= training.MIN_PEOPLE:
        parts["stored people"] = training.generated_pairs(stored, seed, table_size)
    judged = people_db.judged_pairs()
    if judged.num_rows:
        parts["judgements"] = training.judged_pairs(judged, _PREPARED_SEED)
    log.info("labelled pairs: %s", ", ".join(f"{part.num_rows:,} from {name}" for name, part in parts.items()))
    return training.joined(parts)


def fit_models(pairs: pa.Table, run_id: str) -> list[Fitted]:
    """Fit every formula and print train and test results beside the champion's, which comes last."""
    champion = people_db.champion(run_id)
    fitted = {formula.name: training.fit(formula, pairs) for formula in training.FORMULAS}
    models = {
        name: training.with_cut_offs(model, pairs, MAX_DROPPED, MAX_REVIEWED) for name, model in fitted.items()
    } | {"champion": champion}
    results = training.results_table(models, pairs)
    log.info("train and test results\n%s", _as_text(results))
    lineage = training.lineage(pairs)
    return [
        {"formula": row["model"], "content": models[row["model"]].to_dict(), "results": row, "lineage": lineage}
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
    _log_flips(challenger)
    if loss > to_beat * (1 - PROMOTION_MARGIN):
        log.info("champion %s stands: test log-loss %.4f, challenger %.4f", champion.version, to_beat, loss)
        return champion.to_dict()
    log.info(
        "new champion %s (%s): test log-loss %.4f, before %.4f", challenger.version, best["formula"], loss, to_beat
    )
    people_db.promote_challenger(challenger, best["formula"], best["results"], best["lineage"], run_id)
    return challenger.to_dict()


def _fresh_decision(row: Mapping[str, Any], score: float, model: LinkageModel) -> Decision:
    """What a model would make of a stored decision; a rule that put it to review would do so again."""
    fresh = zone(score, model)
    by_rule = row["reason"] in (Reason.HOUSEHOLD, Reason.THIN_MARGIN)
    return Decision.REVIEW if by_rule and fresh == Decision.DUPLICATE else fresh


def _log_flips(challenger: LinkageModel) -> None:
    """What would change: how many of the last decisions the challenger would put into another zone."""
    decisions = people_db.recent_decisions(FLIPS_AMONG)
    if not decisions.num_rows:
        return
    columns = {name: f"{name}_similarity" if name in SIMILARITIES else name for name in COMPARISON_VECTOR}
    scores = challenger.score({name: decisions[column].to_numpy() for name, column in columns.items()})
    flips = [
        (row, fresh, score)
        for row, score in zip(decisions.to_pylist(), scores, strict=True)
        if (fresh := _fresh_decision(row, score, challenger)) != row["decision"]
    ]
    log.info("challenger %s would change %d of the last %d decisions", challenger.version, len(flips), len(scores))
    for row, fresh, score in flips[:FLIP_EXAMPLES]:
        who = masked(row["first_name"], row["last_name"], row["address"])
        log.info("%s -> %s: %s, score %.3f -> %.3f", row["decision"], fresh, who, row["score"], score)
