"""The files that transformers has written of a tokenizer over the years, and those of other tokenizers."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import string

import pytest

from tests import tiny
from tfpipeline import text
from tfpipeline.checkpoints import Checkpoint
from tfpipeline.checkpoints.checkpoint import check_vocabulary
from tfpipeline.checkpoints.tokenizer_files import read_tokenizer, write_tokenizer
from tfpipeline.checkpoints.tokenizer_parity import carries_tokenizer, hard_texts, tokenizer_report
from tfpipeline.errors import UserError
from tfpipeline.models import BertConfig
from tfpipeline.text import AddedToken, TokenizerOptions, WordPieceTokenizer, load_vocabulary

V = len(tiny.VOCABULARY)
WORD, SPECIAL = "<e0>", "[E1]"
BERT = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}  # fmt: skip
PLAIN = {"lstrip": False, "rstrip": False, "single_word": False}
NORMAL = {"content": WORD, **PLAIN, "normalized": True, "special": False}
FIXED = {"content": SPECIAL, **PLAIN, "normalized": False, "special": True}
STANDARD = [
    {"id": number, "content": token, **PLAIN, "normalized": False, "special": True}
    for number, token in enumerate(tiny.SPECIAL)
]
NAMES = {f"{token[1:-1].lower()}_token": token for token in tiny.SPECIAL}
FAST = {
    "version": "1.0",
    "added_tokens": [*STANDARD, {"id": V, **NORMAL}, {"id": V + 1, **FIXED}],
    "normalizer": BERT,
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
        "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]} for token, number in (("[CLS]", 2), ("[SEP]", 3))},
    },
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": {token: number for number, token in enumerate(tiny.VOCABULARY)}},
}  # fmt: skip
DECODER = {
    **{str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in STANDARD},
    str(V): NORMAL,
    str(V + 1): FIXED,
}
ADDED = {WORD: V, SPECIAL: V + 1}
EXTRA = {"additional_special_tokens": [SPECIAL]}
DICTS = {"additional_special_tokens": [{"content": SPECIAL, **PLAIN, "normalized": False}]}
CASE = {"do_lower_case": True}
OLD_FAST = {**FAST, "model": {key: value for key, value in FAST["model"].items() if key != "type"}}
AFTER_2020 = {**CASE, **NAMES, "tokenizer_class": "BertTokenizer", "name_or_path": "x", "special_tokens_map_file": None}  # fmt: skip
TYPED = {"__type": "AddedToken", "content": "[MASK]", "lstrip": True, "normalized": False, "rstrip": False, "single_word": False}  # fmt: skip

# Each holds the same two tokens: an added word and a special one. None stands for vocab.txt as it is.
LAYOUTS = {
    "2019: the map of names and added tokens": {"vocab.txt": None, "added_tokens.json": ADDED, "special_tokens_map.json": {**NAMES, **EXTRA}},
    "2019: an empty tokenizer_config.json": {"vocab.txt": None, "added_tokens.json": ADDED, "special_tokens_map.json": {**NAMES, **EXTRA}, "tokenizer_config.json": {}},
    "2020: options of each name": {"vocab.txt": None, "added_tokens.json": ADDED, "special_tokens_map.json": {**NAMES, **DICTS}, "tokenizer_config.json": CASE},
    "2020: slow": {"vocab.txt": None, "added_tokens.json": ADDED, "special_tokens_map.json": {**NAMES, **EXTRA}, "tokenizer_config.json": AFTER_2020},
    "2020: special tokens in the configuration": {"vocab.txt": None, "added_tokens.json": ADDED, "tokenizer_config.json": {**AFTER_2020, **EXTRA}},
    "2020: fast": {"vocab.txt": None, "tokenizer.json": FAST, "special_tokens_map.json": {**NAMES, **EXTRA}, "tokenizer_config.json": AFTER_2020},
    "2020: fast, with added_tokens.json": {"vocab.txt": None, "added_tokens.json": ADDED, "tokenizer.json": FAST, "special_tokens_map.json": {**NAMES, **EXTRA}, "tokenizer_config.json": AFTER_2020},
    "2020: fast, no type of the model": {"vocab.txt": None, "tokenizer.json": OLD_FAST, "special_tokens_map.json": {**NAMES, **EXTRA}, "tokenizer_config.json": AFTER_2020},
    "2020: fast, no vocab.txt": {"tokenizer.json": FAST, "special_tokens_map.json": {**NAMES, **EXTRA}, "tokenizer_config.json": AFTER_2020},
    "2020: a mask with options": {"vocab.txt": None, "added_tokens.json": ADDED, "special_tokens_map.json": {**NAMES, **EXTRA}, "tokenizer_config.json": {**AFTER_2020, "mask_token": TYPED}},
    "2021: tokenizer.json alone": {"tokenizer.json": FAST},
    "2021: tokenizer.json and vocab.txt": {"vocab.txt": None, "tokenizer.json": FAST},
    "2021: a class for all": {"tokenizer.json": FAST, "tokenizer_config.json": {**NAMES, **EXTRA, "tokenizer_class": "PreTrainedTokenizerFast"}},
    "2023: slow": {"vocab.txt": None, "added_tokens.json": ADDED, "special_tokens_map.json": {**NAMES, **EXTRA}, "tokenizer_config.json": {**AFTER_2020, **EXTRA, "added_tokens_decoder": DECODER}},
    "2023: fast": {"vocab.txt": None, "tokenizer.json": FAST, "special_tokens_map.json": {**NAMES, **DICTS}, "tokenizer_config.json": {**AFTER_2020, **EXTRA, "added_tokens_decoder": DECODER}},
    "2023: no vocab.txt": {"tokenizer.json": FAST, "tokenizer_config.json": {**AFTER_2020, **EXTRA, "added_tokens_decoder": DECODER}},
    "2023: configuration alone": {"vocab.txt": None, "tokenizer_config.json": {**AFTER_2020, "added_tokens_decoder": DECODER}},
    "2024: a special token of a name of its own": {"vocab.txt": None, "tokenizer.json": FAST, "tokenizer_config.json": {**AFTER_2020, "entity_token": SPECIAL, "added_tokens_decoder": DECODER}},
    "2025: names in a mapping": {"vocab.txt": None, "tokenizer.json": FAST, "tokenizer_config.json": {**AFTER_2020, "extra_special_tokens": {"entity_token": SPECIAL}}},
    "2025: a list": {"tokenizer.json": FAST, "tokenizer_config.json": {**CASE, **NAMES, "extra_special_tokens": [SPECIAL], "tokenizer_class": "BertTokenizer"}},
    "2025: the class for all of version 5": {"tokenizer.json": FAST, "tokenizer_config.json": {**NAMES, "tokenizer_class": "TokenizersBackend"}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def made_once(monkeypatch):
    """Tokenizers of the same vocabulary and options are one: to make one takes most of these tests' time."""
    monkeypatch.setattr(text, "WordPieceTokenizer", _tokenizer, raising=False)


