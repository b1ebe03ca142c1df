"""Run `common.upkeep` against the databases of this checkout."""

import sys

from launch import Commands, guarded, ready


def main(args: list[str]) -> int:
    """Run ``python -m common.upkeep ARGS...``; returns its exit code."""
    with ready() as env, Commands(env) as commands:
        commands.start([sys.executable, "-m", "common.upkeep", *args])
        return commands.wait() or 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
