"""Broken checkpoints and impossible destinations, of both formats: one sentence, and nothing written.

What the commands say is in tests/cli; here are the many ways in which files can be wrong.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from tests import tiny
from tfpipeline import checkpoints, cli
from tfpipeline.checkpoints import formats
from tfpipeline.errors import UserError

CONFIG = {"huggingface": "config.json", "google": "bert_config.json"}
V = len(tiny.VOCABULARY)


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    tiny.write_checkpoint(folder / "huggingface")
    checkpoints.convert(folder / "huggingface", folder / "google")
    return folder


@pytest.fixture
def copy(originals, tmp_path):
    def make(name):
        return shutil.copytree(originals / name, tmp_path / "source")

    return make


@pytest.fixture
def huggingface(copy):
    return copy("huggingface")


@pytest.fixture
def google(copy):
    return copy("google")


def snapshot(folder):
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def refused(source, message, *, dest=None, **options):
    """Converting raises one sentence and leaves everything as it was."""
    folder = source.parent
    dest = dest or folder / "dest"
    before = snapshot(folder)
    with pytest.raises(UserError, match=message) as caught:
        checkpoints.convert(source, dest, **options)
    assert snapshot(folder) == before
    first, *listing = str(caught.value).splitlines()
    assert "; " in first or ": " in first  # what is wrong, and what to do
    assert not first.endswith(".")
    assert all(re.match(r"  (missing|unknown|shape) +\S", line) for line in listing)
    return str(caught.value)


def rewrite(source, change):
    tensors = load_file(source / "model.safetensors")
    change(tensors)
    save_file(tensors, source / "model.safetensors")


def rewrite_google(source, change):
    prefix = str(source / "bert_model.ckpt")
    reader = tf.train.load_checkpoint(prefix)
    tensors = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    change(tensors)
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(value) for value in tensors.values()],
    )


def reconfigure(path, *, drop=(), **values):
    config = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in config.items() if name not in drop}))


class TestSource:
    def test_missing(self, tmp_path):
        (tmp_path / "empty").mkdir()
        for name in ("nowhere", "no/where", "empty/bert_model.ckpt", "a\0b"):
            refused(tmp_path / name, "no such checkpoint; give the directory that holds its files")

    def test_a_folder_without_a_checkpoint(self, tmp_path):
        (tmp_path / "source").mkdir()
        for _ in range(2):
            message = refused(
                tmp_path / "source", "source holds no known checkpoint; required files by format:"
            )
            for name in formats.names():
                assert f"{name}: {formats.find(name).FILES}" in message
            (tmp_path / "source" / "thesis.txt").write_text("mine")

    def test_a_name_that_cannot_be(self, tmp_path):
        refused(tmp_path / ("x" * 300), "^cannot read .*: File name too long; check the path")


class TestFiles:
    """Each file of each format: away, cut short, or something else."""

    @pytest.mark.parametrize(
        ("name", "file", "message"),
        [
            (
                "huggingface",
                "model.safetensors",
                "has neither model.safetensors nor pytorch_model.bin; copy the whole",
            ),
            ("huggingface", "config.json", r"config\.json is missing; copy it from where"),
            ("huggingface", "vocab.txt", r"no vocabulary at .*vocab\.txt; give the checkpoint's vocab\.txt"),
            ("google", "bert_model.ckpt.index", r"has no bert_model\.ckpt\.index; copy the whole checkpoint"),
            (
                "google",
                "bert_model.ckpt.data-00000-of-00001",
                r"bert_model\.ckpt\.data-00000-of-00001 is missing; copy the whole checkpoint",
            ),
            ("google", "bert_config.json", r"bert_config\.json is missing; copy it from where"),
            ("google", "vocab.txt", r"no vocabulary at .*vocab\.txt"),
        ],
    )
    def test_away(self, copy, name, file, message):
        source = copy(name)
        (source / file).unlink()
        refused(source, message)

    @pytest.mark.parametrize("left", [0, 0.01, 0.5, 0.99])
    @pytest.mark.parametrize(
        ("name", "file", "message"),
        [
            (
                "huggingface",
                "model.safetensors",
                r"model\.safetensors is truncated or damaged .*; copy it again",
            ),
            ("google", "bert_model.ckpt.index", r"bert_model\.ckpt\.index is truncated or damaged; copy the"),
            (
                "google",
                "bert_model.ckpt.data-00000-of-00001",
                r"bert_model\.ckpt: cannot read bert/\S+, a data file is truncated or damaged; copy the checkpoint again",
            ),
        ],
    )
    def test_weights_cut_short(self, copy, name, file, left, message):
        source = copy(name)
        raw = (source / file).read_bytes()
        (source / file).write_bytes(raw[: int(left * len(raw))])
        refused(source, message)

    def test_a_flipped_bit(self, google):
        """TensorFlow's checkpoints have check sums."""
        path = google / "bert_model.ckpt.data-00000-of-00001"
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
        refused(google, r"bert_model\.ckpt: cannot read bert/\S+, a data file is truncated or damaged")

    @pytest.mark.parametrize("name", CONFIG)
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", r":1: not JSON \(Expecting value\); copy it again"),
            (b'{\n"a": 1,\n"b"', r":3: not JSON \("),
            (b"[1, 2]", " is not a JSON object; copy it again"),
            (b'"bert"', " is not a JSON object; copy it again"),
            (b'{"a": "\xff"}', " is not UTF-8; copy it again"),
        ],
    )
    def test_configuration(self, copy, name, content, message):
        source = copy(name)
        (source / CONFIG[name]).write_bytes(content)
        refused(source, rf"{re.escape(CONFIG[name])}{message}")
        (source / CONFIG[name]).unlink()
        (source / CONFIG[name]).mkdir()
        refused(source, rf"^cannot read .*{re.escape(CONFIG[name])}: Is a directory; check the path")

    @pytest.mark.parametrize("name", CONFIG)
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", r"tokenizer_config\.json:1: not JSON"),
            (
                '{"do_lower_case": "yes"}',
                r"tokenizer_config\.json: tokenizer option lowercase is 'yes'; it must be",
            ),
        ],
    )
    def test_tokenizer_configuration(self, copy, name, content, message):
        source = copy(name)
        (source / "tokenizer_config.json").write_text(content)
        refused(source, message)


