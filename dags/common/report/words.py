"""The words of the report: what each decision, reason and term means, for readers who have never seen the code."""

from collections.abc import Mapping

from common.linkage.validation import QuarantineReason
from common.linkage.verdict import Decision, Reason

REASONS: Mapping[str, str] = {
    Reason.NO_CANDIDATE: "Nobody in the table or in this batch is similar enough, so this is somebody new.",
    Reason.SURVIVOR: "Several records of this batch are one new person; this one was inserted for all of them.",
    Reason.MATCH: "Scores at or above the cut-off with somebody who is in the table.",
    Reason.WITHIN_BATCH: "A duplicate of another record of this batch, and shares its fate.",
    Reason.KNOWN_RECORD: "A record that says the same came before.",
    Reason.SAME_KEY: "The same system sent another record under the same key before.",
    Reason.BORDERLINE: "The best candidate is similar, but not similar enough to be sure.",
    Reason.HOUSEHOLD: "The best candidate has the same address, but another first name or is of another generation.",
    Reason.THIN_MARGIN: "Two people in the table fit about equally well.",
    Reason.LATER_SPELLING: "It is like a later spelling of the person, but not like the first one.",
    Reason.OPEN_QUESTION: "It is like another record that waits for an answer.",
    "JUDGED": "Somebody has looked at it and decided.",
}
"""By reason code of a decision."""

QUARANTINE: Mapping[str, str] = {
    QuarantineReason.MALFORMED_ROW: "Another number of fields than the header, or quotes that never close.",
    QuarantineReason.NESTED_VALUE: "A field holds a list or a structure instead of one text.",
    QuarantineReason.FIELD_TOO_LONG: "A field is longer than a name or an address can be.",
    QuarantineReason.NOT_UTF8: "The row is not UTF-8 text.",
    QuarantineReason.NUL_BYTE: "A field holds a NUL character, which Postgres cannot store.",
    QuarantineReason.NO_NAME: "Neither first nor last name is left after cleaning.",
    QuarantineReason.TOO_COMMON: "So many are like it that nobody could choose: mostly a placeholder, not a name.",
    QuarantineReason.ERASED: "Somebody who was erased and is kept out; nothing of the record is kept.",
}
"""By reason code of a row in quarantine."""

DECISIONS: Mapping[str, str] = {
    Decision.NEW: "inserted",
    Decision.DUPLICATE: "known already",
    Decision.REVIEW: "in review",
}

GLOSSARY: Mapping[str, str] = {
    "Match score": "The probability, between 0 and 1, that two records are the same person, as the model sees it.",
    "Duplicate": "A record whose best candidate scores at or above the upper cut-off. It is kept with the person it "
    "belongs to, and not inserted.",
    "In review": "A record that is too similar to somebody to be inserted, and not similar enough to be dropped. "
    "Somebody must judge it.",
    "Quarantine": "Rows that cannot be used. They are kept as they arrived, with a reason code.",
    "Candidate": "The existing person, or the other record of the batch, that a record is most similar to.",
    "Similarity": "How alike two texts are: 1 is equal, 0 has nothing in common (Jaro-Winkler).",
    "Log-odds": "The scale on which evidence adds up. Above 0 the same person is likelier than not; each step of 2.3 "
    "makes it ten times likelier.",
    "Canaries": "Records whose answer is known, scored with every run and never inserted: copies of stored people, "
    "written differently, that must be found, and stored people who must not be taken for somebody else.",
    "Re-inserted": "The share of returning people who are not recognised and would be inserted a second time.",
    "Wrongly dropped": "The share of new people who are taken for somebody known, and would not be inserted.",
    "Certificate": "A few records of this run were compared with everybody, without any short cut, to prove that the "
    "search misses no pair.",
    "95 % interval": "Where the true rate lies in 95 of 100 cases, since only so many records were counted.",
    "Calibration": "Whether scores mean what they say: of the pairs with score 0.8, 80 % should be matches.",
}
