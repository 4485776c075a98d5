"""The run file: YAML plus ``--set a.b=c``, checked with pydantic models. All errors are reported at once.

This package depends on no task and not on TensorFlow. The caller provides the schema, and each part defines
its own options as a :class:`Section`. A field for a path is a :data:`PathText`. Relative paths in a run file
are relative to the current directory, as they are on the command line, not to the run file's directory; ``~``
is the home directory.

    run_config = config.load("run.yaml", RunConfig, overrides=["training.epochs=2"])
"""

from tfpipeline.config.loading import dump, load, resolve, settings
from tfpipeline.config.section import PathText, Section, section_by_name
from tfpipeline.config.steps import StepsOrShare, steps_of

__all__ = [
    "PathText",
    "Section",
    "StepsOrShare",
    "dump",
    "load",
    "resolve",
    "section_by_name",
    "settings",
    "steps_of",
]
