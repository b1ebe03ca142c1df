"""What may be shown of a name or an address outside of the people database: in logs, reports, mails and errors."""

import re

SHORTEST_SHOWN = 3
"""A word with fewer letters and digits than this shows nothing: its initial would be half of it or all of it."""


def masked(*texts: str | None) -> str:
    """Texts with every word starred but for its initial: "J*** S****, ** M*** **". Those that are missing are left out.

    A word is whatever stands between spaces, so that an apostrophe or an accent does not uncover what follows it.
    The initial is shown only if it is a letter that has an upper and a lower case: no digit ever, and no character of
    a script in which one character is a syllable or a whole name.
    """
    return ", ".join(re.sub(r"\S+", _masked_word, text) for text in texts if text)


def _masked_word(match: re.Match[str]) -> str:
    word = match[0]
    long_enough = sum(character.isalnum() for character in word) >= SHORTEST_SHOWN
    has_initial = word[0].isalpha() and word[0].lower() != word[0].upper()
    return (word[0] if long_enough and has_initial else "*") + "*" * (len(word) - 1)
