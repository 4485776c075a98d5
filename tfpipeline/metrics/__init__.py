"""Scores of a model's answers: scikit-learn behind one small interface.

A module a kind of answer. Each has ``compute(...)``, named scores as floats, and ``report(...)``, the same
for a reader. For which of them less is better is the task's to say (``Task.lower_is_better``).
"""
