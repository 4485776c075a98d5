"""The packaged weights as Google-format checkpoints, which is what the examples' run files start from.

python -m examples.checkpoints xtremedistil     # writes demo/checkpoints/xtremedistil unless it is there
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from examples import packaged
from tfpipeline.errors import UserError

FOLDER = Path("demo/checkpoints")
SOURCES = {"minilm": packaged.minilm, "xtremedistil": packaged.xtremedistil}


def checkpoint(name: str) -> Path:
    """The folder of a checkpoint, "minilm" or "xtremedistil", written first if need be.

    Raises:
        UserError: the weights cannot be fetched, or the folder cannot be written.
    """
    import tfpipeline
    from tfpipeline.runtime import import_tensorflow

    folder = FOLDER / name
    if not folder.is_dir():
        import_tensorflow()  # without its start-up lines
        tfpipeline.convert(SOURCES[name](), folder, to="google")
    return folder


def main(arguments: list[str] | None = None) -> None:
    """Print where the named checkpoint is, writing it first if need be."""
    parser = argparse.ArgumentParser(prog="python -m examples.checkpoints", description=main.__doc__)
    parser.add_argument("name", choices=list(SOURCES))
    name = parser.parse_args(arguments).name
    try:
        print(checkpoint(name))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
