"""How a text becomes one vector, in the files of sentence-transformers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tfpipeline import checkpoints
from tfpipeline.checkpoints.selection import select_files
from tfpipeline.checkpoints.sentence_transformers import SentenceSettings
from tfpipeline.errors import UserError
from tfpipeline.export import ServingModule
from tfpipeline.tasks.similarity import SimilarityOptions
from tfpipeline.training import load, open_run, plan

TEXTS = ["good food", "", "a very bad film", "x " * 60]
FLAGS = {
    "word_embedding_dimension": 16,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": True,
    "pooling_mode_max_tokens": False,
    "pooling_mode_mean_sqrt_len_tokens": False,
}


def write(folder, pooling=FLAGS, steps=("Transformer", "Pooling", "Normalize"), length=24, **config):
    """The layout as sentence-transformers writes it, by hand."""
    if not folder.exists():
        tiny.write_checkpoint(folder)
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize", "Dense": "2_Dense"}
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": kinds[kind],
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, kind in enumerate(steps)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if length:
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length}))
    if config:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    return folder


def test_what_the_files_say(tmp_path):
    folder = write(tmp_path / "model")
    none = {"query": "", "document": ""}
    assert checkpoints.load(folder).sentence == SentenceSettings("mean", True, none, 24)
    for pooling, steps, length, config, expected in (
        ({**FLAGS, "pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, 2, 0, {}, ("cls", False, none, 40)),
        ({"embedding_dimension": 16, "pooling_mode": "lasttoken"}, 3, 99, {}, ("last", True, none, 40)),
        ({"embedding_dimension": 16}, 3, 24, {"prompts": {"query": "q: ", "passage": "p: "}}, ("mean", True, {"query": "q: ", "document": "p: "}, 24)),
        (FLAGS, 3, 24, {"prompts": {"all": "a: "}, "default_prompt_name": "all"}, ("mean", True, {"query": "a: ", "document": "a: "}, 24)),
    ):  # fmt: skip
        (folder / "sentence_bert_config.json").unlink(missing_ok=True)
        write(folder, pooling, ("Transformer", "Pooling", "Normalize")[:steps], length, **config)
        assert checkpoints.load(folder).sentence == SentenceSettings(*expected)
    assert checkpoints.load(tiny.write_checkpoint(tmp_path / "plain")).sentence is None


@pytest.mark.parametrize(
    ("pooling", "steps", "note"),
    [
        (FLAGS, ("Transformer", "Pooling", "Dense"), "modules.json has the steps Transformer, Pooling, Dense; only"),
        ({**FLAGS, "pooling_mode_cls_token": True}, ("Transformer", "Pooling"), "the pooling cls and mean (1_Pooling)"),
        ({"pooling_mode": "max"}, ("Transformer", "Pooling"), "the pooling max (1_Pooling) is none of mean, cls and last"),
        ({**FLAGS, "include_prompt": False}, ("Transformer", "Pooling"), "prompts are left out of the pooling"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said(tmp_path, pooling, steps, note):
    checkpoint = checkpoints.load(write(tmp_path / "model", pooling, steps))
    assert checkpoint.sentence is None
    assert any(note in given for given in checkpoint.notes)
    with pytest.raises(UserError, match="is a pre-trained encoder without a task head"):
        open_run(tmp_path / "model")


def test_damaged_files(tmp_path):
    folder = write(tmp_path / "model", prompts=["q: "])
    with pytest.raises(
        UserError, match=r"config_sentence_transformers.json: the prompts are \['q: '\]; expected a"
    ):
        checkpoints.load(folder)
    (folder / "modules.json").write_text("{}")
    with pytest.raises(UserError, match=r"modules.json is not a JSON list of objects; copy it again"):
        checkpoints.load(folder)
    write(folder, prompts={})
    (folder / "1_Pooling" / "config.json").unlink()
    (note,) = [note for note in checkpoints.load(folder).notes if "1_Pooling" in note]
    assert note.startswith("modules.json names 1_Pooling, which is missing")


def test_the_files_are_among_those_that_are_downloaded():
    names = [
        "model.safetensors",
        "config.json",
        "vocab.txt",
        "modules.json",
        "1_Pooling/config.json",
        "README.md",
    ]
    names += ["sentence_bert_config.json", "config_sentence_transformers.json", "onnx/model.onnx"]
    assert set(select_files(names, where="hub")) == {*names} - {"README.md", "onnx/model.onnx"}


def by_hand(folder, texts, pooling, normalize):
    """The vectors of texts, from the encoder's states."""
    model = load_encoder(folder)
    tokens = model.tokenizer(texts, max_length=24)
    states = np.asarray(model.encode(tokens)["sequence_output"], np.float64)
    mask = np.asarray(tokens["attention_mask"])
    rows = range(len(texts))
    vectors = {
        "mean": lambda: np.stack([states[row][mask[row] > 0].mean(0) for row in rows]),
        "cls": lambda: states[:, 0],
        "last": lambda: np.stack([states[row][mask[row].sum() - 1] for row in rows]),
    }[pooling]()
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True) if normalize else vectors


