"""Made-up questions about made-up passages, which only a pipeline without an error can answer."""
