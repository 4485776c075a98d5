"""The run file: YAML plus ``--set a.b=c``, checked against pydantic models, all errors reported at once.

Knows no task and no TensorFlow: the schema is given by the caller, and each part keeps its options beside
itself as a :class:`Section`. A field that holds a path is a :data:`PathText`. Relative paths in a run file
are relative to the current directory, as they are on the command line, not to the run file's directory; ``~``
is the home directory.

    run_config = config.load("run.yaml", RunConfig, overrides=["training.epochs=2"])
"""

from tfpipeline.config.loading import dump, load, resolve, settings
from tfpipeline.config.section import PathText, Section, section_by_name

__all__ = ["PathText", "Section", "dump", "load", "resolve", "section_by_name", "settings"]
