"""Rule-priority, balanced: for each number of rules, half of the queries follow (arXiv:2205.11502, "RP_b").

In rule-priority problems, the more rules there are, the likelier a query follows: a model may count rules
instead of deducing. Here, the number of rules says nothing about the label. The theories are those of
rule-priority; problems are chosen in pairs of both labels that have the same number of rules.
"""

from __future__ import annotations

from tfpipeline.reasoning.samplers.rule_priority import sample as sample

BALANCES_RULE_COUNTS = True
