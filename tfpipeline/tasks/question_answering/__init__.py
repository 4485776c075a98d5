"""Extractive question answering: finds the part of a context that answers a question, if there is one.

Question and context go through the encoder together, as ``[CLS] question [SEP] context [SEP]``. A context
that is too long is read in overlapping windows (``text.long: windows``). The scores of all windows' tokens
are combined before decoding: they are normalised over the whole context (Clark and Gardner 2018,
arXiv:1710.10723, "shared normalization").
Loss: the mean of the cross-entropies of the answer's first and last token (Devlin et al. 2018,
arXiv:1810.04805, sections 4.2 and 4.3); [CLS] stands for "no answer".
Served answer, N ``best``: ``answer`` string [B] ("" if there is none), ``start``, ``end`` int32 [B] in the
context (-1 if there is none), ``score`` float32 [B], the probability of the answer; ``no_answer`` float32
[B], the probability of "no answer" relative to the best span, and the ``threshold`` above which "no answer"
is predicted; ``answers`` string [B, N], ``starts``, ``ends`` int32 [B, N], ``scores`` float32 [B, N]: the
best spans, padded with "" and 0.
``serving_default`` takes ``text``, the question, and ``text_pair``, the context.
"""

from __future__ import annotations

from tfpipeline.tasks.question_answering.options import QuestionAnsweringOptions
from tfpipeline.tasks.question_answering.task import QuestionAnswering

__all__ = ["OPTIONS", "QuestionAnswering", "QuestionAnsweringOptions"]

OPTIONS = QuestionAnsweringOptions