class TestConfiguration:
    @pytest.mark.parametrize("name", CONFIG)
    def test_missing_fields_are_listed(self, copy, name):
        source = copy(name)
        reconfigure(source / CONFIG[name], drop=["hidden_size", "num_attention_heads"])
        refused(
            source,
            rf"{CONFIG[name]} lacks hidden_size, num_attention_heads; is it the configuration of a BERT model\?",
        )

    @pytest.mark.parametrize("name", CONFIG)
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"num_attention_heads": 3}, "hidden_size is 16, which num_attention_heads .3. does not divide"),
            ({"hidden_act": "mish"}, 'hidden_act is "mish", which is not supported; supported are gelu, '),
            ({"hidden_act": None}, "hidden_act is null, which is not supported; supported are gelu, "),
            ({"type_vocab_size": 0}, "type_vocab_size is 0; it must be a whole number of at least 1"),
            ({"layer_norm_eps": 0}, "layer_norm_eps is 0; it must be above 0"),
            ({"hidden_size": "16"}, "hidden_size is '16'; it must be a whole number"),
            ({"num_hidden_layers": 0}, "num_hidden_layers is 0; it must be a whole number"),
            ({"hidden_dropout_prob": 1.5}, "hidden_dropout_prob is 1.5; it must be at least 0 and below 1"),
        ],
    )
    def test_impossible_values(self, copy, name, values, message):
        source = copy(name)
        reconfigure(source / CONFIG[name], **values)
        refused(source, rf"{re.escape(CONFIG[name])}: {message}")

    def test_all_that_does_not_fit_is_listed(self, huggingface):
        def change(tensors):
            tensors["extra.weight"] = tensors.pop("encoder.layer.0.attention.self.query.bias")
            tensors["pooler.dense.weight"] = np.zeros((16, 15), np.float32)

        rewrite(huggingface, change)
        reconfigure(huggingface / "config.json", max_position_embeddings=41)
        message = refused(huggingface, r"does not fit config\.json")
        assert message == (
            f"{huggingface / 'model.safetensors'} does not fit config.json (1 missing, 1 unknown, 2 "
            f"misshapen): use its own "
            "configuration\n"
            "  missing  encoder.layer.0.attention.self.query.bias\n"
            "  unknown  extra.weight\n"
            "  shape    embeddings.position_embeddings.weight: found [40, 16], expected [41, 16]\n"
            "  shape    pooler.dense.weight: found [16, 15], expected [16, 16]"
        )

    def test_all_that_does_not_fit_is_listed_google(self, google):
        def change(tensors):
            tensors["extra"] = tensors.pop("bert/encoder/layer_0/attention/self/query/bias")

        rewrite_google(google, change)
        reconfigure(google / "bert_config.json", type_vocab_size=16)
        message = refused(google, r"does not fit bert_config\.json")
        assert message == (
            f"{google / 'bert_model.ckpt'} does not fit bert_config.json (1 missing, 1 unknown, 1 "
            f"misshapen): use its own "
            "configuration\n"
            "  missing  bert/encoder/layer_0/attention/self/query/bias\n"
            "  unknown  extra\n"
            "  shape    bert/embeddings/token_type_embeddings: found [2, 16], expected [16, 16]"
        )

    @pytest.mark.parametrize(
        ("layers", "message"),
        [
            (1, r"\(16 unknown\).*\n  unknown  \S*layer.1.attention"),
            (3, r"\(16 missing\).*\n  missing  \S*layer.2.att"),
        ],
    )
    @pytest.mark.parametrize("name", CONFIG)
    def test_another_number_of_layers(self, copy, name, layers, message):
        source = copy(name)
        reconfigure(source / CONFIG[name], num_hidden_layers=layers)
        refused(source, message)

    def test_half_a_pooler(self, huggingface):
        """A checkpoint has a pooler or has none."""
        rewrite(huggingface, lambda tensors: tensors.pop("pooler.dense.bias"))
        refused(huggingface, r"\(1 missing\)[^\n]*\n  missing  pooler\.dense\.bias$")
        rewrite(
            huggingface,
            lambda tensors: tensors.update({"pooler.dense.bias": tensors.pop("pooler.dense.weight")}),
        )
        refused(huggingface, r"\(1 unknown\)[^\n]*\n  unknown  pooler\.dense\.bias$")

    @pytest.mark.parametrize("dtype", [np.int32, np.int64, np.int8, np.bool_])
    def test_weights_that_are_no_floats(self, huggingface, dtype):
        def change(tensors):
            tensors["pooler.dense.bias"] = np.ones(16, dtype)

        rewrite(huggingface, change)
        refused(
            huggingface,
            rf"model\.safetensors: pooler\.dense\.bias holds {np.dtype(dtype)}, not floats; the file is not a BERT model's",
        )

    def test_weights_that_are_no_floats_google(self, google):
        def change(tensors):
            tensors["bert/pooler/dense/bias"] = np.ones(16, np.int64)

        rewrite_google(google, change)
        refused(google, r"bert_model\.ckpt: bert/pooler/dense/bias holds int64, not floats")


