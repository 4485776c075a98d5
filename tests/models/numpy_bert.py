"""BERT's encoder in NumPy, written from the papers and from nothing else; float64 throughout.

Devlin et al. 2019, arXiv:1810.04805 (embeddings, pooler); Vaswani et al. 2017, arXiv:1706.03762 (attention,
section 3.2; post-LayerNorm, section 3.1; causal masks, section 3.2.3); Xiong et al. 2020, arXiv:2002.04745
(blocks that normalise first, figure 1); Ba et al. 2016, arXiv:1607.06450 (LayerNorm); Hendrycks and Gimpel
2016, arXiv:1606.08415 (GELU and its tanh form, section 2).

B texts, T positions, H hidden, N heads, D = H / N. Weights go by the neutral names of docs/architecture.md.
"""

from __future__ import annotations

import math

import numpy as np

ACTIVATIONS = {
    "gelu_erf": lambda x: x * 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def encode(config, weights, input_ids, token_type_ids, attention_mask, causal_mask=None, added=None):
    """All hidden states and the pooled output.

    Args:
        added: what is added to the blocks: functions of the number of the block and an array.
            ``after_attention`` and ``after_feed_forward`` take the output of the part, [B, T, H], and return
            what replaces it; ``beside_feed_forward`` takes the input of the part and returns what is added to
            its output; ``prefix`` takes the queries, [B, N, T, D], not yet divided, and returns what is added
            to their context.
    Returns:
        L + 1 arrays [B, T, H], and [B, H] or None without a pooler.
    """
    w = {name: np.asarray(array, np.float64) for name, array in weights.items()}
    added = {
        "after_attention": lambda i, x: x,
        "after_feed_forward": lambda i, x: x,
        "beside_feed_forward": lambda i, x: 0.0,
        "prefix": lambda i, query: 0.0,
        **(added or {}),
    }

    def norm(x, name):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        normal = (x - mean) / np.sqrt(variance + config.layer_norm_eps)
        return normal * w[f"{name}/scale"] + w[f"{name}/bias"]

    def project(x, name):  # [B, T, H] -> [B, N, T, D]
        return (
            np.einsum("bth,hnd->bntd", x, w[f"{name}/kernel"], optimize=True) + w[f"{name}/bias"][:, None, :]
        )

    def attend(x, i):
        at = f"layer_{i}/attention"
        query, key, value = (project(x, f"{at}/{role}") for role in ("query", "key", "value"))
        scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
        seen = np.broadcast_to(np.asarray(attention_mask)[:, None, None, :] == 1, scores.shape)
        if config.causal:
            seen = seen & np.tril(np.ones(scores.shape[-2:], bool))
        if causal_mask is not None:  # of a key: it is seen from itself and from what comes after it
            for_all = np.asarray(causal_mask)[:, None, None, :] == 0
            seen = seen & (for_all | np.tril(np.ones(scores.shape[-2:], bool)))
        scores = np.where(seen, scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        context = shares @ value + added["prefix"](i, query)
        output = (
            np.einsum("bntd,ndh->bth", context, w[f"{at}/output/kernel"], optimize=True)
            + w[f"{at}/output/bias"]
        )
        return added["after_attention"](i, output)

    length = np.shape(input_ids)[1]
    x = w["embeddings/word"][input_ids] + w["embeddings/position"][:length]
    x = norm(x + w["embeddings/token_type"][token_type_ids], "embeddings/norm")
    states = [x]
    for i in range(config.num_hidden_layers):
        at = f"layer_{i}"
        if config.norm_first:
            x = x + attend(norm(x, f"{at}/attention/norm"), i)
            y = norm(x, f"{at}/feed_forward/norm")
        else:
            x = y = norm(x + attend(x, i), f"{at}/attention/norm")
        inner = y @ w[f"{at}/feed_forward/inner/kernel"] + w[f"{at}/feed_forward/inner/bias"]
        outer = ACTIVATIONS[config.hidden_act](inner) @ w[f"{at}/feed_forward/outer/kernel"]
        outer = added["after_feed_forward"](i, outer + w[f"{at}/feed_forward/outer/bias"])
        x = x + outer + added["beside_feed_forward"](i, y)
        if not config.norm_first:
            x = norm(x, f"{at}/feed_forward/norm")
        elif i == config.num_hidden_layers - 1:
            x = norm(x, "final_norm")
        states.append(x)
    pooled = np.tanh(x[:, 0] @ w["pooler/kernel"] + w["pooler/bias"]) if config.pooler else None
    return states, pooled
