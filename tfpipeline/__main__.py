"""``python -m tfpipeline``: the command line, where its program is not on the PATH."""

from tfpipeline.cli import main

if __name__ == "__main__":
    main()
