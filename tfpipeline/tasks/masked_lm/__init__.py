"""Masked language modelling: pre-training on plain text, and filling in [MASK] tokens.

Some tokens of each row are replaced, and the model predicts the original ones (Devlin et al. 2018,
arXiv:1810.04805, section 3.1). Which ones is drawn anew at each step (Liu et al. 2019, arXiv:1907.11692,
section 4.1), and always alike in evaluation. Whole words are masked: pieces of words (``##``), or Chinese
words of several characters (Cui et al. 2019, arXiv:1906.08101). Texts are cut into rows that fill
``text.max_length``.
Loss: the mean over the masked tokens of their cross-entropy; with ``objective`` plus that of the relation of
the row's two texts: whether the second follows the first (``next_sentence``, section 3.1), or whether the
two are in order (``sentence_order``, Lan et al. 2019, arXiv:1909.11942, section 3.1).
Served answer, M ``max_masks``, K ``best``: ``tokens`` string [B, M, K] and ``scores`` float32 [B, M, K], the
most likely tokens for each [MASK] in the text and their probabilities; ``starts``, ``ends`` int32 [B, M], the
place of the [MASK] in the text; ``count`` int32 [B], the number of [MASK] tokens that the model reads. Only
the first M are filled in. Unused slots have "", 0 and -1.
"""

from __future__ import annotations

from tfpipeline.tasks.masked_lm.options import MaskedLMOptions
from tfpipeline.tasks.masked_lm.task import MaskedLM

__all__ = ["OPTIONS", "MaskedLM", "MaskedLMOptions"]

OPTIONS = MaskedLMOptions