def load_encoder(folder):
    """The encoder alone: without the other files it is a pre-trained checkpoint."""
    hidden = folder / "modules.json"
    content = hidden.read_text()
    hidden.unlink()
    try:
        return load(folder)
    finally:
        hidden.write_text(content)


@pytest.mark.parametrize(("mode", "pooling"), [("mean", "mean"), ("cls", "cls"), ("lasttoken", "last")])
def test_a_checkpoint_is_used_without_training(tmp_path, mode, pooling):
    """Predicted, served and loaded; with the prompt of queries."""
    steps = ("Transformer", "Pooling", "Normalize")[: 2 + (mode == "mean")]
    folder = write(
        tmp_path / "model", {"pooling_mode": mode}, steps, prompts={"query": "so ", "document": "x "}
    )
    trained = open_run(folder)
    assert trained.config.task.name == "similarity"
    want = by_hand(folder, [f"so {text}" for text in TEXTS], pooling, mode == "mean")
    model = trained.model()
    found = trained.predict(model, TEXTS)
    assert set(found) == {"embedding"}
    np.testing.assert_allclose(found["embedding"], want, atol=1e-5)
    served = ServingModule(trained.graph(model)).functions["serving_default"](text=tf.constant(TEXTS))
    np.testing.assert_allclose(served["embedding"], want, atol=1e-5)
    np.testing.assert_allclose(load(folder).embed(TEXTS), want, atol=1e-5)
    documents = by_hand(folder, [f"x {text}" for text in TEXTS], pooling, mode == "mean")
    np.testing.assert_allclose(load(folder).embed(TEXTS, prompt="document"), documents, atol=1e-5)
    scores = trained.predict(model, TEXTS, TEXTS[::-1])["score"]
    unit = [array / np.linalg.norm(array, axis=-1, keepdims=True) for array in (want, documents[::-1])]
    np.testing.assert_allclose(scores, np.sum(unit[0] * unit[1], -1), atol=1e-5)


def test_any_encoder_is_used_if_the_task_is_named(tmp_path):
    folder = tiny.write_checkpoint(tmp_path / "model")
    with pytest.raises(UserError, match=r"--set task\.name=similarity"):
        open_run(folder)
    trained = open_run(folder, ["task.name=similarity", "task.pooling=cls", "task.dimensions=[7, 3]"])
    vectors = trained.predict(trained.model(), TEXTS)["embedding"]
    assert vectors.shape == (4, 7)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, rtol=1e-5)
    with pytest.raises(
        UserError, match=r"task\.dimensions begins with 70, but the encoder's vectors have 16"
    ):
        open_run(folder, ["task.name=similarity", "task.dimensions=[70]"])
    with pytest.raises(UserError, match="is a pre-trained encoder without a task head"):
        open_run(folder, ["task.name=classification"])


def test_conversion_keeps_the_files(tmp_path):
    folder = write(tmp_path / "model", prompts={"query": "so ", "document": ""})
    kept = checkpoints.convert(folder, tmp_path / "kept", to="huggingface")
    assert checkpoints.load(tmp_path / "kept").sentence == checkpoints.load(folder).sentence
    assert (
        json.loads((tmp_path / "kept" / "1_Pooling" / "config.json").read_text())["pooling_mode_mean_tokens"]
        is True
    )
    assert not kept.notes
    assert checkpoints.convert(folder, tmp_path / "kept", to="huggingface").reused
    lost = checkpoints.convert(folder, tmp_path / "lost", to="google")
    assert "the format google does not say how a text becomes one vector (mean)" in lost.notes
    assert checkpoints.convert(folder, tmp_path / "lost", to="google").reused
    write(folder, steps=("Transformer", "Pooling"), prompts={"query": "so ", "document": ""})
    with pytest.raises(UserError, match="does not hold this model"):
        checkpoints.convert(folder, tmp_path / "kept", to="huggingface")


def test_a_training_with_other_settings_than_the_checkpoints_is_noted(tmp_path, capsys):
    folder = write(tmp_path / "model", {"pooling_mode": "cls"}, prompts={"query": "so ", "document": ""})
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": f"a {n}", "text_pair": f"b {n}"}) + "\n" for n in range(9))
    )
    given = {
        "checkpoint": str(folder),
        "output": str(tmp_path / "run"),
        "data": {"train": str(tmp_path / "rows.jsonl"), "text_pair": "text_pair"},
        "text": {"max_length": 16},
        "task": {"name": "similarity"},
    }
    plan(given)
    found = capsys.readouterr().err
    assert (
        "model: it was trained with other settings of the section task (pooling: 'cls', here 'mean'; prompts.query: 'so ', here '')"
        in found
    )
    options = SimilarityOptions(pooling="cls", prompts={"query": "so "})
    assert options.note_on(checkpoints.load(folder)) is None
    assert options.note_on(checkpoints.load(tiny.write_checkpoint(tmp_path / "plain"))) is None
