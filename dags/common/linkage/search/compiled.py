"""How functions of the search are compiled, and two machine instructions that numpy does not offer.

Compiled functions run without Python's global lock, so that threads search side by side. Their arrays are plain numpy
arrays. Arrays of a `Segment` are always read-only, whether they were just made or are mapped from a file: numba takes
read-only arrays for another type and would compile everything twice.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.extending import intrinsic

_here = Path(__file__).parent
SOURCES = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_here.glob("*.py")))).hexdigest()[:12]
"""Another one after an update of any file here."""

_config: Any = numba.config
# Machine code contains that of the functions it calls, and numba looks only at the file of the function itself. So the
# code is kept under the contents of all files here: an update of any of them compiles anew. `NUMBA_CACHE_DIR` names
# another place; with `NUMBA_CPU_NAME` and `NUMBA_CPU_FEATURES` that is of use to other processors too (Dockerfile).
_folder = Path(_config.CACHE_DIR or _here / "__pycache__") / f"compiled-{SOURCES}"
_config.CACHE_DIR = str(_folder)
for _older in _folder.parent.glob("compiled-*"):
    if _older != _folder:
        shutil.rmtree(_older, ignore_errors=True)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile on first use and keep the machine code on disk where there is a place for it."""
    try:
        return numba.njit(function, nogil=True, cache=True, error_model="numpy")
    except RuntimeError:  # a read-only checkout and no home folder: compile again in every process
        return numba.njit(function, nogil=True, error_model="numpy")


def inlined(function: Callable[..., Any]) -> Any:
    """Compile into each caller: a call would copy every array of a nested tuple, which takes a microsecond."""
    return numba.njit(function, nogil=True, error_model="numpy", inline="always")


def merged(function: Callable[..., Any]) -> Any:
    """Compile into each caller as machine code, for functions that are called once or twice and take nested tuples."""
    return numba.njit(function, nogil=True, error_model="numpy", forceinline=True)


def _popcount(typing: Any, word: Any) -> Any:
    """Number of bits set in a uint64."""
    return numba.uint64(numba.uint64), lambda context, builder, signature, words: builder.ctpop(words[0])


def _lowest_bit(typing: Any, word: Any) -> Any:
    """Position of the lowest bit set in a uint64, 64 if there is none."""

    def emit(context: Any, builder: Any, signature: Any, words: Any) -> Any:
        return builder.cttz(words[0], context.get_constant(numba.boolean, False))

    return numba.uint64(numba.uint64), emit


popcount: Any = intrinsic(_popcount)
lowest_bit: Any = intrinsic(_lowest_bit)
