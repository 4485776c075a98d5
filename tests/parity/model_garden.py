"""What TF Model Garden's own classes compute and save, against what is read here: a program, run by hand.

    pip install tf_keras gin-config
    pip install --no-deps tf-models-official
    python -m tests.parity.model_garden

Without its dependencies Model Garden can be imported as far as this needs. Prints, for every layout of a
checkpoint, the greatest difference of hidden states at real tokens and of the heads' answers; fails above
2e-5.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras
from official.modeling import tf_utils
from official.nlp.modeling import layers, models, networks

from tests.models.numpy_bert import ACTIVATIONS
from tfpipeline import checkpoints

MOST = 2e-5
V, P, Y, H = 26, 7, 3, 6
WORDS = {
    "vocab_size": V,
    "hidden_size": H,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 5,
    "max_position_embeddings": P,
    "type_vocab_size": Y,
    "hidden_act": "gelu",
}
GELU = tf_utils.get_activation(WORDS["hidden_act"])
random = np.random.default_rng(0)
INPUTS = {
    "input_ids": random.integers(0, V, (3, P), np.int32),
    "token_type_ids": random.integers(0, Y, (3, P), np.int32),
    "attention_mask": (np.arange(P) < np.array([[P], [4], [2]])).astype(np.int32),
}
REAL = INPUTS["attention_mask"].astype(bool)
THEIRS = {
    "input_word_ids": tf.constant(INPUTS["input_ids"]),
    "input_type_ids": tf.constant(INPUTS["token_type_ids"]),
    "input_mask": tf.constant(INPUTS["attention_mask"]),
}
POSITIONS = np.array([[0, 2], [1, 3], [0, 1]], np.int32)


def encoder(kind, **options):
    """One of theirs, in the configuration above."""
    made = kind(
        vocab_size=V,
        hidden_size=H,
        num_layers=WORDS["num_hidden_layers"],
        num_attention_heads=WORDS["num_attention_heads"],
        intermediate_size=WORDS["intermediate_size"],
        max_sequence_length=P,
        type_vocab_size=Y,
        activation=GELU,
        **options,
    )
    made(THEIRS)
    return made


def fill(model):
    """Weights large enough for a wrong activation to show."""
    for variable in model.weights:
        variable.assign(random.normal(0, 0.3, variable.shape) + ("gamma" in variable.name))
    return model


def cases():
    """(name, what ``tf.train.Checkpoint`` is given, their encoder, what their heads answer)."""
    for kind, options in ((networks.BertEncoder, {"dict_outputs": True}), (networks.BertEncoderV2, {})):
        name = kind.__name__
        made = fill(encoder(kind, **options))
        for part in ("model", "encoder"):
            yield f"{name} as {part}", {part: made}, made, {}

        made = encoder(kind, **options)
        head = layers.ClassificationHead(H, 2, name="next_sentence")
        model = models.BertPretrainerV2(made, GELU, classification_heads=[head])
        asked = {**THEIRS, "masked_lm_positions": tf.constant(POSITIONS)}
        model(asked)
        fill(model)
        optimizer = tf_keras.optimizers.Adam()
        optimizer.build(model.trainable_variables)
        answers = model(asked)
        answers = {"mlm": answers["mlm_logits"], "nsp": answers["next_sentence"]}
        yield f"{name} BertPretrainerV2", {"model": model, "optimizer": optimizer}, made, answers
        yield f"{name} BertPretrainerV2's items", {"model": model, **model.checkpoint_items}, made, answers

        for use_encoder_pooler in (True, False):
            made = encoder(kind, **options)
            model = fill(models.BertClassifier(made, 4, use_encoder_pooler=use_encoder_pooler))
            answers = {"sequence_classifier": model(THEIRS)}
            pooler = "the encoder's" if use_encoder_pooler else "its own"
            yield f"{name} BertClassifier, {pooler} pooler", {"model": model}, made, answers

        made = encoder(kind, **options)
        model = fill(models.BertTokenClassifier(made, 4))
        answers = model(THEIRS)
        answers = {"token_classifier": answers["logits"] if isinstance(answers, dict) else answers}
        yield f"{name} BertTokenClassifier", {"model": model}, made, answers

        made = encoder(kind, **options)
        model = fill(models.BertSpanLabeler(made))
        answers = model(THEIRS)
        answers = list(answers.values()) if isinstance(answers, dict) else answers
        yield f"{name} BertSpanLabeler", {"model": model}, made, {"span": tf.stack(answers[:2], -1)}

    made = encoder(networks.BertEncoder)
    model = fill(models.BertPretrainer(made, num_classes=2, num_token_predictions=2, activation=GELU))
    answers = model(ordered(model))
    yield (
        "BertPretrainer",
        {"model": model},
        made,
        {"mlm": answers["masked_lm"], "nsp": answers["classification"]},
    )


def ordered(model):
    """The inputs of a functional model by their names."""
    values = {**THEIRS, "masked_lm_positions": tf.constant(POSITIONS, tf.int32)}
    return [values[tensor.name.partition(":")[0]] for tensor in model.inputs]


def answer(head, found, states, pooled):
    """What a head says, in NumPy."""
    w = found.heads
    if head == "mlm":
        x = np.take_along_axis(states, POSITIONS[..., None], 1) @ w["mlm/dense/kernel"] + w["mlm/dense/bias"]
        x = ACTIVATIONS[found.config.hidden_act](x)
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + found.config.layer_norm_eps)
        x = x * w["mlm/norm/scale"] + w["mlm/norm/bias"]
        return x @ found.tensors["embeddings/word"].T + w["mlm/bias"]
    start = pooled if head in ("nsp", "sequence_classifier") else states
    return start @ w[f"{head}/kernel"] + w[f"{head}/bias"]


def main() -> None:
    """Compare all cases."""
    worst = 0.0
    for name, items, theirs, answers in cases():
        with tempfile.TemporaryDirectory() as folder:
            tf.train.Checkpoint(**items).save(f"{folder}/bert_model.ckpt")
            Path(folder, "bert_config.json").write_text(json.dumps(WORDS))
            words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{index}" for index in range(V - 5))]
            Path(folder, "vocab.txt").write_text("\n".join(words))
            found = checkpoints.load(folder)
            assert found.head_names == tuple(answers), (name, found.head_names)
            ours = found.encoder()
            states = [np.asarray(state) for state in ours.hidden_states(INPUTS)]
            pooled = np.asarray(ours(INPUTS)["pooled_output"])
            differences = {}
            said = theirs(THEIRS)
            if isinstance(said, dict):
                wanted = said["encoder_outputs"]
                differences["states"] = max(
                    np.abs(a - b)[REAL].max() for a, b in zip(states[1:], wanted, strict=True)
                )
            else:
                differences["states"] = np.abs(states[-1] - said[0])[REAL].max()
            for head, want in answers.items():
                got, want = answer(head, found, states[-1], pooled), np.asarray(want)
                each = REAL if head in ("token_classifier", "span") else slice(None)
                differences[head] = np.abs(got.reshape(want.shape) - want)[each].max()
        print(f"{name}: " + ", ".join(f"{part} {value:.1e}" for part, value in differences.items()))
        worst = max(worst, *differences.values())
    if worst > MOST:
        raise SystemExit(f"differs by {worst:.1e}, more than {MOST:g}")


if __name__ == "__main__":
    main()
