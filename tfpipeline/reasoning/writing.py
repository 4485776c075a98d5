"""Writes drawn problems as rows of data: JSON lines with the texts, the label and the problem."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tfpipeline import paths
from tfpipeline.console import progress, say
from tfpipeline.errors import UserError
from tfpipeline.files import atomic_file
from tfpipeline.paths import AnyPath
from tfpipeline.reasoning import templates
from tfpipeline.reasoning.generating import Generator, generate
from tfpipeline.reasoning.problem import Problem


def write_problems(
    to: AnyPath,
    *,
    sampler: str = "rule_priority",
    style: str = "en-adjectives",
    count: int = 1000,
    depths: tuple[int, int] = (0, 6),
    predicates: tuple[int, int] = (5, 30),
    seed: int = 0,
    processes: int = 1,
    checkpoint: AnyPath | None = None,
    max_length: int | None = None,
) -> Path:
    """Draw problems and write them.

    Args:
        to: the file, ``.jsonl``; it appears once it is complete.
        sampler: see :mod:`tfpipeline.reasoning.samplers`.
        style: see :data:`tfpipeline.reasoning.templates.TEMPLATES`.
        count, depths, predicates, seed: see :class:`tfpipeline.reasoning.generating.Generator`.
        processes: number of processes.
        checkpoint: problems of more tokens than it has positions are left out and counted. They are never
            cut: a cut problem has no label.
        max_length: the greatest number of tokens instead.
    Returns:
        The file.
    Raises:
        UserError: an option is wrong, the file exists, or no problem of some depth is short enough.
    """
    path = paths.local(to)
    if path.suffix != ".jsonl":
        raise UserError(f"{to} is the file to write; give it the ending .jsonl")
    if path.exists():
        raise UserError(f"{to} exists; choose another file, or remove it first")
    if max_length is not None and checkpoint is None:
        raise UserError("--max-length counts the tokens of a checkpoint; name it with --checkpoint")
    if processes > 1 and checkpoint is not None:
        raise UserError("--processes cannot be used with --checkpoint, whose tokens one process counts")
    template = templates.find(style)
    fits = None if checkpoint is None else _Limit(template, checkpoint, max_length)
    generator = Generator(sampler, seed, depths, predicates, template.names, fits)
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8") as file,
        progress(f"drawing {path.name}", count) as bar,
    ):
        for problem in generate(generator, count, processes=processes):
            file.write(json.dumps(row(problem, template), ensure_ascii=False) + "\n")
            bar.advance(1)
    if fits is not None and fits.refused:
        say(f"{fits.refused:,} problems of more than {fits.most} tokens were left out")
    return path


def row(problem: Problem, template: templates.Template) -> dict[str, object]:
    """A row of data: the texts, the label, and the fields of the problem."""
    texts = {"text": template.theory(problem), "text_pair": template.question(problem)}
    return {**texts, **problem.to_json()}


def span(option: str, text: str) -> tuple[int, int]:
    """Two numbers of the command line, ``0-6``, or one number for both.

    Raises:
        UserError: it is neither.
    """
    found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", text)
    if found is None:
        raise UserError(f'{option} is "{text}"; write two numbers, such as 0-6')
    return int(found[1]), int(found[2] or found[1])


class _Limit:
    """Whether a problem's text is short enough for a checkpoint."""

    def __init__(self, template: templates.Template, source: AnyPath, max_length: int | None) -> None:
        from tfpipeline import checkpoints
        from tfpipeline.text import build_tokenizer

        checkpoint = checkpoints.load(source)
        positions = checkpoint.config.max_position_embeddings
        if max_length is not None and max_length > positions:
            raise UserError(f"--max-length is {max_length}, but {source} has only {positions} positions")
        self.most, self.refused = max_length or positions, 0
        self._template = template
        self._tokenizer = build_tokenizer(checkpoint.vocabulary, checkpoint.tokenizer)
        self._special = checkpoint.tokenizer.template.count(True)

    def __call__(self, problem: Problem) -> bool:
        texts = [self._template.theory(problem), self._template.question(problem)]
        fits = len(self._tokenizer.tokenize(texts).values) + self._special <= self.most
        self.refused += not fits
        return fits
