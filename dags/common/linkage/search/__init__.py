"""Lossless candidate pairs: what the rest of the project may use of the search.

The files are the steps of the method, in this order: `text` holds values as bytes; `jaro_winkler` compares them and
says how similar they can be at most; `bounds` makes log-odds of both; `values` finds similar names; `tokens` and
`words` take addresses apart; `segment` is an encoded table; `join` finds pairs from a leader on; `plan` chooses the
leaders and says why no pair is missed; `candidates` puts all together.
"""

from common.errors import CandidateExplosion
from common.linkage.search.candidates import Budget, Progress, bounded_pairs, candidate_pairs
from common.linkage.search.segment import ENCODER, Segment

__all__ = ["ENCODER", "Budget", "CandidateExplosion", "Progress", "Segment", "bounded_pairs", "candidate_pairs"]
