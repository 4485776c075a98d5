"""The ``decoding`` section of the task generation: how a text is written, token by token.

The names are those of transformers' ``GenerationConfig`` wherever it has the option. Imports no TensorFlow.
"""

from __future__ import annotations

from typing import Optional

from pydantic import Field, model_validator

from tfpipeline.config import Section

MOST_SEED = 2**31 - 1
# The least values, which a request may choose, too: smaller ones would overflow float32.
LEAST_TEMPERATURE, LEAST_TOP_P, LEAST_REPETITION_PENALTY = 0.001, 1e-6, 0.01


class DecodingOptions(Section):
    """How a text is written. The values are the model's defaults; a request to the signature ``generate`` may
    choose others.

    A text ends with [SEP], or after ``max_new_tokens``. Its score is the sum of the logarithms of its tokens'
    probabilities, divided by their number to the power of ``length_penalty``; [SEP] counts as a token.
    """

    num_beams: int = Field(
        1, ge=1, le=64, description="Number of beams of the search; 1: the most likely token each time."
    )
    do_sample: bool = Field(
        False, description="Whether tokens are drawn at random by their probability, instead of a search."
    )
    temperature: float = Field(
        1.0,
        ge=LEAST_TEMPERATURE,
        description="do_sample: logits are divided by it; below 1 likely tokens become likelier.",
    )
    top_k: int = Field(
        0, ge=0, description="do_sample: draws only from this many of the most likely tokens; 0: from all."
    )
    top_p: float = Field(
        1.0,
        ge=LEAST_TOP_P,
        le=1,
        description="do_sample: draws only from the most likely tokens that together have this probability.",
    )
    length_penalty: float = Field(
        1.0,
        ge=0,
        description="Power of the length by which a score is divided: 0 favours short texts, 2 long ones.",
    )
    early_stopping: bool = Field(
        True,
        description="Whether a search of several beams ends once it has num_beams complete texts; false: "
        "once no better text is likely.",
    )
    min_new_tokens: int = Field(0, ge=0, description="Fewest tokens of a text.")
    max_new_tokens: Optional[int] = Field(
        None, ge=1, description="Most tokens of a text; null: max_target_length."
    )
    no_repeat_ngram_size: int = Field(
        0, ge=0, description="No sequence of this many tokens occurs twice in a text; 0: any may."
    )
    no_repeat_exempt: list[str] = Field(
        [], description="Words that may be part of a repeated sequence; each is one token of the vocabulary."
    )
    repetition_penalty: float = Field(
        1.0,
        ge=LEAST_REPETITION_PENALTY,
        description="The log-probability of tokens that the text already has is multiplied by it; 1: none.",
    )
    forced_tokens: list[str] = Field(
        [], description="What every text begins with: tokens of the vocabulary, or words."
    )
    banned_words: list[str] = Field(
        [], description="Words that no text contains, of one or more tokens each."
    )
    allow_unknown: bool = Field(False, description="Whether a text may contain [UNK].")
    num_return_sequences: int = Field(
        1, ge=1, le=64, description="Number of texts that the signature generate gives for each source."
    )
    seed: int = Field(0, ge=0, le=MOST_SEED, description="do_sample: the same seed gives the same text.")

    @model_validator(mode="after")
    def _fits_together(self) -> DecodingOptions:
        if self.do_sample and self.num_beams > 1:
            raise ValueError(
                f"do_sample is true, but num_beams is {self.num_beams}; draw several texts with "
                "num_return_sequences, or set do_sample to false"
            )
        if not self.do_sample and self.num_return_sequences > self.num_beams:
            raise ValueError(
                f"num_return_sequences is {self.num_return_sequences}, but a search of num_beams "
                f"{self.num_beams} finds no more texts than that; raise num_beams, or set do_sample to true"
            )
        if self.max_new_tokens is not None:
            self.most_tokens(self.max_new_tokens)
        return self

    def most_tokens(self, max_target_length: int) -> int:
        """The most tokens of a text.

        Args:
            max_target_length: the most tokens that the model can write.
        Raises:
            ValueError: ``max_new_tokens`` is more than that, or less than ``min_new_tokens``.
        """
        most = max_target_length if self.max_new_tokens is None else self.max_new_tokens
        name = "max_target_length" if self.max_new_tokens is None else "max_new_tokens"
        if most > max_target_length:
            raise ValueError(
                f"max_new_tokens is {most}, but max_target_length is {max_target_length}; lower the one or "
                "raise the other"
            )
        if self.min_new_tokens > most:
            raise ValueError(
                f"min_new_tokens is {self.min_new_tokens}, but {name} is {most}; lower min_new_tokens"
            )
        return most

    @property
    def width(self) -> int:
        """The most beams or drawn texts of a source, W."""
        return max(self.num_beams, self.num_return_sequences)
