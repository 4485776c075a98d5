"""The special tokens around the texts of a row; imports no framework."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfpipeline.errors import UserError

ROLES = ("cls_token", "sep_token", "mask_token", "unk_token", "pad_token")


@dataclasses.dataclass(frozen=True)
class Template:
    """The special tokens of a row: ``before A after`` for one text, ``before A between B after`` for a pair.

    The default is BERT's, ``[CLS] A [SEP]`` and ``[CLS] A [SEP] B [SEP]``. RoBERTa's ``<s> A </s></s> B
    </s>`` has two tokens between its texts.

    Token types need no field. They number the texts, 0 and 1, and a special token has the type of the text
    before it (those before the first text have its type). Windows and tasks use them to distinguish the texts
    of a pair, so they are the same for an encoder without token types, which ignores them.

    Attributes:
        before, between, after: roles of special tokens, each the name of a field of ``TokenizerOptions``
            (``cls_token``, ``sep_token``); any number of them, or none.
    Raises:
        UserError: a role does not exist.
    """

    before: tuple[str, ...] = ("cls_token",)
    between: tuple[str, ...] = ("sep_token",)
    after: tuple[str, ...] = ("sep_token",)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            roles = getattr(self, field.name)
            if isinstance(roles, str) or not isinstance(roles, Sequence) or not set(roles) <= set(ROLES):
                raise UserError(
                    f"template: {field.name} is {roles!r}; it must be a list of roles, such as "
                    f"{', '.join(ROLES[:2])}"
                )
            object.__setattr__(self, field.name, tuple(roles))

    def groups(self, pair: bool) -> tuple[tuple[str, ...], ...]:
        """The roles before the first text, and those after each text."""
        return (self.before, self.between, self.after) if pair else (self.before, self.after)

    def count(self, pair: bool) -> int:
        """The number of special tokens of a row."""
        return sum(map(len, self.groups(pair)))

    def in_front(self, pair: bool) -> int:
        """The number of special tokens before the last text of a row."""
        return self.count(pair) - len(self.after)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values; :meth:`from_dict` is the inverse."""
        return {field.name: list(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, values: Any) -> Template:
        """The inverse of :meth:`to_dict`.

        Raises:
            UserError: it is not a mapping of the three fields to roles.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, Mapping) or set(values) != names:
            raise UserError(f"template is {values!r}; it must be a mapping of {', '.join(sorted(names))}")
        return cls(**values)


BERT = Template()
