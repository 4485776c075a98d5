"""Scores of a model's answers: scikit-learn behind one small interface.

A module a kind of answer. Each has ``compute(...)``, named scores as floats, ``report(...)``, the same for a reader,
and ``HIGHER_IS_BETTER``, which says of every name that ``compute`` can give (and of ``loss``) whether more is
better, so that a best checkpoint can be picked by any of them.
"""
