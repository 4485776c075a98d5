"""The run file: YAML plus ``--set a.b=c``, checked against pydantic models, all errors reported at once.

Knows no task and no TensorFlow: the schema is given by the caller, and each part keeps its options beside itself
as a :class:`Section`. Relative paths in a run file are meant from the current working directory, as they are on
the command line, not from the run file's folder.

    run_config = config.load("run.yaml", RunConfig, overrides=["training.epochs=2"])
"""

from tfpipeline.config.loading import dump, load, resolve
from tfpipeline.config.section import Section, section_by_name

__all__ = ["Section", "dump", "load", "resolve", "section_by_name"]
