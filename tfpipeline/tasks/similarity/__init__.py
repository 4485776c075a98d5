"""Similarity: one vector per text, such that texts that belong together have similar vectors.

A model encodes each text by itself, so that vectors can be stored and searched. Rows are pairs of texts that
belong together, perhaps with negatives; pairs with scores; or texts with a class. What a row has decides the
loss, unless the run file names one: see ``losses.py``. With ``dimensions``, leading parts of a vector are
vectors, too (Matryoshka: Kusupati et al. 2022, arXiv:2205.13147).
Served answer: ``embedding`` float32 [B, D] for ``text``; ``score`` float32 [B], the cosine, for ``text`` and
``text_pair``.
"""

from tfpipeline.tasks.similarity.options import SimilarityOptions
from tfpipeline.tasks.similarity.scorer import SimilarityScorer
from tfpipeline.tasks.similarity.task import Similarity

__all__ = ["Similarity", "SimilarityOptions", "SimilarityScorer"]

OPTIONS = SimilarityOptions
