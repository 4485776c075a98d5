"""Problems as text: in English and Chinese, in several styles.

A style has names for up to 30 predicates and three forms of sentences: a rule, a fact and a query. Facts and
rules are the text of a row, the query is its second text. The order of facts and rules is the problem's.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Sequence
from dataclasses import dataclass

from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.reasoning.problem import Problem, Rule

_ADJECTIVES = (
    "kind brave calm clever proud honest quiet lazy strict loyal "
    "shy rude wise gentle eager messy lonely polite cheerful stubborn "
    "humble jealous generous curious patient nervous modest careful selfish friendly"
)
_COLOURS = (
    "red blue green yellow black white orange purple pink brown grey silver golden beige violet "
    "scarlet crimson turquoise ivory bronze copper lilac maroon navy olive teal amber coral indigo cream"
)
_PEOPLE = (
    "Anna Ben Carl Dora Emma Frank Grace Henry Iris Jack Kate Leo Mary Nick Olga "
    "Paul Quinn Rose Sam Tina Uma Victor Wendy Xavier Yvonne Zoe Adam Bella Clara David"
)
_ZH_ADJECTIVES = (
    "善良 勇敢 冷静 聪明 骄傲 诚实 安静 懒惰 严格 忠诚 害羞 粗鲁 明智 温柔 "
    "热心 邋遢 孤独 礼貌 开朗 固执 谦虚 嫉妒 慷慨 好奇 耐心 紧张 朴素 细心 "
    "自私 友好"
)
_ZH_COLOURS = (
    "红色 蓝色 绿色 黄色 黑色 白色 橙色 紫色 粉色 棕色 灰色 银色 金色 米色 "
    "青色 朱红 深红 碧绿 象牙 古铜 铜色 淡紫 栗色 藏青 橄榄 墨绿 琥珀 珊瑚 "
    "靛蓝 乳白"
)
_ZH_PEOPLE = (
    "小安 小白 小陈 小邓 小方 小高 小韩 小金 小柯 小林 小马 小宁 小欧 小潘 "
    "小齐 小任 小孙 小唐 小王 小徐 小杨 小周 小丁 小范 小郭 小何 小江 小孔 "
    "小刘 小梅"
)


@dataclass(frozen=True)
class Template:
    """A style of sentences.

    Attributes:
        names: of predicates, at most 30.
        rule: with ``{conditions}`` and ``{conclusion}``.
        fact, query: with ``{name}``.
        single: a predicate within a rule, with ``{name}``.
        joint: between two conditions.
        blank: between sentences.
    """

    names: Sequence[str]
    rule: str
    fact: str
    query: str
    single: str = "{name}"
    joint: str = " and "
    blank: str = " "

    def theory(self, problem: Problem) -> str:
        """The facts and rules of a problem, whose predicates are names of this style."""
        facts = [self.fact.format(name=name) for name in problem.facts]
        rules = [
            self.rule.format(
                conditions=self.joint.join(self.single.format(name=name) for name in rule.conditions),
                conclusion=self.single.format(name=rule.conclusion),
            )
            for rule in problem.rules
        ]
        return self.blank.join([*rules, *facts])

    def question(self, problem: Problem) -> str:
        """The query as a statement."""
        return self.query.format(name=problem.query)


TEMPLATES: dict[str, Template] = {
    "en-symbols": Template(
        tuple(f"p{number}" for number in range(1, 31)),
        "If {conditions} then {conclusion}.",
        "{name} holds.",
        "{name}",
    ),
    "en-adjectives": Template(
        tuple(_ADJECTIVES.split()),
        "If {conditions}, then {conclusion}.",
        "Alice is {name}.",
        "Alice is {name}.",
    ),
    "en-colours": Template(
        tuple(_COLOURS.split()),
        "Everything that is {conditions} is also {conclusion}.",
        "The box is {name}.",
        "The box is {name}.",
    ),
    "en-names": Template(
        tuple(_PEOPLE.split()),
        "If {conditions}, then {conclusion}.",
        "{name} comes.",
        "{name} comes.",
        single="{name} comes",
    ),
    "zh-symbols": Template(
        tuple(f"p{number}" for number in range(1, 31)),
        "如果 {conditions} 那么 {conclusion}。",
        "{name} 成立。",
        "{name}",
        joint=" 且 ",
        blank="",
    ),
    "zh-adjectives": Template(
        tuple(_ZH_ADJECTIVES.split()),
        "如果{conditions}，那么{conclusion}。",
        "小明{name}。",
        "小明{name}。",
        joint="且",
        blank="",
    ),
    "zh-colours": Template(
        tuple(_ZH_COLOURS.split()),
        "凡是{conditions}的东西也是{conclusion}的。",
        "盒子是{name}的。",
        "盒子是{name}的。",
        joint="且",
        blank="",
    ),
    "zh-names": Template(
        tuple(_ZH_PEOPLE.split()),
        "如果{conditions}，那么{conclusion}。",
        "{name}来。",
        "{name}来。",
        single="{name}来",
        joint="且",
        blank="",
    ),
}


def find(name: str) -> Template:
    """The style of that name.

    Raises:
        UserError: there is none.
    """
    if name not in TEMPLATES:
        raise UserError(f'unknown style "{name}"{did_you_mean(name, TEMPLATES)}')
    return TEMPLATES[name]


def renamed(problem: Problem, names: Sequence[str], random: random_module.Random) -> Problem:
    """The problem with other names for its predicates, drawn from ``names``.

    Raises:
        UserError: there are fewer names than predicates.
    """
    old = problem.predicates
    if len(old) > len(names):
        raise UserError(
            f"the problem has {len(old)} predicates, but there are only {len(names)} names for them"
        )
    new = dict(zip(old, random.sample(list(names), len(old))))
    return Problem(
        tuple(
            Rule(tuple(new[name] for name in rule.conditions), new[rule.conclusion]) for rule in problem.rules
        ),
        tuple(new[name] for name in problem.facts),
        new[problem.query],
        problem.label,
        problem.depth,
        problem.extra,
    )
