"""TensorFlow Serving's text format: read, written, and refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tfpipeline.errors import UserError
from tfpipeline.serving.server.model_config import (
    All,
    Latest,
    ModelConfig,
    Specific,
    as_specific,
    from_message,
    parse,
    to_text,
)

CONFIGS = (
    ModelConfig('a "b" \\ é\n', Path("/models/a é"), Specific((3, 7)), {"stable": 3, "é": 2**62}),
    ModelConfig("b", Path("/models/b"), All()),
    ModelConfig("c", Path("/models/c"), Latest(3)),
    ModelConfig("d", Path("/models/d")),
)


def test_what_is_written_is_read_back_by_the_official_message_and_by_us():
    text = to_text(CONFIGS)
    official = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    assert from_message(official) == CONFIGS
    assert parse(text, "models.config") == CONFIGS


def test_what_the_official_message_writes_is_read():
    text = """
        model_config_list: {
          config: { name: 'm', base_path: '/m', model_platform: 'tensorflow'  # a comment
            model_version_policy: { specific { versions: [3, 7] } }
            version_labels { key: 'stable' value: 3 }
            version_labels: { key: "canary", value: 7 };
            logging_config { log_collector_config { type: "x" } sampling_config { sampling_rate: 0.5 } }
          }
          config { name: 'n' base_path: '/n' model_platform: "tensorflow" model_version_policy { latest {} } }
        }"""
    official = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    m, n = parse(text, "models.config")
    assert (m, n) == from_message(official)
    assert (m.policy, m.labels) == (Specific((3, 7)), {"stable": 3, "canary": 7})
    assert n.policy == Latest(1)  # 0 means 1: AspireLatestVersions
    again = text_format.Parse(to_text([m]), model_server_config_pb2.ModelServerConfig())
    assert (
        again.model_config_list.config[0].logging_config
        == official.model_config_list.config[0].logging_config
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "model_config_list {\n config {\n  name: 'x'\n  base: 'y'\n}}",
            r'f, line 4 is not .* no field named "base"',
        ),
        ("model_config_list {\n config { name: 3 } }", "f, line 2 is not .*Expected string but found: '3'"),
        ("model_config_list { config { name: 'a'", "f.* is not a configuration of TensorFlow Serving"),
        (
            "model_config_list { config { name: 'a' name2: 'b' } } # and more",
            'g: Message type .*"name2"; docs',
        ),
        ("a\nb [", "f, line 1 is not a configuration of TensorFlow Serving: Message type"),
        (
            "model_config_list {\n config { version_labels { value: 9e99 } }\n}",
            "Serving: Couldn't parse integer: 9e99;",
        ),
        ("", r"f has no model_config_list; write model_config_list \{ config"),
        ("custom_model_config {}", 'no field named "custom_model_config"'),
    ],
)
def test_a_text_that_cannot_be_read(text, words):
    with pytest.raises(UserError, match=words) as caught:
        parse(text, "f")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "there", "want"),
    [
        (Latest(), [1, 9, 10], [10]),
        (Latest(2), [1, 9, 10], [10, 9]),
        (Latest(5), [1, 9], [9, 1]),
        (Latest(1, also=(1, 4)), [1, 9, 10], [10, 1]),
        (Specific((9, 4)), [1, 9, 10], [9]),
        (Specific(()), [1], []),
        (All(), [1, 9], [9, 1]),
        (Latest(), [], []),
    ],
)
def test_what_a_policy_selects(policy, there, want):
    assert policy.select(there) == want


def test_a_policy_without_words_is_written_as_numbers():
    config = ModelConfig("m", Path("/m"), Latest(1, also=(1,)))
    with pytest.raises(ValueError, match="no word for"):
        to_text([config])
    assert as_specific(config, [1, 2, 3]).policy == Specific((1, 3))
