"""The program: ``tfpipeline``, or ``python -m tfpipeline`` where it is not on the PATH."""

import sys


def main() -> None:
    """Import the command line and run it. Ctrl-C ends the program with one word, also during the import."""
    try:
        from tfpipeline.cli import main as run

        run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
