"""Tagging: a tag for each word of a text; entities (NER), parts of speech, segmentation.

Loss: cross-entropy of each word's tag, or with ``crf`` the negative log-likelihood of all of them, divided by
their number. Decoding, in the graph: the best sequence of tags that the scheme allows.
Served answer, E ``max_entities``: ``types``, ``texts`` string [B, E], ``starts``, ``ends`` int32 [B, E],
``scores`` float32 [B, E], filled up with "" and 0; ``count`` int32 [B], how many there are, and ``margin``
float32 [B]: by which share the next best tags of the whole text are less probable, 1 for a text without
words. With the scheme ``plain`` each word is an entity.
"""

from __future__ import annotations

from tfpipeline.tasks.tagging.options import TaggingOptions
from tfpipeline.tasks.tagging.task import Tagging

__all__ = ["OPTIONS", "Tagging", "TaggingOptions"]

OPTIONS = TaggingOptions
