"""Tagging: a tag for each word of a text, for entities (NER), parts of speech or segmentation.

Loss: cross-entropy of each word's tag, or with ``crf`` the negative log-likelihood of the whole sequence,
divided by its number of tags. Decoding, in the graph: the best sequence of tags that the scheme allows.
Served answer, E ``max_entities``: ``types``, ``texts`` string [B, E], ``starts``, ``ends`` int32 [B, E],
``scores`` float32 [B, E], padded with "" and 0; ``count`` int32 [B], the number of entities, and ``margin``
float32 [B]: by what fraction the second-best tags of the whole text are less probable, 1 for a text without
words. With the scheme ``plain`` each word is an entity.
"""

from __future__ import annotations

from tfpipeline.tasks.tagging.options import TaggingOptions
from tfpipeline.tasks.tagging.task import Tagging

__all__ = ["OPTIONS", "Tagging", "TaggingOptions"]

OPTIONS = TaggingOptions
