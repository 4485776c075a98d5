"""Scores a model's predictions, mostly with scikit-learn, behind one small interface.

There is one module per kind of prediction. Each has ``compute(...)``, which returns named scores as floats,
and ``report(...)``, which returns them as text. The task's scorer says for which scores lower is better
(``Scorer.lower_is_better``).
"""
