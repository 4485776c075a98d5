"""Generation: writes a text for a text, such as a summary, a translation, or the reply in a dialogue.

The model is a prefix language model (UniLM, Dong et al. 2019, arXiv:1905.03197): the tokens of the source see
each other, and those of the target see the source and what was written before them. A row in training is
``[CLS] source [SEP] target [SEP]``. With the objective ``causal`` each token predicts the next one; with
``masked`` a share of the target's tokens is masked and predicted (section 2.6).
Loss: the mean over the predicted tokens of all rows of their cross-entropy, with label smoothing.
Served answer: ``text`` string [B], and ``score`` float32 [B], the sum of the logarithms of its tokens'
probabilities divided by their number to the power of ``decoding.length_penalty``.
"""

from __future__ import annotations

from tfpipeline.tasks.generation.options import GenerationOptions
from tfpipeline.tasks.generation.task import Generation

__all__ = ["OPTIONS", "Generation", "GenerationOptions"]

OPTIONS = GenerationOptions
