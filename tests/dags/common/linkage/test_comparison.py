"""The reference comparison, held against a plain loop over jellyfish."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from common.linkage.comparison import address_similarity, comparison_vectors, sort_tokens
from common.linkage.model import STARTING_MODEL, CommonNames
from common.linkage.rarity import key
from jellyfish import jaro_winkler_similarity
from scipy.special import logit


def people(*rows: tuple[str | None, str | None, str | None]) -> pa.Table:
    """A table of standardised records."""
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    names = ("first_name_std", "last_name_std", "address_std")
    return pa.table({n: pa.array(v, pa.string()) for n, v in zip(names, columns, strict=True)})


def test_vector_of_jellyfish_similarities() -> None:
    """Straight names: the similarities are those of jellyfish, to the last bit."""
    left, right = people(("martha", "jones", "12 oak st")), people(("marhta", "johnson", "12 oak street"))
    (vector,) = comparison_vectors(left, right, [0], [0], STARTING_MODEL).to_pylist()
    assert vector["first_name"] == jaro_winkler_similarity("martha", "marhta")
    assert vector["last_name"] == jaro_winkler_similarity("jones", "johnson")
    assert vector["address"] == address_similarity("12 oak st", "12 oak street")
    assert vector["swapped"] is False


def test_swapped_names_are_found() -> None:
    """Crossed names match in the swapped arrangement, with similarities of 1."""
    left, right = people(("lopez", "anna", "1 elm rd")), people(("anna", "lopez", "1 elm rd"))
    (vector,) = comparison_vectors(left, right, [0], [0], STARTING_MODEL).to_pylist()
    assert (vector["first_name"], vector["last_name"], vector["swapped"]) == (1.0, 1.0, True)
    assert vector["score"] > STARTING_MODEL.review_at


def test_tie_is_straight() -> None:
    """Equal first and last names leave nothing to swap."""
    table = people(("james", "james", "1 elm rd"))
    assert comparison_vectors(table, table, [0], [0], STARTING_MODEL)["swapped"].to_pylist() == [False]


@pytest.mark.parametrize("gap", range(3))
def test_missing_is_null_and_never_swapped(gap: int) -> None:
    """A missing value makes a null similarity, and swapped names need all four."""
    values: list[str | None] = ["lopez", "anna", "1 elm rd"]
    values[gap] = None
    left, right = people((values[0], values[1], values[2])), people(("anna", "lopez", "1 elm rd"))
    (vector,) = comparison_vectors(left, right, [0], [0], STARTING_MODEL).to_pylist()
    assert vector[("first_name", "last_name", "address")[gap]] is None
    assert vector["swapped"] is (gap == 2)


def test_pairs_keep_their_order_and_may_repeat() -> None:
    """One row for each pair asked for, scored by the model from its own vector."""
    table = people(("anna", "li", "1 a"), (None, "li", None), ("bob", None, "2 b"))
    left_rows, right_rows = [0, 2, 1, 0, 0], [2, 2, 0, 0, 0]
    result = comparison_vectors(table, table, left_rows, right_rows, STARTING_MODEL)
    single = [
        comparison_vectors(table, table, [i], [j], STARTING_MODEL) for i, j in zip(left_rows, right_rows, strict=True)
    ]
    assert result.to_pylist() == pa.concat_tables(single).to_pylist()
    vector = {name: result[name].to_numpy().astype(float) for name in result.column_names}
    assert np.array_equal(result["score"].to_numpy(), STARTING_MODEL.score(vector))


def test_a_name_is_as_common_as_the_commoner_of_both() -> None:
    """So a typo makes no rare name of a common one; each name counts as what it is in its own field."""
    names = {"first_name": CommonNames(0.5, {key("anna"): 0.25}), "last_name": CommonNames(0.25, {key("li"): 1.0})}
    model = replace(STARTING_MODEL, common_names=names)
    table = people(("anna", "li", "1 a"), ("hanna", "lia", "1 a"), ("li", "anna", "1 a"), (None, "li", "1 a"))
    rows = [0, 0, 1, 0, 0, 2], [0, 1, 1, 2, 3, 2]
    result = comparison_vectors(table, table, *rows, model)
    assert result["first_name_commonness"].to_pylist() == [0.25, 0.25, 0, 0.25, 0.25, 0]
    assert result["last_name_commonness"].to_pylist() == [1, 1, 0, 1, 1, 0]
    assert result["swapped"].to_pylist() == [False, False, False, True, False, False]
    rare = comparison_vectors(table, table, *rows, STARTING_MODEL)
    less = logit(rare["score"].to_numpy()) - logit(result["score"].to_numpy())
    first, last = (
        curve.log_odds[-1] for curve in (STARTING_MODEL.curves["first_name"], STARTING_MODEL.curves["last_name"])
    )
    assert less[0] == pytest.approx(first * 0.25 * 0.5 + last * 0.75)
    assert less[3] == pytest.approx(less[0]), "crosswise too"
    assert less[[2, 5]] == pytest.approx(0)
    assert less[4] == pytest.approx(last * 0.75), "a missing name is worth what it is"


def test_no_pairs() -> None:
    """Nothing to compare gives an empty table with the usual columns."""
    result = comparison_vectors(people(), people(), [], [], STARTING_MODEL)
    assert (result.num_rows, result.column_names[-1]) == (0, "score")


def test_reordered_address() -> None:
    """Sorted words make reordered addresses equal; single spaces and lengths are kept."""
    assert address_similarity("12 oak street springfield", "springfield oak street 12") == 1.0
    assert sort_tokens("b  a") == " a b"
