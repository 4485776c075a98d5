"""Problems: the solver, the samplers, drawing, reading and rendering them."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter

import pytest

from tfpipeline import UserError
from tfpipeline.reasoning import samplers, templates
from tfpipeline.reasoning.generating import Generator, generate
from tfpipeline.reasoning.oracle import rounds, solve
from tfpipeline.reasoning.problem import Problem, Rule, read

SAMPLERS = samplers.names()


def rules(*given):
    return tuple(Rule(tuple(conditions), conclusion) for conditions, conclusion in given)


def models_of(problem):
    """Whether the query is true in every truth assignment that satisfies facts and rules: the definition."""
    names = problem.predicates
    for values in itertools.product([False, True], repeat=len(names)):
        true = dict(zip(names, values))
        satisfied = all(true[fact] for fact in problem.facts) and all(
            true[rule.conclusion] or not all(true[name] for name in rule.conditions) for rule in problem.rules
        )
        if satisfied and not true[problem.query]:
            return False
    return True


def test_rounds_and_the_proof_by_hand():
    given = rules((["a"], "b"), (["b", "c"], "d"), (["d"], "e"), (["a", "c"], "d"), (["x"], "e"))
    found = solve(given, ["a", "c"], "e")
    assert found.label
    assert found.depth == 2  # d follows in the first round, by the fourth rule
    assert found.proof == rules((["a", "c"], "d"), (["d"], "e"))
    assert rounds(given, ["a", "c"])[0] == {"a": 0, "c": 0, "b": 1, "d": 1, "e": 2}


def test_a_false_query_is_as_deep_as_what_leads_to_it():
    given = rules((["a"], "b"), (["b"], "c"), (["c", "x"], "q"), (["a"], "z"), (["z"], "y"), (["y"], "w"))
    found = solve(given, ["a"], "q")
    assert not found.label
    assert found.depth == 2  # c; w is deeper, but no rule leads from it to q
    assert found.proof == ()
    assert solve(given, ["a"], "x").depth == 0


def test_a_circle_proves_nothing():
    assert not solve(rules((["a"], "b"), (["b"], "a")), [], "a").label


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_solver_agrees_with_the_definition(name):
    problems = Generator(name, seed=3, depths=(0, 3), predicates=(4, 8)).block(0, 60)
    for problem in problems:
        assert models_of(problem) == problem.label
        assert solve(problem.rules, problem.facts, problem.query).depth == problem.depth


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_proof_holds_step_by_step(name):
    for problem in Generator(name, seed=4, depths=(2, 5)).block(0, 40):
        if problem.label:
            known = set(problem.facts)
            for rule in solve(problem.rules, problem.facts, problem.query).proof:
                assert known.issuperset(rule.conditions)
                known.add(rule.conclusion)
            assert rule.conclusion == problem.query


@pytest.mark.parametrize("name", SAMPLERS)
def test_depths_and_labels_are_balanced_and_rules_differ(name):
    problems = list(generate(Generator(name, seed=1, depths=(0, 4)), 200))
    assert Counter((problem.depth, problem.label) for problem in problems) == {
        (depth, label): 20 for depth in range(5) for label in (False, True)
    }
    for problem in problems:
        keys = [(frozenset(rule.conditions), rule.conclusion) for rule in problem.rules]
        assert len(set(keys)) == len(keys)
        assert all(1 <= len(set(rule.conditions)) == len(rule.conditions) <= 3 for rule in problem.rules)
        assert all(rule.conclusion not in rule.conditions for rule in problem.rules)
        assert len(set(problem.facts)) == len(problem.facts)


def test_the_number_of_rules_tells_nothing_where_it_is_balanced():
    problems = Generator("rule_priority_balanced", seed=5, depths=(0, 3)).block(0, 200)
    by_label = {label: sorted(len(p.rules) for p in problems if p.label == label) for label in (False, True)}
    assert by_label[False] == by_label[True]


@pytest.mark.parametrize("name", ["label_priority", "label_priority_hard"])
def test_exactly_the_true_predicates_follow(name):
    from tfpipeline.reasoning.samplers import _levels

    drawn = {}
    original = _levels.draw_levels

    def remember(*arguments, **options):
        drawn["levels"] = original(*arguments, **options)
        return drawn["levels"]

    module = samplers.find(name)
    draw, module.draw_levels = module.draw_levels, remember
    try:
        for seed in range(60):
            theory = module.sample(random.Random(seed), [f"p{n}" for n in range(5 + seed % 20)])
            true = {predicate for predicate, value in drawn["levels"].true.items() if value}
            assert set(rounds(theory.rules, theory.facts)[0]) == true
    finally:
        module.draw_levels = draw


def test_hard_problems_mix_the_conditions_of_false_predicates():
    mixed = 0
    for seed in range(30):
        theory = samplers.find("label_priority_hard").sample(
            random.Random(seed), [f"p{n}" for n in range(20)]
        )
        true = set(rounds(theory.rules, theory.facts)[0])
        for rule in theory.rules:
            held = [name in true for name in rule.conditions]
            if rule.conclusion not in true:
                assert not all(held)
                mixed += any(held)
    assert mixed > 30


def test_the_same_seed_draws_the_same_with_any_number_of_processes():
    generator = Generator("label_priority", seed=7, depths=(0, 2), predicates=(5, 9))
    one = [problem.to_json() for problem in generate(generator, 1100)]
    assert one == [problem.to_json() for problem in generate(generator, 1100, processes=2)]
    other = Generator("label_priority", seed=8, depths=(0, 2), predicates=(5, 9))
    assert one != [problem.to_json() for problem in generate(other, 1100)]


def test_problems_that_do_not_fit_are_left_out():
    generator = Generator("rule_priority", depths=(0, 2), fits=lambda problem: len(problem.rules) <= 12)
    assert max(len(problem.rules) for problem in generator.block(0, 100)) <= 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sampler": "rule_prio"},
            'unknown sampler "rule_prio"; did you mean "rule_priority"?',
        ),
        (
            {"depths": (0, 30)},
            "a depth of 30 is wanted; with at most 30 predicates the limit is 12",
        ),
        ({"depths": (3, 2)}, "depths are 3 to 2; they begin at 0, and the least comes first"),
        (
            {"predicates": (3, 9)},
            "predicates are 3 to 9; the least must be 4 or more, and not above the most",
        ),
        (
            {"predicates": (5, 40)},
            "40 predicates are wanted, but there are names for 30; want fewer",
        ),
    ],
)
def test_what_cannot_be_drawn(options, message):
    with pytest.raises(UserError) as caught:
        Generator(**{"sampler": "rule_priority", **options})
    assert str(caught.value) == message


def test_a_depth_that_is_never_drawn_is_an_error(monkeypatch):
    from tfpipeline.reasoning import generating

    monkeypatch.setattr(generating, "_TRIES", 50)
    with pytest.raises(UserError, match="drew no usable problem of depth 4 with the label"):
        Generator("rule_priority", depths=(4, 4), predicates=(5, 5)).block(0, 10)


def test_lines_are_read_back(tmp_path):
    problems = Generator("random_clauses", depths=(0, 2)).block(0, 30)
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(problem.to_json()) + "\n" for problem in problems) + "\n")
    again = list(read(path))
    assert again == problems
    assert again[0].extra == {"sampler": "random_clauses"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"rules": [[["a", "b"]]], "facts": ["a"], "query": "a"}',
            'rules[0] has no conclusion; write [["a", "b"], "c"]: conditions and a conclusion',
        ),
        (
            '{"rules": [[[], "b"]], "query": "b"}',
            "rules[0] has the conditions []; write a list of 1 to 3 predicates",
        ),
        (
            '{"rules": [[["a"], "b"]], "facts": ["a"], "query": "z"}',
            'the query "z" is in no fact and no rule; write one of their predicates',
        ),
        ('{"rules": [], "facts": ["a"], "query": " "}', 'query is " "; write a predicate, a text'),
        ('{"facts": ["a"]}', "has no query; add one, a predicate"),
        (
            '{"facts": ["a"], "query": "a", "label": 0}',
            "label is 0, but the query follows; correct it or leave it out",
        ),
        (
            '{"facts": ["a"], "query": "a", "depth": 2}',
            "depth is 2, but the problem's is 0; correct it or leave it out",
        ),
        ('{"facts": "a", "query": "a"}', 'facts is "a"; write a list'),
        ("[1]", 'is not an object; write {"rules": ..., "facts": ..., "query": ...}'),
        ("{", "is not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
    ],
)
def test_lines_that_hold_no_problem(tmp_path, line, message):
    path = tmp_path / "p.jsonl"
    path.write_text('{"facts": ["a"], "query": "a"}\n' + line + "\n")
    with pytest.raises(UserError) as caught:
        list(read(path))
    text = str(caught.value)
    assert text.startswith(f"{path}:2: ")
    assert message.partition(" (")[0] in text


def test_sentences():
    problem = Problem(rules((["kind", "brave"], "calm")), ("kind", "brave"), "calm", True, 1)
    style = templates.find("en-adjectives")
    assert style.theory(problem) == "If kind and brave, then calm. Alice is kind. Alice is brave."
    assert style.question(problem) == "Alice is calm."
    people = templates.renamed(problem, templates.find("en-names").names[:3], random.Random(0))
    names = dict(zip(problem.predicates, people.predicates))
    assert set(names.values()) == {"Anna", "Ben", "Carl"}
    assert templates.find("en-names").theory(people) == (
        f"If {names['kind']} comes and {names['brave']} comes, then {names['calm']} comes. "
        f"{names['kind']} comes. {names['brave']} comes."
    )
    chinese = templates.renamed(problem, ["善良", "勇敢", "冷静"], random.Random(1))
    a, b, c = chinese.predicates
    style = templates.find("zh-adjectives")
    assert style.theory(chinese) == f"如果{a}且{b}，那么{c}。小明{a}。小明{b}。"


@pytest.mark.parametrize("name", templates.TEMPLATES)
def test_each_style_has_thirty_names(name):
    names = templates.find(name).names
    assert len(set(names)) == len(names) == 30


def test_unknown_styles():
    with pytest.raises(UserError) as caught:
        templates.find("en-name")
    assert str(caught.value) == 'unknown style "en-name"; did you mean "en-names"?'
