"""A toy language model whose logits are a function of the prefix, and a slow search in NumPy over it.

The model is a table [S, H, V]: the logits of source s after a prefix of hash h. The search shares no code
with the package: it lists all continuations of all beams of one source, and sorts them in Python.
"""

from __future__ import annotations

import numpy as np

SPREAD = 101  # H


def hashed(prefix):
    value = 0
    for token in prefix:
        value = (31 * value + 7 * int(token) + 1) % SPREAD
    return value


class ToyCall:
    """The model as decoding calls it; counts what it is asked when it runs eagerly.

    Args:
        table: [S, H, V].
        sources: which of the S each row of the batch is.
    """

    def __init__(self, table, sources):
        import tensorflow as tf

        self.tf, self.table = tf, tf.convert_to_tensor(table)
        self.sources = tf.convert_to_tensor(sources, tf.int32)
        self.steps, self.kept, self.reordered = [], [], 0

    def start(self, width):
        tf = self.tf
        hashes = tf.zeros([tf.shape(self.sources)[0], width], tf.int32)
        return self._logits(self.sources, hashes)[:, 0], {"source": self.sources, "hash": hashes}

    def step(self, state, tokens):
        self.steps.append(tokens.shape[0])
        hashes = (31 * state["hash"] + 7 * tokens + 1) % SPREAD
        return self._logits(state["source"], hashes), {"source": state["source"], "hash": hashes}

    def reorder(self, state, beams):
        self.reordered += 1
        return {**state, "hash": self.tf.gather(state["hash"], beams, batch_dims=1)}

    def keep(self, state, rows):
        self.kept.append(rows.shape[0])
        return {name: self.tf.gather(tensor, rows) for name, tensor in state.items()}

    def _logits(self, sources, hashes):
        tf = self.tf
        places = tf.stack([tf.broadcast_to(sources[:, None], tf.shape(hashes)), hashes], axis=-1)
        return tf.gather_nd(self.table, places)


def toy_logits(table, source):
    """Prefix -> the logits of the next token."""
    return lambda prefix: table[source, hashed(prefix)]


def reference(logits, rules, choices, noise=None):
    """The texts of one source: [(score, tokens)], without [SEP].

    Args:
        logits: prefix, a tuple of tokens -> the logits of the next token, [V].
        rules, choices: dicts with the fields of ``Rules`` and ``Choices``.
        noise: step -> uniform numbers [W, V], for texts that are drawn.
    """
    if choices["do_sample"]:
        return [_drawn(logits, rules, choices, noise, slot) for slot in range(rules["returned"])]
    texts = _searched(logits, rules, choices)
    return texts[: rules["returned"]]


def _log_probabilities(logits, rules, choices, prefix):
    found = np.asarray(logits(prefix), np.float64)
    own = found - (found.max() + np.log(np.exp(found - found.max()).sum()))
    result = own.copy()
    for token in set(prefix):
        result[token] = own[token] * choices["repetition_penalty"]
    for token in range(len(result)):
        if token in rules["never"] or token >= rules["vocabulary"]:
            result[token] = -np.inf
        if _repeats([*prefix, token], choices["no_repeat_ngram_size"], rules["exempt"]):
            result[token] = -np.inf
        for word in rules["banned"]:
            if tuple([*prefix, token][-len(word) :]) == tuple(word):
                result[token] = -np.inf
    if len(prefix) < choices["min_new_tokens"]:
        result[rules["end"]] = -np.inf
    if len(prefix) < len(rules["forced"]):
        result[:] = -np.inf
        result[rules["forced"][len(prefix)]] = 0.0
    if np.isinf(result).all():
        result[rules["end"]] = own[rules["end"]]
    return result


def _repeats(tokens, size, exempt):
    """Whether the last n-gram occurred before, and none of its tokens is exempt."""
    if size == 0 or len(tokens) < size:
        return False
    grams = [tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1)]
    return grams[-1] in grams[:-1] and not set(grams[-1]) & set(exempt)


def _searched(logits, rules, choices):
    width, penalty = choices["num_beams"], choices["length_penalty"]
    early = rules["early_stopping"] or width == 1
    beams, texts = [(0.0, ())], []
    for length in range(1, choices["max_new_tokens"] + 1):
        candidates = []
        for number, (score, prefix) in enumerate(beams):
            scores = _log_probabilities(logits, rules, choices, prefix)
            candidates += [
                (score + more, number, token) for token, more in enumerate(scores) if more > -np.inf
            ]
        candidates.sort(key=lambda one: (-one[0], one[1], one[2]))
        onward = []
        for rank, (score, number, token) in enumerate(candidates):
            prefix = beams[number][1]
            ends = token == rules["end"]
            if ends or length == choices["max_new_tokens"]:
                if rank < width:
                    tokens = prefix if ends else (*prefix, token)
                    texts.append((score / length**penalty, tokens))
            elif len(onward) < width:
                onward.append((score, (*prefix, token)))
        texts = sorted(texts, key=lambda one: -one[0])[:width]  # stable: the earlier of equal ones
        full = len(texts) == width
        if not onward or (full and (early or onward[0][0] / length**penalty <= texts[-1][0])):
            break
        beams = onward
    return texts


def _drawn(logits, rules, choices, noise, slot):
    prefix, score = (), 0.0
    for length in range(1, choices["max_new_tokens"] + 1):
        scores = _log_probabilities(logits, rules, choices, prefix)
        likely = sorted(range(len(scores)), key=lambda token: (-scores[token], token))
        scaled = {token: scores[token] / choices["temperature"] for token in likely}
        if choices["top_k"]:
            likely = likely[: choices["top_k"]]
        total = sum(np.exp(scaled[token]) for token in likely)
        left, share = [], 0.0
        for token in likely:
            if choices["top_p"] < 1 and left and share >= choices["top_p"]:
                break
            left.append(token)
            share += np.exp(scaled[token]) / total
        uniform = noise(length - 1)[slot]
        with np.errstate(divide="ignore"):
            sums = {token: scaled[token] - np.log(-np.log(np.float64(uniform[token]))) for token in left}
        token = max(left, key=lambda token: sums[token])
        score += scores[token]
        if token == rules["end"]:
            break
        prefix = (*prefix, token)
    return score / length ** choices["length_penalty"], prefix