class TestVocabulary:
    @pytest.fixture(params=CONFIG)
    def source(self, request, copy):
        return copy(request.param)

    def write(self, source, tokens):
        (source / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens))

    @pytest.mark.parametrize("count", [V - 1, V + 1, 10])
    def test_another_size(self, source, count):
        self.write(source, [*tiny.VOCABULARY, "more"][:count])
        refused(
            source,
            rf"vocab\.txt has {count} tokens, but the model's vocab_size is {V}; use the vocabulary the",
        )

    def test_a_missing_special_token(self, source):
        self.write(source, ["[pad]", "[UNK]", "[CLS]", "sep", *tiny.VOCABULARY[4:]])
        message = refused(
            source, rf"the vocabulary of {V} tokens lacks \[SEP\], \[PAD\]; use the checkpoint's own"
        )
        assert message.startswith(f"{source / 'vocab.txt'}: ")

    def test_special_tokens_of_another_name(self, source):
        """They are named in tokenizer_config.json, as the sentence above says."""
        self.write(source, ["<pad>", *tiny.VOCABULARY[1:]])
        refused(source, r"lacks \[PAD\]")
        (source / "tokenizer_config.json").write_text('{"pad_token": "<pad>"}')
        assert checkpoints.load(source).tokenizer.pad_token == "<pad>"

    def test_a_token_that_stands_twice_keeps_all_ids(self, source, tmp_path):
        """Real vocabularies have such; ids must stay as they are."""
        tokens = [*tiny.VOCABULARY[:-2], tiny.VOCABULARY[6], ""]
        self.write(source, tokens)
        checkpoints.convert(source, tmp_path / "dest")
        assert checkpoints.load(tmp_path / "dest").vocabulary == tuple(tokens)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is empty; a vocabulary holds one token per line"),
            (b"[PAD]\na\xff\n", r"vocab\.txt:2: not UTF-8"),
        ],
    )
    def test_files_that_are_no_vocabulary(self, source, content, message):
        (source / "vocab.txt").write_bytes(content)
        refused(source, message)

    @pytest.mark.parametrize(
        ("rows", "tokens", "padded"),
        [(32, V, True), (128, V, True), (136, 9, True), (136, 8, False), (30, V, False), (V + 7, V, False)],
    )
    def test_embeddings_padded_for_speed(self, tmp_path, rows, tokens, padded):
        """A multiple of 8 and fewer than 128 more than there are tokens."""
        source = tiny.write_checkpoint(tmp_path / "source", vocab_size=rows)
        self.write(source, tiny.VOCABULARY[:tokens])
        if not padded:
            refused(source, rf"vocab\.txt has {tokens} tokens, but the model's vocab_size is {rows}")
            return
        found = checkpoints.load(source)
        assert (
            f"the embeddings have {rows} rows for {tokens} tokens: padded to a multiple of 8" in found.notes
        )
        assert found.tensors["embeddings/word"].shape[0] == rows
        checkpoints.convert(source, tmp_path / "dest")
        assert checkpoints.load(tmp_path / "dest").equals(found)


