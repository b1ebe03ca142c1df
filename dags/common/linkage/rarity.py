"""Rarity: agreeing on a rare name says more than agreeing on a common one.

How common a name is, its commonness, is a number from 0, rare, to 1, as common as names become. It grows with the
logarithm of the share of people who bear the name, since the weight of an agreement falls with that: Fellegi and
Sunter, "A theory for record linkage" (1969).

Names of people are personal data, and a model is stored and handed around. So it knows common names only, each as the
beginning of a hash, and no name of fewer than `FEWEST` people: what is not there is rare.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

NAMES = ("first_name", "last_name")
"""The comparisons for which it matters how common a value is."""

COMMONNESS = tuple(f"{name}_commonness" for name in NAMES)
"""Their columns in a comparison vector."""

FEWEST = 5
"""A name is common if at least so many people bear it."""

RARE_SHARE, COMMON_SHARE = 1e-4, 1e-2
"""Shares of people with one name at which its commonness is 0 and 1."""

Commonness = Mapping[str, float]
"""Commonness by `key` of a name, in (0, 1]; every other name has 0."""

KnownNames = Mapping[str, Commonness]
"""What is known of the names of a table, by name of `NAMES`."""

NOTHING_KNOWN: KnownNames = {}
"""So every name counts as rare."""


def key(name: str) -> str:
    """What stands for a standardised name."""
    return hashlib.blake2b(name.encode(), digest_size=6).hexdigest()


def common_names(people: pa.Table) -> dict[str, dict[str, float]]:
    """The commonness of the first and of the last names, by name of `NAMES`.

    Args:
        people: standardised people, `first_name_std` and `last_name_std`: a whole table or a sample of it.
    """
    return {name: _commonness(people[f"{name}_std"].to_pylist()) for name in NAMES}


def _commonness(names: Iterable[str | None]) -> dict[str, float]:
    bearers = Counter(names)
    everybody = max(sum(bearers.values()), 1)
    known = {name: count for name, count in bearers.items() if name is not None and count >= FEWEST}
    shares = np.array(list(known.values())) / everybody
    values = np.clip(np.log(shares / RARE_SHARE) / np.log(COMMON_SHARE / RARE_SHARE), 0, 1).round(2).tolist()
    return {key(name): value for name, value in sorted(zip(known, values, strict=True)) if value > 0}


def commonness(names: pa.ChunkedArray | pa.Array, known: Commonness) -> npt.NDArray[np.float64]:
    """How common each of these standardised names is; a missing one is not."""
    if not known or not len(names):
        return np.zeros(len(names))
    encoded = (names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names).dictionary_encode()
    values = np.array([known.get(key(name), 0.0) for name in encoded.dictionary.to_pylist()] + [0.0])
    codes = encoded.indices.fill_null(len(values) - 1).to_numpy()
    result: npt.NDArray[np.float64] = values[codes]
    return result
