"""Speed of the tokenizer compared with peers.

    make bench
    python -m benchmarks.tokenize [--rounds N]

Peers, in one process and alternately, on VADER tweets and on film and product reviews:

- tensorflow-text's ``FastBertTokenizer`` (not exact: half of all hostile strings differ), in a
  ``tf.function`` like ours, as in an exported model; if it is not installed, a line says so;
- transformers' fast tokenizer (Rust), the reference; its whole ``__call__``, with lists of ids.

One JSON line per measurement: ``speed_ratio`` is the peer's time over ours, so above 1 we are faster. Goals:
0.4 / 0.3 / 0.4 of FastBertTokenizer at batch 1 / 32 / 256, the reference's speed at 256, built in under 1 s.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any, Optional

from benchmarks._measure import report, side_by_side
from examples.packaged import minilm, vader
from tfpipeline.runtime import import_tensorflow
from tfpipeline.text import TokenizerOptions, load_vocabulary

BATCH_SIZES = (1, 32, 256)
OURS, FAST_BERT, REFERENCE = "tfpipeline", "tensorflow-text FastBertTokenizer", "transformers fast"


def texts(*names: str) -> list[str]:
    """The texts of some VADER files."""
    return [
        line.split("\t", 2)[2]
        for name in names
        for line in vader(name).read_text("utf-8-sig").splitlines()
        if line.count("\t") >= 2
    ]


def fast_bert(vocabulary: Sequence[str]) -> Optional[Callable[[Any], Any]]:
    """tensorflow-text's tokenizer as a compiled function, or None if it is not installed."""
    tf = import_tensorflow()
    try:
        import tensorflow_text
    except ImportError as error:
        print(f"without tensorflow-text, which is not installed ({error}); make bench installs it")
        return None
    tokenizer = tensorflow_text.FastBertTokenizer(
        vocab=list(vocabulary), lower_case_nfd_strip_accents=True, support_detokenization=False
    )
    return tf.function(tokenizer.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])


def reference(vocabulary: Sequence[str]) -> Callable[[list[str]], Any]:
    """transformers' fast tokenizer, without special tokens."""
    from transformers import BertTokenizerFast

    tokenizer = BertTokenizerFast(vocab={token: i for i, token in enumerate(vocabulary)})
    return lambda batch: tokenizer(batch, add_special_tokens=False)


def batches(corpus: Sequence[str], size: int, rounds: int) -> list[list[str]]:
    """`rounds` + 1 batches of `size` texts; if the corpus is too short, it is repeated."""
    return [[corpus[(i * size + j) % len(corpus)] for j in range(size)] for i in range(rounds + 1)]


def main(arguments: Optional[list[str]] = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of the tokenizer compared with its peers.")
    parser.add_argument("--rounds", type=int, default=200, help="batches of each size that are timed")
    rounds = parser.parse_args(arguments).rounds

    tf = import_tensorflow()
    from tfpipeline.text import WordPieceTokenizer

    vocabulary = load_vocabulary(minilm() / "vocab.txt")
    WordPieceTokenizer(vocabulary, TokenizerOptions())  # not to time what TensorFlow loads at its first use
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        ours = WordPieceTokenizer(vocabulary, TokenizerOptions())
        seconds.append(time.perf_counter() - start)
    report(benchmark="tokenize/build", tokens=len(vocabulary), seconds=round(sorted(seconds)[1], 3))

    peers: dict[str, Callable[[Any], Any]] = {}
    if (theirs := fast_bert(vocabulary)) is not None:
        peers[FAST_BERT] = theirs
    rust = reference(vocabulary)
    corpora = {"tweets": texts("tweets"), "reviews": texts("movie", "amazon")}
    for corpus, lines in corpora.items():
        for size in BATCH_SIZES:
            inputs = [(batch, tf.constant(batch)) for batch in batches(lines, size, rounds)]
            ways: dict[str, Callable[[Any], object]] = {OURS: lambda item: ours.tokenize(item[1])}
            ways |= {name: lambda item, peer=peer: peer(item[1]) for name, peer in peers.items()}  # type: ignore[misc]
            ways[REFERENCE] = lambda item: rust(item[0])
            measured = side_by_side(ways, inputs, baseline=OURS)
            for name, figures in measured.items():
                if name != OURS:
                    report(
                        benchmark="tokenize",
                        corpus=corpus,
                        batch=size,
                        peer=name,
                        milliseconds=measured[OURS]["milliseconds"],
                        peer_milliseconds=figures["milliseconds"],
                        speed_ratio=round(1 / figures["speed_ratio"], 3),
                    )


if __name__ == "__main__":
    main()
