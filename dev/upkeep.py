"""Run `common.upkeep` against the databases of this checkout."""

import os
import sys

from launch import ROOT, guarded, ready


def main(args: list[str]) -> int:
    """Run a command of `common.upkeep` in this very process; returns its exit code."""
    # Only these ask Airflow's metadata database: what XComs refer to, and where the mail server is.
    with ready(metadata=args[:1] in (["prune"], ["mail"])) as env:
        os.environ.update(env)
        sys.path.insert(0, str(ROOT / "dags"))
        from common import upkeep

        return upkeep.main(args)


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
