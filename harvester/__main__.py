"""The `harvester` command, also as `python -m harvester`."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; see `harvester.cli`. A ^C is heard from the first import on."""
    try:
        from harvester.cli import main as run_command_line

        run_command_line()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
