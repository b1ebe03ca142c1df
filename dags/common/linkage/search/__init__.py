"""Lossless candidate pairs: what the rest of the project may use of the search, see `candidates`."""

from common.errors import CandidateExplosion
from common.linkage.search.candidates import Budget, Progress, candidate_pairs

__all__ = ["Budget", "CandidateExplosion", "Progress", "candidate_pairs"]
