"""Writing texts in the graph: with and without the cache, by beams, and beside transformers in PyTorch.

    python -m benchmarks.generate [--rounds N] [--torch PYTHON]

MiniLM with an untrained head writes 64 tokens for each of 8 sources of 64 tokens. One JSON line per
comparison; two ways are timed alternately on the same sources. ``speed_ratio`` is the median of the peer's
time over ours.

- greedy, peer ``no cache``: each token from a call of the model on all tokens before it. Goal: at least 5.
- 4 beams, peer ``greedy``. Goal: at least a third.
- greedy and 4 beams, peer ``transformers``: its ``generate`` of a BERT of the same size that is a decoder,
  with its cache, in the environment of ``make parity``. Goal of greedy: at least 1.5.
- greedy in bfloat16, peers ``greedy`` and ``transformers in bfloat16``: the encoder's weights and products in
  bfloat16; the peer's whole model.
- memory: the keys and values of the tokens, in MB, and what arithmetic says: 2 L H numbers of 4 bytes for
  each token of a source and for each token of a beam.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from benchmarks._measure import report, side_by_side
from examples.packaged import minilm
from tfpipeline.runtime import import_tensorflow

BATCH, SOURCE, TOKENS, BEAMS = 8, 64, 64, 4
CACHE, NO_CACHE, BEAM, TORCH = "greedy", "no cache", f"{BEAMS} beams", "transformers"
SHORT, TORCH_SHORT = "greedy in bfloat16", "transformers in bfloat16"

Way = Callable[[np.ndarray], object]


class Writer:
    """A served model that writes.

    Args:
        checkpoint: a checkpoint's folder; the weights of the head are random.
        tokens: L, the number of tokens of every text.
        precision: "float32" or "bfloat16", of the encoder.
    """

    def __init__(self, checkpoint: Path, tokens: int, precision: str = "float32") -> None:
        from tfpipeline import checkpoints
        from tfpipeline.models import TextModel
        from tfpipeline.models.generation_head import GenerationHead

        loaded = checkpoints.load(checkpoint)
        config = self.config = loaded.config
        self._tokens, self._end = tokens, loaded.vocabulary.index(loaded.tokenizer.sep_token)
        head = GenerationHead(
            config.vocab_size,
            tokens=config.vocab_size,
            mask_id=None,
            most_tokens=tokens,
            hidden_act=config.hidden_act,
            layer_norm_eps=config.layer_norm_eps,
            stddev=0.3,  # else every token is the same
        )
        self.model = TextModel(loaded.encoder(), head).for_serving(precision)

    def inputs(self, ids: Any) -> dict[str, Any]:
        """The model's inputs for sources without padding, int32 [B, S]."""
        tf = import_tensorflow()
        zeros = tf.zeros_like(ids)
        return {"input_ids": ids, "token_type_ids": zeros, "attention_mask": tf.ones_like(ids)}

    def way(self, beams: int) -> Way:
        """Writes with the cache: sources int32 [B, S] -> tokens int32 [B, L]."""
        tf = import_tensorflow()
        from tfpipeline.models.decoding import Choices, Rules, generate
        from tfpipeline.models.model_call import ModelCall

        size, length = self.config.vocab_size, self._tokens
        rules = Rules(end=self._end, vocabulary=size, most_tokens=length, width=beams)
        choices = Choices(num_beams=beams, min_new_tokens=length, max_new_tokens=length)

        @tf.function(reduce_retracing=True, autograph=False)
        def write(ids: Any) -> Any:
            call = ModelCall(self.model, self.inputs(ids))
            return generate(call, rules, choices)["tokens"][:, 0]

        return lambda ids: write(tf.constant(ids)).numpy()

    def without_cache(self) -> Way:
        """Writes the most likely tokens, each from a call of the model on all before it."""
        tf = import_tensorflow()
        from tfpipeline.models.inputs import CAUSAL_MASK

        @tf.function(reduce_retracing=True, autograph=False)
        def write(ids: Any) -> Any:
            source = tf.shape(ids)[1]

            def body(ids: Any) -> tuple[Any]:
                written = tf.cast(tf.range(tf.shape(ids)[1]) >= source, tf.int32)
                causal = tf.zeros_like(ids) + written
                inputs = {**self.inputs(ids), "token_type_ids": causal, CAUSAL_MASK: causal}
                logits = self.model(inputs, training=False)["logits"][:, 0]
                ends = tf.one_hot(self._end, tf.shape(logits)[1], on_value=float("-inf"), off_value=0.0)
                following = tf.argmax(logits + ends, axis=-1, output_type=tf.int32)
                return (tf.concat([ids, following[:, None]], axis=1),)

            (ids,) = tf.while_loop(
                lambda ids: tf.shape(ids)[1] < source + self._tokens,
                body,
                (ids,),
                shape_invariants=(tf.TensorShape([None, None]),),
            )
            return ids[:, source:]

        return lambda ids: write(tf.constant(ids)).numpy()

    def cache_bytes(self, ids: np.ndarray, beams: int) -> int:
        """The size of the keys and values that are kept when all tokens are written."""
        tf = import_tensorflow()
        from tfpipeline.models.model_call import ModelCall

        call = ModelCall(self.model, self.inputs(tf.constant(ids)))
        _, state = call.start(beams)
        for _ in range(self._tokens - 1):
            _, state = call.step(state, tf.fill([len(ids), beams], 1000 % self.config.vocab_size))
        kept = tf.nest.flatten([state.source, state.target])
        return sum(int(tf.size(tensor)) * tensor.dtype.size for tensor in kept)


