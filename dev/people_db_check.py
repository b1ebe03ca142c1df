"""Whether the people database can be used: exit code 0, or 1 and one line that says why not.

What may pass, as a server that is starting, is tried again until a given time, with the reason on screen each time.
"""

import sys
import time

from common.errors import PeopleDbError, PeopleDbUnreachable
from common.people_db import transaction

PAUSE_SECONDS = 2.0


def main(give_up: float) -> int:
    """Try until ``give_up``, in seconds since 1970; returns an exit code."""
    while True:
        try:
            with transaction():
                return 0
        except PeopleDbUnreachable as error:
            if time.time() + PAUSE_SECONDS > give_up:
                return _say(str(error))
            _say(f"{error}; trying again ...")
            time.sleep(PAUSE_SECONDS)
        except PeopleDbError as error:
            return _say(str(error))
        except Exception as error:  # its text may hold the password
            return _say(
                f"connection people_db cannot be read ({type(error).__name__}): it is written as "
                "postgresql://user:password@host:5432/database, with signs such as @ and / percent-encoded"
            )


def _say(line: str) -> int:
    print(line[:1].upper() + line[1:], file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
