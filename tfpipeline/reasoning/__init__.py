"""Does a model reason? Problems of propositional logic, a solver, and reports about models that answer them.

A problem has facts, rules of one to three conditions and one conclusion, and a query: do the facts and rules
imply it? Problems are drawn by several samplers from one problem space. A model that has learnt to deduce is
right on all of them; one that has learnt the statistics of its training problems is right on those of its own
sampler only (Zhang et al. 2022, "On the Paradox of Learning to Reason from Data", arXiv:2205.11502).

Nothing else in this package knows this one.
"""

from __future__ import annotations
