"""What is read from the log of tensorflow_model_server, and what of it is for the user."""

from __future__ import annotations

from tfpipeline.serving.server.binary_log import BinaryLog

_PREFIX = "E0000 00:00:17.000001     825 retrier.cc:40] "
# As TensorFlow Serving 2.21 logs a version that it cannot load.
_RETRIED = _PREFIX + "Loading servable: {name: my m version: 4} failed: NOT_FOUND: no graph"
_FAILED = (
    "I0000 00:00:17.000001     825 loader_harness.cc:181] Encountered an error for servable version "
    "{name: my m version: 4}: NOT_FOUND: no graph"
)
_GIVEN_UP = (
    "E0000 00:00:17.000001     825 aspired_versions_manager.cc:420] Servable {name: my m version: 4} cannot "
    "be loaded: NOT_FOUND: no graph"
)
_STORY = [_RETRIED, _RETRIED, _RETRIED, _FAILED, _GIVEN_UP]


def test_a_version_that_cannot_be_loaded_is_told_in_two_sentences():
    log = BinaryLog()
    told = [sentence for line in _STORY * 2 if (sentence := log.read(line))]
    assert told == 2 * [
        "version 4 of my m cannot be loaded yet (NOT_FOUND: no graph); trying again",
        "version 4 of my m cannot be loaded (NOT_FOUND: no graph)",
    ]
    assert log.failed == {("my m", 4): "NOT_FOUND: no graph"}


def test_while_it_starts_only_delays_are_told():
    log = BinaryLog()
    story = [
        *_STORY,
        _PREFIX + "another error",
        _PREFIX + "Successfully loaded servable version {name: m version: 1}",
    ]
    told = [sentence for line in story if (sentence := log.read(line, starting=True))]
    assert told == ["version 4 of my m cannot be loaded yet (NOT_FOUND: no graph); trying again"]
    assert log.available == {"m": {1}}
