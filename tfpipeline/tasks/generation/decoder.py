"""What decoding means for a model: words as token ids, choices of requests, texts of tokens.

The loop over tokens is :mod:`tfpipeline.models.decoding`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from tfpipeline.errors import UserError
from tfpipeline.models.model_call import NEAR_TIES
from tfpipeline.tasks.generation.decoding_options import (
    LEAST_REPETITION_PENALTY,
    LEAST_TEMPERATURE,
    LEAST_TOP_P,
    MOST_SEED,
    DecodingOptions,
)
from tfpipeline.tasks.signature import TEXT, Input, Signature
from tfpipeline.text import TokenizerOptions, build_tokenizer
from tfpipeline.text.vocabulary import token_ids

if TYPE_CHECKING:
    import tensorflow as tf

    from tfpipeline.models.decoding import Choices, Rules

SIGNATURE = "generate"
UNSET = -1  # in a request: as the run says
_UNUSED = re.compile(r"\[unused\d+\]")  # places that BERT's vocabularies keep free
_MOST_NUMBERS = 1 << 22  # random numbers of a step and a source (models.row_noise)
_STEPS_OF_A_CALL = 8  # a step of the loop costs about as much as an eighth of a whole row
_COST = 4  # of a request, relative to a prediction: it may choose the most beams
_ROWS_AT_ONCE = 4


class Decoder:
    """Decodes with the options of a run.

    Args:
        options: the run's ``task.decoding``.
        max_target_length: the most tokens that the model can write.
        vocabulary: the tokens in the order of their ids.
        tokenizer: the tokenizer's options.
    Raises:
        UserError: the vocabulary cannot write a word that the options name, or is smaller than the beams.
        ValueError: the options' lengths do not fit the model.
    """

    def __init__(
        self,
        options: DecodingOptions,
        max_target_length: int,
        vocabulary: Sequence[str],
        tokenizer: TokenizerOptions,
    ) -> None:
        self.options, self.most_tokens = options, options.most_tokens(max_target_length)
        self._vocabulary, self._tokenizer = tuple(vocabulary), tokenizer
        never = {tokenizer.pad_token, tokenizer.cls_token, tokenizer.mask_token}
        if not options.allow_unknown:
            never.add(tokenizer.unk_token)
        banned = [self._ids(word, "banned_words") for word in options.banned_words]
        self._never = [
            number
            for number, token in enumerate(self._vocabulary)
            if token in never or not token or _UNUSED.fullmatch(token)
        ] + [ids[0] for ids in banned if len(ids) == 1]
        self._banned = tuple(tuple(ids) for ids in banned if len(ids) > 1)
        self._forced = tuple(
            token for word in options.forced_tokens for token in self._ids(word, "forced_tokens")
        )
        self._exempt = tuple(self._single(word) for word in options.no_repeat_exempt)
        self._check_forced()
        self._check_sizes()

    def _ids(self, word: str, field: str) -> list[int]:
        """The tokens of a word: itself, if the vocabulary has it, or what the tokenizer makes of it."""
        ids = token_ids(self._vocabulary)
        if word in ids:
            return [ids[word]]
        found: list[int] = build_tokenizer(self._vocabulary, self._tokenizer).tokenize([word]).to_list()[0]
        if not found or ids[self._tokenizer.unk_token] in found:
            raise UserError(
                f'task.decoding.{field} has "{word}", which the checkpoint\'s vocabulary cannot write; '
                "remove it"
            )
        return found

    def _single(self, word: str) -> int:
        ids = self._ids(word, "no_repeat_exempt")
        if len(ids) > 1:
            raise UserError(
                f'task.decoding.no_repeat_exempt has "{word}", which is {len(ids)} tokens; only single '
                "tokens of the vocabulary can be exempt"
            )
        return ids[0]

    def _check_forced(self) -> None:
        """Refuse a beginning that is a whole text, or that has what no text may contain."""
        forced, never = self._forced, {*self._never, token_ids(self._vocabulary)[self._tokenizer.sep_token]}
        if len(forced) >= self.most_tokens:
            raise UserError(
                f"task.decoding.forced_tokens are {len(forced)} tokens, but a text has at most "
                f"{self.most_tokens} (max_new_tokens, max_target_length), so nothing would be written behind "
                "them; shorten them or raise the most"
            )
        for token in forced:
            if token in never:
                raise UserError(
                    f'task.decoding.forced_tokens has "{self._vocabulary[token]}", which no text may '
                    "contain; remove it from there, or from banned_words"
                )
        for banned in self._banned:
            if any(forced[start : start + len(banned)] == banned for start in range(len(forced))):
                words = " ".join(self._vocabulary[token] for token in banned)
                raise UserError(
                    f'task.decoding.forced_tokens has "{words}", which banned_words bans; remove one of the '
                    "two"
                )

    def _check_sizes(self) -> None:
        options, size = self.options, len(self._vocabulary)
        written = size - len(set(self._never))
        if options.num_beams > written:
            raise UserError(
                f"task.decoding.num_beams is {options.num_beams}, but the vocabulary has only {written} "
                "tokens that a text may contain; lower it"
            )
        if options.width * size > _MOST_NUMBERS:
            raise UserError(
                f"task.decoding asks for {options.width} beams or texts of each source; with this vocabulary "
                f"of {size} tokens it may be at most {_MOST_NUMBERS // size}"
            )

    @functools.cached_property
    def _rules(self) -> Rules:
        from tfpipeline.models.decoding import Rules

        return Rules(
            end=token_ids(self._vocabulary)[self._tokenizer.sep_token],
            vocabulary=len(self._vocabulary),
            most_tokens=self.most_tokens,
            width=self.options.width,
            returned=self.options.num_return_sequences,
            never=tuple(sorted(set(self._never))),
            forced=self._forced,
            banned=self._banned,
            exempt=self._exempt,
            early_stopping=self.options.early_stopping,
        )

    @property
    def defaults(self) -> dict[str, Any]:
        """The run's own choices, by the names of the signature's inputs."""
        from tfpipeline.models.decoding import CHOICES

        own = {name: getattr(self.options, name) for name in CHOICES if name != "max_new_tokens"}
        return {name: own.get(name, self.most_tokens) for name in CHOICES}

    @property
    def cost(self) -> int:
        """See :class:`tfpipeline.tasks.Task`."""
        return 1 + self.most_tokens // _STEPS_OF_A_CALL

    def card(self) -> dict[str, Any]:
        """The entry of a model card: the run's own choices and rules."""
        return {"decoding": {**self.options.model_dump(mode="json"), "max_new_tokens": self.most_tokens}}

    def generate(
        self,
        call: Any,
        choices: Optional[Mapping[str, tf.Tensor]] = None,
        tolerance: Optional[float] = None,
    ) -> dict[str, tf.Tensor]:
        """Write texts; see :func:`tfpipeline.models.decoding.generate`.

        Args:
            call: the model and the batch.
            choices: those of each source, [B], by the names of the signature's inputs; ``UNSET`` for the
                run's own. By default all are the run's.
            tolerance: the largest difference of log-probabilities that counts as rounding.
        """
        from tfpipeline.models.decoding import generate

        return generate(call, self._rules, self._choices(choices), tolerance)

    def _choices(self, given: Optional[Mapping[str, tf.Tensor]]) -> Choices:
        import tensorflow as tf

        from tfpipeline.models.decoding import CHOICES, Choices

        if given is None:
            return Choices(**self.defaults)
        return Choices(
            **{
                name: tf.where(tf.equal(given[name], UNSET), tf.cast(own, CHOICES[name]), given[name])
                for name, own in self.defaults.items()
            }
        )

    def texts(self, outputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The texts of generated tokens, string [B, N]; "" where there is none."""
        from tfpipeline.text.detokenizer import Detokenizer

        return Detokenizer(self._vocabulary, self._tokenizer)(outputs["tokens"], outputs["lengths"])

    def predictions(self, outputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """``text``, string [B], the first text of each source, and its ``score``, float32 [B]."""
        first = {name: outputs[name][:, :1] for name in ("tokens", "lengths")}
        return {"text": self.texts(first)[:, 0], "score": outputs["scores"][:, 0]}

    def near_ties(
        self, call: Any, tolerance: float, choices: Optional[Mapping[str, tf.Tensor]] = None
    ) -> tf.Tensor:
        """The sources, bool [B], whose texts rounding may change; arguments as of :meth:`generate`."""
        return self.generate(call, choices, tolerance)[NEAR_TIES]

    def signatures(self) -> dict[str, Signature]:
        """``generate``: ``text`` string [B] and the choices, [B] each -> ``texts`` string [B, N], ``scores``
        float32 [B, N] and ``count`` int32 [B], how many of the N there are.

        Each row has choices of its own, because servers join the rows of several callers; -1 means the run's
        own choice.
        """
        return {
            SIGNATURE: Signature(
                self._inputs(), self._answer, cost=_COST * self.cost, near_ties=self._near_ties
            )
        }

    def _inputs(self) -> dict[str, Input]:
        most, width = self.most_tokens, self.options.width

        def number(dtype: str, least: float, limit: Optional[float], *examples: float) -> Input:
            return Input(dtype, least=least, most=limit, unset=UNSET, examples=(UNSET, *examples))

        return {
            "text": TEXT,
            "seed": number("int32", 0, MOST_SEED, 1, 2),
            "do_sample": number("int32", 0, 1, 0, 1),
            "temperature": number("float32", LEAST_TEMPERATURE, None, 0.7),
            "top_k": number("int32", 0, None, 20),
            "top_p": number("float32", LEAST_TOP_P, 1, 0.9),
            "num_beams": number("int32", 1, width, 1, width),
            "min_new_tokens": number("int32", 0, most, 2),
            "max_new_tokens": number("int32", 1, most, most),
            "length_penalty": number("float32", 0, None, 0.5),
            "no_repeat_ngram_size": number("int32", 0, most, 3),
            "repetition_penalty": number("float32", LEAST_REPETITION_PENALTY, None, 1.2),
        }

    def _answer(self, graph: Any, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        choices = {name: tensor for name, tensor in inputs.items() if name != "text"}
        call = graph.call(graph.text_inputs({"text": inputs["text"]}))
        outputs = self.generate(call, choices)
        return {"texts": self.texts(outputs), "scores": outputs["scores"], "count": outputs["count"]}

    def _near_ties(
        self, graph: Any, asked: Mapping[str, np.ndarray], outputs: Any, tolerance: float
    ) -> np.ndarray:
        import tensorflow as tf

        near = []
        for start in range(0, len(asked["text"]), _ROWS_AT_ONCE):
            part = {
                name: tf.constant(values[start : start + _ROWS_AT_ONCE]) for name, values in asked.items()
            }
            texts = part.pop("text")
            call = graph.call(graph.text_inputs({"text": texts}))
            near.append(self.near_ties(call, tolerance, part).numpy())
        return np.concatenate(near)
