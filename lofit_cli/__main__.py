"""The `lofit` command: an interrupt is answered in a sentence, however early it comes."""

import sys


def main() -> None:
    """Import the command line, which takes a moment, and run it."""
    try:
        from lofit_cli.cli import app

        app()
    except KeyboardInterrupt:
        sys.stderr.write("lofit: interrupted before anything was run\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