@functools.cache
def _tokenizer(vocabulary, options):
    return WordPieceTokenizer(vocabulary, options)


def write(folder, files, vocabulary=tiny.VOCABULARY):
    folder.mkdir(exist_ok=True, parents=True)
    for name, content in files.items():
        if content is None:
            (folder / name).write_text("".join(f"{token}\n" for token in vocabulary), "utf-8")
        else:
            (folder / name).write_text(json.dumps(content), "utf-8")
    return folder


def read(folder, rows=V + 2, **options):
    """A checkpoint without weights."""
    notes = []
    vocabulary, tokenizer = read_tokenizer(folder, notes, rows=rows, **options)
    config = BertConfig(**tiny.SHAPE, vocab_size=len(vocabulary), max_position_embeddings=9, type_vocab_size=2, hidden_act="relu", layer_norm_eps=1e-12)  # fmt: skip
    return Checkpoint(
        folder, "huggingface", config, vocabulary, tokenizer, {}, notes=notes, own_tokenizer=True
    )


def refused(folder, **options):
    with pytest.raises(UserError) as caught:
        read(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ids_of(found, *texts):
    return _tokenizer(found.vocabulary, found.tokenizer).tokenize(list(texts)).to_list()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_added_tokens_in_every_layout(layout, tmp_path):
    found = read(write(tmp_path / "source", layout))
    assert found.vocabulary == (*tiny.VOCABULARY, WORD, SPECIAL)
    assert {token.content: token.normalized for token in found.tokenizer.found_tokens} == {
        **dict.fromkeys(tiny.SPECIAL, False),
        WORD: True,
        SPECIAL: False,
    }
    good, a = (tiny.VOCABULARY.index(token) for token in ("good", "a"))
    assert ids_of(found, "good<E0> [E1]a", "[e1]") == [[good, V, V + 1, a], [1, 1, 1]]
    assert carries_tokenizer(found)
    assert "are those of the checkpoint's own fast tokenizer" in tokenizer_report(found)


def test_what_the_installed_transformers_writes(tmp_path):
    import tokenizers
    from transformers import BertTokenizerFast, PreTrainedTokenizerFast

    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in tiny.VOCABULARY))
    theirs = BertTokenizerFast.from_pretrained(tmp_path, do_lower_case=False)
    theirs.add_tokens([WORD, tokenizers.AddedToken("Film", single_word=True, normalized=False)])
    theirs.add_special_tokens({"extra_special_tokens": [SPECIAL], "eos_token": "<end>"})
    theirs.save_pretrained(tmp_path / "source")
    found = read(tmp_path / "source", rows=V + 4)
    assert found.vocabulary[V:] == tuple(theirs.convert_ids_to_tokens(range(V, len(theirs))))
    assert not found.tokenizer.lowercase
    assert "fast tokenizer" in tokenizer_report(found)
    PreTrainedTokenizerFast.from_pretrained(tmp_path / "source").save_pretrained(tmp_path / "generic")
    config = json.loads((tmp_path / "generic" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] != "BertTokenizer"
    again = read(tmp_path / "generic", rows=V + 4)
    assert (again.vocabulary, again.tokenizer) == (found.vocabulary, found.tokenizer)


TEMPLATE = FAST["post_processor"]
BERTS = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
PROCESSORS = {
    "a template": TEMPLATE,
    "another name": {**TEMPLATE, "special_tokens": {name: {**token, "id": name, "tokens": ["x"]} for name, token in TEMPLATE["special_tokens"].items()}},
    "BERT's": BERTS,
    "a sequence of one": {"type": "Sequence", "processors": [TEMPLATE]},
    "of none": {"type": "Sequence", "processors": []},
    "swapped": {**BERTS, "sep": ["[CLS]", 2], "cls": ["[SEP]", 3]},
    "RoBERTa's": {**BERTS, "type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": False},
    "no end of a text": {**TEMPLATE, "single": TEMPLATE["single"][:2]},
    "no end of a pair": {**TEMPLATE, "pair": TEMPLATE["pair"][:4]},
    "all types 0": {**TEMPLATE, "pair": [*TEMPLATE["pair"][:3], {"Sequence": {"id": "B", "type_id": 0}}, TEMPLATE["pair"][4]]},
    "texts swapped": {**TEMPLATE, "pair": [TEMPLATE["pair"][place] for place in (0, 3, 2, 1, 4)]},
    "other ids": {**TEMPLATE, "special_tokens": {**TEMPLATE["special_tokens"], "[CLS]": {"id": "[CLS]", "ids": [4], "tokens": ["[MASK]"]}}},
    "offsets only": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "none": None,
}  # fmt: skip


@pytest.mark.parametrize("processor", PROCESSORS.values(), ids=PROCESSORS)
def test_special_tokens_around_texts(processor, tmp_path):
    """A post-processor is read where it gives what ours gives, for a text and for a pair."""
    import tokenizers

    fast = {**FAST, "post_processor": processor}
    config = {**NAMES, **EXTRA, "tokenizer_class": "PreTrainedTokenizerFast"}
    source = write(tmp_path / "source", {"tokenizer.json": fast, "tokenizer_config.json": config})
    theirs = tokenizers.Tokenizer.from_str(json.dumps(fast))
    text, pair = theirs.encode("good"), theirs.encode("good", "a")
    good, a = (tiny.VOCABULARY.index(token) for token in ("good", "a"))
    ours = ([2, good, 3], [0, 0, 0], [2, good, 3, a, 3], [0, 0, 0, 1, 1])
    if (text.ids, text.type_ids, pair.ids, pair.type_ids) == ours:
        assert read(source).vocabulary[V] == WORD
    elif processor is None:
        assert "has no post_processor, so it does not put [CLS] and [SEP] around texts" in refused(source)
        config["tokenizer_class"] = "BertTokenizer"  # has its own
        found = read(write(source, {"tokenizer_config.json": config}))
        assert "fast tokenizer" in tokenizer_report(found)
    else:
        message = refused(source)
        assert f"its post_processor ({processor['type']}) does not give [CLS] A [SEP] for a text" in message


@pytest.mark.parametrize(
    "processor",
    [
        7,
        {},
        {"type": "BertProcessing"},
        {**TEMPLATE, "pair": ["[CLS]:0"]},
        {**TEMPLATE, "special_tokens": None},
    ],
)
def test_a_broken_post_processor(processor, tmp_path):
    source = write(tmp_path / "source", {"tokenizer.json": {**FAST, "post_processor": processor}})
    assert "does not give [CLS] A [SEP] for a text and [CLS] A [SEP] B [SEP] for a pair" in refused(source)


def test_a_special_token_without_an_id(tmp_path):
    """It gets the next one, as in transformers; without a row of the embeddings it is left out, and that is said."""
    source = write(
        tmp_path / "source", {"vocab.txt": None, "special_tokens_map.json": {**NAMES, **EXTRA, "eos_token": "</s>"}}
    )  # fmt: skip
    found = read(source)
    assert found.vocabulary == (*tiny.VOCABULARY, "</s>", SPECIAL)
    assert found.tokenizer.outside_vocabulary == ("</s>", SPECIAL)
    assert f"special tokens without an id got the next ones, from {V} on: </s>, [E1]" in found.notes
    assert "fast tokenizer" in tokenizer_report(found)
    found = read(source, rows=V)
    assert found.vocabulary == tuple(tiny.VOCABULARY)
    assert found.tokenizer.special_tokens == ()
    assert any("were left out: </s>, [E1]" in note for note in found.notes)


def test_a_special_token_that_the_map_alone_names(tmp_path):
    """Its id is in the vocabulary."""
    names = {"vocab.txt": None, "special_tokens_map.json": {**NAMES, **EXTRA}}
    found = read(write(tmp_path / "source", names, [*tiny.VOCABULARY, "x0", SPECIAL]))
    assert ids_of(found, "x0[E1]") == [[V, V + 1]]


def test_added_tokens_are_written_and_read_by_transformers(tmp_path):
    from transformers import BertTokenizerFast

    from tfpipeline import checkpoints

    added = (
        AddedToken("Film", single_word=True, normalized=False, special=False, in_vocabulary=False),
        AddedToken(WORD, normalized=True, lstrip=True, special=False, in_vocabulary=False),
        AddedToken(SPECIAL, in_vocabulary=False),
    )
    source = tiny.write_checkpoint(tmp_path / "source", vocab_size=V + 3)
    decoder = {str(V + number): token.to_dict() for number, token in enumerate(added)}
    config = {**CASE, "added_tokens_decoder": decoder}
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    found = checkpoints.load(source)
    assert (found.tokenizer.added_tokens, found.tokenizer.special_tokens) == (added, (SPECIAL,))
    for to in ("huggingface", "google"):
        checkpoints.convert(source, tmp_path / to, to=to)
        assert load_vocabulary(tmp_path / to) == tuple(tiny.VOCABULARY)
        assert checkpoints.load(tmp_path / to).equals(found)
        theirs = BertTokenizerFast.from_pretrained(tmp_path / to)
        texts = [*hard_texts(found), "a Film, Films <E0> [E1]"]
        want = theirs(texts, add_special_tokens=False)["input_ids"]
        assert ids_of(found, *texts) == want
        assert {V, V + 1, V + 2} <= set(want[-1])

    # New words and pieces are of the vocabulary, behind tokens that are not.
    longer = checkpoints.extend(found, tokens=("nice", "##e0"))
    assert longer.tokenizer.outside_vocabulary == ("Film", WORD, SPECIAL)
    nice, piece, a = V + 3, V + 4, tiny.VOCABULARY.index("a")
    assert ids_of(longer, "nice film ae0") == [[nice, tiny.VOCABULARY.index("film"), a, piece]]
    notes = write_tokenizer(tmp_path, longer.vocabulary, longer.tokenizer)
    assert notes == [
        "transformers finds the added tokens Film, <e0>, [E1] within words as well: because of their ids they have to be in vocab.txt"
    ]
    again = read(tmp_path, rows=V + 5)
    assert (again.vocabulary, again.tokenizer) == (longer.vocabulary, longer.tokenizer)
    assert (
        "not compared with transformers' fast tokenizer: it takes the added tokens Film"
        in tokenizer_report(again)
    )
    assert BertTokenizerFast.from_pretrained(tmp_path).convert_tokens_to_ids([WORD, "nice"]) == [V + 1, nice]


# Every word can be spelt with these.
SIGNS = string.ascii_lowercase + string.digits
LETTERS = [*tiny.SPECIAL, *SIGNS, *(f"##{sign}" for sign in SIGNS)]
L = len(LETTERS)


def spelt(word):
    return [LETTERS.index(("##" if place else "") + sign) for place, sign in enumerate(word)]


@pytest.mark.parametrize(
    ("token", "text", "want"),
    [
        ({"content": "##ing", "special": False}, "going ##ing", [*spelt("going"), L]),
        ({"content": "covid", "special": False, "single_word": True}, "covidiot covid", [*spelt("covidiot"), L]),
        ({"content": "covid19", "special": True}, "COVID19 covid19", [*spelt("covid19"), L]),
        ({"content": "covid", "special": False, "normalized": False}, "Covid covid", [*spelt("covid"), L]),
    ],
)  # fmt: skip
def test_an_added_token_is_no_piece_of_words(token, text, want, tmp_path):
    """One that is not in the WordPiece vocabulary is found as it was added, and never else, wherever it is written to."""
    from transformers import BertTokenizerFast

    config = {"added_tokens_decoder": {str(L): token}, "tokenizer_class": "BertTokenizer"}
    source = write(tmp_path / "source", {"vocab.txt": None, "tokenizer_config.json": config}, LETTERS)
    found = read(source, rows=L + 1)
    assert ids_of(found, text) == [want]
    assert BertTokenizerFast.from_pretrained(source)(text, add_special_tokens=False)["input_ids"] == want
    assert "fast tokenizer" in tokenizer_report(found)

    options = found.tokenizer
    assert options.outside_vocabulary == (token["content"],)
    assert TokenizerOptions.from_dict(json.loads(json.dumps(options.to_dict(found.vocabulary)))) == options
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
        assert write_tokenizer(tmp_path / name, found.vocabulary, options) == []
        assert load_vocabulary(tmp_path / name) == tuple(LETTERS)
        theirs = BertTokenizerFast.from_pretrained(tmp_path / name)
        assert theirs(text, add_special_tokens=False)["input_ids"] == want
        again = read(tmp_path / name, rows=L + 1)
        assert (again.vocabulary, again.tokenizer) == (found.vocabulary, options)

    pieces = (dataclasses.replace(options.added_tokens[0], in_vocabulary=True),)
    wrong = dataclasses.replace(found, tokenizer=dataclasses.replace(options, added_tokens=pieces))
    with pytest.raises(UserError, match="tfpipeline cannot read this tokenizer: report it"):
        tokenizer_report(wrong)


def test_added_tokens_are_joined_with_words():
    """Also those of a vocabulary so large that no sample has them."""
    words = [
        "".join(three)
        for three in itertools.product(string.ascii_lowercase, repeat=3)
        if three != tuple("ing")
    ]
    options = TokenizerOptions(added_tokens=(AddedToken("##ing", in_vocabulary=False),))
    vocabulary = (*tiny.SPECIAL, *words, "##ing")
    texts = hard_texts(Checkpoint(None, "", None, vocabulary, options, {}))
    found = {word for text in texts for word in text.split() if len(word) == 6}
    for ending in ("ing", "ING"):
        assert any(word.endswith(ending) and word[:3].lower() in words for word in found)
    assert any(word.startswith("Ing") for word in found)


@pytest.mark.parametrize("fast", [False, True])
def test_an_added_token_of_the_vocabulary_stays_a_piece(fast, tmp_path):
    """Where vocab.txt and tokenizer.json differ in it, tokenizer.json says, as in transformers."""
    config = {"added_tokens_decoder": {str(L): {"content": "##ing", "special": False}}}
    files = {"vocab.txt": None, "tokenizer_config.json": config}
    if fast:
        model = {**FAST["model"], "vocab": {token: number for number, token in enumerate(LETTERS)}}
        files["tokenizer.json"] = {**FAST, "model": model, "added_tokens": [*STANDARD, {"id": L, **NORMAL, "content": "##ing"}]}  # fmt: skip
    found = read(write(tmp_path / "source", files, [*LETTERS, "##ing"]), rows=L + 1)
    assert ids_of(found, "going") == [spelt("going") if fast else [*spelt("go"), L]]
    assert "fast tokenizer" in tokenizer_report(found)


def test_a_vocabulary_with_a_token_twice_is_written_whole(tmp_path):
    """transformers counts its different tokens, and would give an added one the id of another."""
    options = TokenizerOptions(added_tokens=(AddedToken("covid", in_vocabulary=False),))
    vocabulary = (*LETTERS, "a", "covid")
    assert "transformers finds the added tokens covid" in write_tokenizer(tmp_path, vocabulary, options)[0]
    assert load_vocabulary(tmp_path) == vocabulary
    assert read(tmp_path, rows=L + 2).tokenizer.outside_vocabulary == ("covid",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config.json": {"tokenizer_class": "BertJapaneseTokenizer"}}, "tokenizer_config.json: the tokenizer is BertJapaneseTokenizer, not BERT's"),
        ({"tokenizer_config.json": {"tokenizer_class": "AlbertTokenizerFast"}}, "the tokenizer is AlbertTokenizerFast"),
        ({"tokenizer_config.json": {"tokenizer_class": 7}}, "the tokenizer is 7"),
        ({"tokenizer_config.json": {"subword_tokenizer_type": "character"}}, "subword_tokenizer_type is 'character', which gives different tokens"),
        ({"tokenizer_config.json": {"split_special_tokens": True}}, "split_special_tokens is True"),
        ({"tokenizer.json": {**FAST, "pre_tokenizer": {"type": "Metaspace"}}}, "tokenizer.json: its pre_tokenizer is Metaspace, not that of BERT's"),
        ({"tokenizer.json": {**FAST, "pre_tokenizer": None}}, "its pre_tokenizer is None"),
        ({"tokenizer.json": {**FAST, "normalizer": {"type": "NFKC"}}}, "its normalizer is NFKC"),
        ({"tokenizer.json": {**FAST, "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, BERT]}}}, "its normalizer is Sequence"),
        ({"tokenizer.json": {**FAST, "normalizer": {**BERT, "clean_text": False}}}, "its normalizer is BertNormalizer"),
        ({"tokenizer.json": {**FAST, "decoder": {"type": "ByteLevel"}}}, "its decoder is ByteLevel"),
        ({"tokenizer.json": {**FAST, "model": {**FAST["model"], "type": "Unigram"}}}, "is not a WordPiece tokenizer (its model is Unigram)"),
        ({"tokenizer.json": {**FAST, "model": {**FAST["model"], "continuing_subword_prefix": "@@"}}}, "its model.continuing_subword_prefix is @@"),
        ({"tokenizer.json": {**FAST, "model": {**FAST["model"], "max_input_chars_per_word": 200}}}, "its model.max_input_chars_per_word is 200"),
        ({"tokenizer.json": {**FAST, "model": {**FAST["model"], "unk_token": "[MASK]"}}, "special_tokens_map.json": NAMES, "added_tokens.json": ADDED}, "its model.unk_token is '[MASK]', but the other tokenizer files say '[UNK]'"),
        ({"added_tokens.json": {"<x>": V + 1}}, f'gives the added token "<x>" the id {V + 1}, but no file has a token {V}'),
        ({"added_tokens.json": {"<x>": 3}}, 'gives the added token "<x>" the id 3, which is that of "[SEP]"'),
        ({"added_tokens.json": {"good": V}}, f'gives the added token "good" the id {V}, but the vocabulary 5'),
        ({"added_tokens.json": {"<x>": "y"}}, 'the id of the added token "<x>" is not a number'),
        ({"added_tokens.json": {WORD: V + 1}, "tokenizer.json": FAST}, f'added_tokens.json gives the added token "<e0>" the id {V + 1}, but tokenizer.json {V}'),
    ],
)  # fmt: skip
def test_other_tokenizers_and_contradictions_are_refused(files, message, tmp_path):
    source = write(tmp_path / "source", {"vocab.txt": None, **files})
    assert message in refused(source)


def test_the_class_that_the_models_configuration_names(tmp_path):
    source = write(tmp_path / "source", {"vocab.txt": None})
    message = refused(source, named="BertJapaneseTokenizer")
    assert message.startswith(f"{source / 'config.json'}: the tokenizer is BertJapaneseTokenizer")
    write(source, {"tokenizer_config.json": {"tokenizer_class": "BertTokenizer"}})
    assert read(source, named="BertJapaneseTokenizer").vocabulary == tuple(tiny.VOCABULARY)


@pytest.mark.parametrize(
    ("mark", "kind"), [("▁{}", "SentencePiece"), ("Ġ{}", "byte-level BPE"), ("{}</w>", "BPE")]
)
def test_a_vocabulary_of_marked_words(mark, kind, tmp_path):
    tokens = [*tiny.SPECIAL, *map(mark.format, ["the", "film", "is", "good"]), "ing"]
    for files in (
        {"vocab.txt": None},
        {"tokenizer.json": {**FAST, "model": {**FAST["model"], "vocab": {t: i for i, t in enumerate(tokens)}}}},
    ):  # fmt: skip
        source = write(tmp_path / f"{len(files)}{next(iter(files))}", files, tokens)
        assert f"it is the vocabulary of {kind}, not of BERT's WordPiece" in refused(source)


@pytest.mark.parametrize("name", ["spiece.model", "sentencepiece.bpe.model", "vocab.json", "merges.txt"])
def test_files_of_another_tokenizer_alone(name, tmp_path):
    (tmp_path / name).write_text("")
    assert f"has no vocab.txt but {name}: its tokenizer is" in refused(tmp_path)


def test_case_where_the_class_is_whatever_tokenizer_json_says(tmp_path):
    cased = {**FAST, "normalizer": {**BERT, "lowercase": False, "strip_accents": True}}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True}
    found = read(write(tmp_path / "source", {"tokenizer.json": cased, "tokenizer_config.json": config}))
    assert (found.tokenizer.lowercase, found.tokenizer.strip_accents) == (False, True)
    assert "fast tokenizer" in tokenizer_report(found)


def test_a_wrong_reading_is_found(tmp_path):
    """The texts tell options and added tokens apart, and the sentence names the first and both ids."""
    layout = LAYOUTS["2023: fast"]
    config = {**layout["tokenizer_config.json"], "strip_accents": None, "tokenize_chinese_chars": True}
    found = read(write(tmp_path / "source", {**layout, "tokenizer_config.json": config}))
    wrong = {
        "case": dataclasses.replace(found.tokenizer, lowercase=False),
        "accents": dataclasses.replace(found.tokenizer, strip_accents=False),
        "chinese": dataclasses.replace(found.tokenizer, tokenize_chinese_chars=False),
        "no added": dataclasses.replace(found.tokenizer, added_tokens=()),
        "no special": dataclasses.replace(
            found.tokenizer, special_tokens=(), added_tokens=found.tokenizer.added_tokens[:1]
        ),
        "whole words": dataclasses.replace(
            found.tokenizer, added_tokens=(AddedToken(WORD, normalized=True, single_word=True),)
        ),
        "as it comes": dataclasses.replace(found.tokenizer, added_tokens=(AddedToken(WORD),)),
    }
    for tokenizer in wrong.values():
        with pytest.raises(UserError, match=r"\d+ of \d+ texts get other ids here .* here, \[2, .* there"):
            tokenizer_report(dataclasses.replace(found, tokenizer=tokenizer))
    swapped = (*found.vocabulary[:5], found.vocabulary[6], found.vocabulary[5], *found.vocabulary[7:])
    with pytest.raises(UserError, match="get other ids here"):
        tokenizer_report(dataclasses.replace(found, vocabulary=swapped))


def test_a_vocabulary_alone_is_compared_with_a_tokenizer_made_of_it(tmp_path):
    found = read(write(tmp_path / "source", {"vocab.txt": None}), rows=V)
    assert not carries_tokenizer(found)
    made = dataclasses.replace(found, own_tokenizer=False)
    assert "are those of a fast tokenizer in transformers" in tokenizer_report(made)
    assert 200 < len(hard_texts(found)) < 800


def test_what_editors_leave_in_a_vocabulary(tmp_path):
    source = write(tmp_path / "source", {"vocab.txt": None, "tokenizer_config.json": CASE})
    lines = "".join(f"{token}\r\n" for token in [*tiny.VOCABULARY, "", ""])
    (source / "vocab.txt").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    found = read(source, rows=V)
    assert found.vocabulary == tuple(tiny.VOCABULARY)
    assert "vocab.txt begins with a byte order mark, which was cut off" in found.notes
    assert "fast tokenizer" in tokenizer_report(found)
    (source / "vocab.txt").write_text("".join(f"{token} \t\n" for token in tiny.VOCABULARY))
    found = read(source, rows=V)
    assert found.vocabulary == tuple(tiny.VOCABULARY)
    assert f"{V} lines of vocab.txt begin or end with blanks, which were cut off" in found.notes
    (source / "vocab.txt").write_text("".join(f"{token}\n" for token in [*tiny.SPECIAL, "a ", "b"]))
    found = read(source, rows=7)
    assert found.vocabulary[5] == "a "
    assert any(
        "1 token of vocab.txt begins or ends with blanks and matches nothing, as in transformers, in line 6"
        in note
        for note in found.notes
    )
    (source / "vocab.txt").write_bytes("".join(f"{token}\n" for token in tiny.VOCABULARY).encode("utf-16"))
    assert "vocab.txt is UTF-16; save it as UTF-8" in refused(source)


def test_the_file_is_named_that_does_not_fit(tmp_path):
    def sentence(files, rows):
        folder = write(tmp_path / "source", files)
        notes = []
        vocabulary, options = read_tokenizer(folder, notes, rows=rows)
        config = BertConfig(**tiny.SHAPE, vocab_size=rows, max_position_embeddings=9, type_vocab_size=2, hidden_act="relu", layer_norm_eps=1e-12)  # fmt: skip
        with pytest.raises(UserError) as caught:
            check_vocabulary(vocabulary, options, config, folder / "vocab.txt")
        return str(caught.value).replace(f"{folder}/", "")

    use = "use the vocabulary the checkpoint came with"
    assert (
        sentence({"vocab.txt": None}, V + 1)
        == f"vocab.txt has {V} tokens, but the model's vocab_size is {V + 1}; {use}"
    )
    added = f"vocab.txt has {V} tokens, and the other tokenizer files in {tmp_path}/source add 2, but the model's vocab_size is"
    assert sentence({"added_tokens.json": ADDED}, V + 1) == f"{added} {V + 1}; {use}"
    assert sentence({"added_tokens.json": ADDED}, V) == (
        f"{added} {V}; take out the added ones, or use the weights of the model that was extended for them"
    )
    (tmp_path / "source" / "vocab.txt").unlink()
    assert sentence({"tokenizer.json": FAST}, V + 1).startswith(f"tokenizer.json has {V + 2} tokens, but")
