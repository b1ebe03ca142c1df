"""Tables that travel between the method and the database. Apart, since whoever only names them needs no method."""

import pyarrow as pa

PAIR_ENDS = pa.schema(
    [
        ("person_id", pa.int64()),
        ("question_id", pa.int64()),
        ("first_spelling", pa.bool_()),
        ("via_batch_id", pa.string()),
        ("via_record_key", pa.string()),
    ]
)
"""What a pair of a record with a spelling that is known already says of that spelling.

It is that of a person, or that of a record in an open question (`person_id` or `question_id`, the other one is null),
the first one of its person or a later one, which came with record `via_record_key` of batch `via_batch_id`.
"""

SEEN = pa.schema([("record_key", pa.string()), ("person_id", pa.int64()), ("question_id", pa.int64())])
"""Whose a record of the batch was when it was seen before, or which question it waits in."""