@contextlib.contextmanager
def torch_ways(
    python: Path, folder: Path, tokens: int, precision: str = "float32"
) -> Iterator[Mapping[int, Way]]:
    """Number of beams -> transformers' ``generate`` in another process."""
    process = subprocess.Popen(
        [str(python), "-m", "benchmarks._torch_generate", str(folder / "config.json"), precision],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "USE_TF": "0"},  # transformers loads TensorFlow too, which nothing here needs
    )
    assert process.stdin is not None
    assert process.stdout is not None
    asked, answers = process.stdin, process.stdout

    def way(beams: int) -> Way:
        def write(ids: np.ndarray) -> None:
            lengths = {"max_new_tokens": tokens, "min_new_tokens": tokens, "num_beams": beams}
            asked.write(json.dumps({"input_ids": ids.tolist(), **lengths}) + "\n")
            asked.flush()
            written = answers.readline()
            if int(written or 0) != len(ids) * tokens:
                raise RuntimeError(f"transformers wrote {written!r} tokens")

        return write

    try:
        if answers.readline().strip() != "ready":
            raise RuntimeError(f"transformers did not start with {python}")
        yield {beams: way(beams) for beams in (1, BEAMS)}
    finally:
        asked.close()
        process.wait(60)


def arithmetic_bytes(config: Any, batch: int, source: int, tokens: int, beams: int) -> int:
    """Keys and values of all tokens that are read; the last token of a text is not."""
    kept = source + beams * (tokens - 1)
    return 2 * int(config.num_hidden_layers) * int(config.hidden_size) * 4 * batch * kept


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Writing texts in the graph.")
    parser.add_argument("--checkpoint", type=Path, help="by default the packaged MiniLM")
    parser.add_argument("--rounds", type=int, default=9, help="batches that are timed")
    parser.add_argument("--source", type=int, default=SOURCE, help="tokens of a source")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens of a text")
    parser.add_argument(
        "--torch", type=Path, default=Path(".venv-parity/bin/python"), help="a Python with transformers"
    )
    chosen = parser.parse_args(arguments)
    checkpoint, source, tokens = chosen.checkpoint or minilm(), chosen.source, chosen.tokens
    writer = Writer(checkpoint, tokens)
    ways = {CACHE: writer.way(1), NO_CACHE: writer.without_cache(), BEAM: writer.way(BEAMS)}
    random = np.random.default_rng(0)
    size = writer.config.vocab_size
    sources = random.integers(1000 % size, size, (chosen.rounds + 1, BATCH, source), np.int32)
    with contextlib.ExitStack() as stack:
        peers: Mapping[int, Way] = {}
        short_peers: Mapping[int, Way] = {}
        if chosen.torch.exists():
            peers = stack.enter_context(torch_ways(chosen.torch, checkpoint, tokens))
            short_peers = stack.enter_context(torch_ways(chosen.torch, checkpoint, tokens, "bfloat16"))
        else:
            print(f"without transformers: there is no {chosen.torch}; make parity makes it", flush=True)
        _compare(ways, CACHE, NO_CACHE, sources, tokens)
        _compare(ways, BEAM, CACHE, sources, tokens)
        for beams, own in ((1, CACHE), (BEAMS, BEAM)):
            if peers:
                _compare({own: ways[own], TORCH: peers[beams]}, own, TORCH, sources, tokens)
        short = Writer(checkpoint, tokens, "bfloat16").way(1)
        _compare({SHORT: short, CACHE: ways[CACHE]}, SHORT, CACHE, sources, tokens)
        if short_peers:
            _compare({SHORT: short, TORCH_SHORT: short_peers[1]}, SHORT, TORCH_SHORT, sources, tokens)
    for beams, case in ((1, CACHE), (BEAMS, BEAM)):
        kept = writer.cache_bytes(sources[0], beams)
        expected = arithmetic_bytes(writer.config, BATCH, source, tokens, beams)
        report(
            benchmark="generate",
            case=f"memory of {case}",
            batch=BATCH,
            megabytes=round(kept / 2**20, 3),
            alone_megabytes=round(expected / 2**20, 3),
            megabytes_ratio=round(kept / expected, 3),
        )


def _compare(ways: Mapping[str, Way], own: str, peer: str, sources: np.ndarray, tokens: int) -> None:
    measured = side_by_side({name: ways[name] for name in (own, peer)}, list(sources), baseline=peer)
    time, peer_time = (measured[way]["milliseconds"] for way in (own, peer))
    report(
        benchmark="generate",
        case=own,
        batch=sources.shape[1],
        peer=peer,
        tokens=tokens,
        tokens_per_second=round(1e3 * sources.shape[1] * tokens / time, 1),
        milliseconds=time,
        peer_milliseconds=peer_time,
        speed_ratio=measured[own]["speed_ratio"],
    )


if __name__ == "__main__":
    main()
