"""The certificate finds what a search has missed, and nothing else."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from common.linkage.certificate import certify
from common.linkage.model import STARTING_MODEL, CommonNames, LinkageModel
from common.linkage.rarity import key
from common.linkage.search import candidate_pairs

AT = STARTING_MODEL.review_at
KNOWN = {"first_name": {key("anna"): 0.5, key("lopez"): 1.0}, "last_name": {key("li"): 1.0, key("anna"): 0.25}}
WITH_COMMON_NAMES = replace(
    STARTING_MODEL, common_names={name: CommonNames(0.6, known) for name, known in KNOWN.items()}
)


def table(rows: int, seed: int) -> pa.Table:
    """Records of few values, so that many match; some are missing."""
    random = np.random.default_rng(seed)
    values = {
        "first_name_std": ["anna", "anne", "bob", "lopez", None],
        "last_name_std": ["li", "lee", "lopez", "anna", None],
        "address_std": ["1 oak st", "oak st 1", "2 elm road", None],
    }
    return pa.table(
        {name: pa.array(random.choice(np.array(choice, object), rows), pa.string()) for name, choice in values.items()}
    )


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("model", [STARTING_MODEL, WITH_COMMON_NAMES], ids=["rare", "common"])
@pytest.mark.parametrize("at", [AT, 0.6])
def test_complete_search_is_certified(within: bool, model: LinkageModel, at: float) -> None:
    left, right = table(30, 1), None if within else table(40, 2)
    pairs = candidate_pairs(left, right, model, at)
    certificate = certify([0, 7, 29], left, right, model, at, pairs)
    ends = [pairs["left_row"].to_numpy()] + [pairs["right_row"].to_numpy()] * within
    assert certificate.matches == sum(np.isin(end, [0, 7, 29]).sum() for end in ends) > 0
    assert (certificate.records, certificate.people, certificate.missed) == (3, 30 if within else 40, 0)


@pytest.mark.parametrize("within", [False, True])
def test_missed_pair_is_counted(within: bool) -> None:
    left, right = table(30, 1), None if within else table(40, 2)
    pairs = candidate_pairs(left, right, STARTING_MODEL, AT)
    row = pairs["left_row"][0].as_py()
    assert certify([row], left, right, STARTING_MODEL, AT, pairs.slice(1)).missed == 1


def test_line_for_the_report() -> None:
    left, right = table(30, 1), table(40, 2)
    pairs = candidate_pairs(left, right, STARTING_MODEL, AT)
    line = str(certify([3], left, right, STARTING_MODEL, AT, pairs))
    assert line.startswith("certificate: 1 records x 40 people compared exhaustively, ")
    assert line.endswith(" 0 missed")


def test_no_records_to_compare() -> None:
    left = table(3, 1)
    pairs = candidate_pairs(left, left.slice(0, 0), STARTING_MODEL, AT)
    assert certify([0], left, left.slice(0, 0), STARTING_MODEL, AT, pairs).missed == 0
    assert certify([], left, left, STARTING_MODEL, AT, pairs).records == 0
