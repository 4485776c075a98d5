"""Extractive question answering: the part of a context that answers a question, or that there is none.

Both go through the encoder together, ``[CLS] question [SEP] context [SEP]``; a context that is too long is
read in overlapping windows (``text.long: windows``), whose tokens' scores are put together before anything is
decided: they are normalised over the whole context (Clark and Gardner 2018, arXiv:1710.10723, "shared
normalization").
Loss: the mean of the cross-entropies of the answer's first and last token (Devlin et al. 2018,
arXiv:1810.04805, sections 4.2 and 4.3); [CLS] stands for "no answer".
Served answer, N ``best``: ``answer`` string [B] ("" if there is none), ``start``, ``end`` int32 [B] in the
context (-1 if there is none), ``score`` float32 [B], the probability of what is answered; ``no_answer``
float32 [B], the probability of "none" beside the best part of the context, and the ``threshold`` above which
that is the answer; ``answers`` string [B, N], ``starts``, ``ends`` int32 [B, N], ``scores`` float32 [B, N]:
the best parts, filled up with "" and 0.
``serving_default`` takes ``text``, the question, and ``text_pair``, the context.
"""

from __future__ import annotations

from tfpipeline.tasks.question_answering.options import QuestionAnsweringOptions
from tfpipeline.tasks.question_answering.task import QuestionAnswering

__all__ = ["OPTIONS", "QuestionAnswering", "QuestionAnsweringOptions"]

OPTIONS = QuestionAnsweringOptions