class TestDestination:
    def test_something_else_is_there(self, huggingface, tmp_path):
        sentence = "dest is there and does not hold this model in the format google; choose another folder, or --overwrite"
        (tmp_path / "dest").write_text("a file")
        refused(huggingface, sentence)
        (tmp_path / "dest").unlink()
        (tmp_path / "dest").mkdir()
        (tmp_path / "dest" / "thesis.txt").write_text("mine")
        refused(huggingface, sentence)
        shutil.rmtree(tmp_path / "dest")
        other = tiny.write_checkpoint(tmp_path / "other", seed=1)
        checkpoints.convert(other, tmp_path / "dest")
        refused(huggingface, sentence)
        (tmp_path / "dest" / "bert_model.ckpt.index").write_bytes(b"")
        refused(huggingface, sentence)

    def test_the_same_model_is_used_again(self, huggingface, tmp_path):
        checkpoints.convert(huggingface, tmp_path / "dest")
        before = snapshot(tmp_path)
        times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert checkpoints.convert(huggingface, tmp_path / "dest").reused
        assert snapshot(tmp_path) == before
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times
        reconfigure(huggingface / "config.json", layer_norm_eps=1e-6)  # the same weights, another model
        refused(huggingface, "is there and does not hold this model")

    def test_the_source_itself(self, huggingface, tmp_path):
        """It holds the model, but not in the format that is asked for."""
        refused(huggingface, "is there and does not hold this model in the format google", dest=huggingface)

    def test_an_empty_folder_is_filled(self, huggingface, tmp_path):
        (tmp_path / "dest").mkdir()
        assert not checkpoints.convert(huggingface, tmp_path / "dest").reused
        assert checkpoints.load(tmp_path / "dest").equals(checkpoints.load(huggingface))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["dest", "source"]

    @pytest.mark.parametrize("there", ["a file", "a folder", "the same model"])
    def test_overwrite(self, huggingface, tmp_path, there):
        dest = tmp_path / "dest"
        if there == "a file":
            dest.write_text("mine")
        elif there == "a folder":
            (dest / "deep").mkdir(parents=True)
            (dest / "deep" / "thesis.txt").write_text("mine")
        else:
            checkpoints.convert(huggingface, dest)
            (dest / "stray.txt").write_text("mine")
        assert not checkpoints.convert(huggingface, dest, overwrite=True).reused
        assert checkpoints.load(dest).equals(checkpoints.load(huggingface))
        assert not (dest / "stray.txt").exists()
        assert not (dest / "deep").exists()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["dest", "source"]

    @pytest.mark.parametrize("seed", [0, 1], ids=["the same", "another"])
    def test_another_conversion_is_done_first(self, huggingface, tmp_path, monkeypatch, seed):
        """Into the same folder, while ours is being written; nothing of it is replaced."""
        from tfpipeline.checkpoints.formats import google

        theirs = tiny.write_checkpoint(tmp_path / "theirs", seed=seed)
        theirs = huggingface if checkpoints.load(theirs).equals(checkpoints.load(huggingface)) else theirs
        checkpoints.convert(theirs, tmp_path / "done")
        write = google.write

        def write_while_another_is_done(checkpoint, directory):
            (tmp_path / "done").rename(tmp_path / "dest")
            return write(checkpoint, directory)

        monkeypatch.setattr(google, "write", write_while_another_is_done)
        if theirs is huggingface:
            assert checkpoints.convert(huggingface, tmp_path / "dest").reused
        else:
            with pytest.raises(UserError, match="dest appeared while it was being written; nothing was over"):
                checkpoints.convert(huggingface, tmp_path / "dest")
        assert checkpoints.load(tmp_path / "dest").equals(checkpoints.load(theirs))
        assert not list(tmp_path.glob(".tmp-*"))

    def test_overwrite_keeps_what_is_there_when_the_source_is_broken(self, google, tmp_path):
        (tmp_path / "dest").mkdir()
        (tmp_path / "dest" / "thesis.txt").write_text("mine")
        path = google / "bert_model.ckpt.data-00000-of-00001"
        path.write_bytes(path.read_bytes()[:-1])
        refused(google, "a data file is truncated", overwrite=True)

    def test_overwrite_never_deletes_the_source(self, huggingface, tmp_path):
        (tmp_path / "dest").mkdir()
        shutil.move(huggingface, tmp_path / "dest")
        source = tmp_path / "dest" / "source"
        for given in (source, source / "model.safetensors"):
            refused(
                given,
                "lies in .*dest, which --overwrite would delete",
                dest=tmp_path / "dest",
                overwrite=True,
            )
        os.symlink(tmp_path / "dest", tmp_path / "link")
        refused(
            tmp_path / "link" / "source",
            "which --overwrite would delete",
            dest=tmp_path / "dest",
            overwrite=True,
        )

    def test_places_that_cannot_be_written(self, huggingface, tmp_path):
        (tmp_path / "file").write_text("mine")
        refused(
            huggingface,
            "^cannot write .*file/dest: .*; a part of that path is a file; choose another path",
            dest=tmp_path / "file" / "dest",
        )
        refused(huggingface, "^cannot write x+: File name too long; check", dest=Path("x" * 300))

    def test_a_folder_without_permission(self, originals):
        """Outside tmp_path, whose parents only its owner may enter: root, who may write everywhere, steps
        down.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            source = shutil.copytree(originals / "huggingface", folder / "source")
            (folder / "locked").mkdir(mode=0o555)
            for path in (folder, source, *source.iterdir()):
                path.chmod(0o755)
            root = os.geteuid() == 0
            if root:
                os.seteuid(65534)
            try:
                refused(
                    source,
                    "^cannot write .*locked/dest: Permission denied; choose a folder you may write to",
                    dest=folder / "locked" / "dest",
                )
            finally:
                if root:
                    os.seteuid(0)

    @pytest.mark.parametrize(
        ("to", "message"),
        [
            ("gogle", '^the format "gogle" can\'t be written; did you mean "google"\\?$'),
            ("onnx", '^the format "onnx" can\'t be written; known: .*google'),
            ("", '^the format "" can\'t be written; known: .*google'),
        ],
    )
    def test_a_format_that_is_not_there(self, huggingface, to, message):
        refused(huggingface, message, to=to)


class TestCommand:
    """The command in this process: what it prints, and its exit code."""

    @pytest.fixture
    def command(self, monkeypatch, capsys):
        def run(*arguments):
            monkeypatch.setattr("sys.argv", ["tfpipeline", "convert", *map(str, arguments)])
            with pytest.raises(SystemExit) as stopped:
                cli.main()
            return stopped.value.code, *capsys.readouterr()

        return run

    def test_reports(self, command, huggingface, tmp_path):
        code, out, err = command(huggingface, tmp_path / "dest")
        assert (code, err) == (0, "")
        assert out.splitlines()[-1] == f"wrote {tmp_path / 'dest'} (google)"
        code, out, err = command(huggingface, tmp_path / "dest")
        assert (code, err) == (0, "")
        assert out.splitlines()[-1] == f"{tmp_path / 'dest'} already holds this model; nothing to do"
        (tmp_path / "dest" / "vocab.txt").unlink()
        code, out, err = command(huggingface, tmp_path / "dest", "--overwrite")
        assert (code, err) == (0, "")
        assert (tmp_path / "dest" / "vocab.txt").exists()

    def test_errors(self, command, google, tmp_path):
        (tmp_path / "mine.txt").touch()
        path = google / "bert_model.ckpt.data-00000-of-00001"
        assert command(google, tmp_path / "mine.txt") == (
            2,
            "",
            f"error: {tmp_path / 'mine.txt'} is there and does not hold this model in the format google; "
            f"choose another "
            "folder, or --overwrite\n",
        )
        assert command(google, tmp_path / "dest", "--to", "gogle") == (
            2,
            "",
            'error: the format "gogle" can\'t be written; did you mean "google"?\n',
        )
        path.write_bytes(path.read_bytes()[:-1])
        code, out, err = command(google, tmp_path / "dest")
        assert (code, out) == (2, "")
        assert re.fullmatch(r"error: .*cannot read \S+, a data file is truncated or damaged; copy.*\n", err)
        assert not (tmp_path / "dest").exists()
