"""An address of a file system that a command cannot use is refused in one sentence, whatever it is given
for; no folder called ``s3:`` is ever made.
"""

from __future__ import annotations

import pytest

from tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("addresses")
    tiny.write_checkpoint(folder / "model", **tiny.CLASSIFIER)
    return folder


# Each place of a command where a path is taken; ADDRESS stands for the one that is tried there.
PLACES = {
    "convert source": ["convert", "ADDRESS", "out"],
    "convert destination": ["convert", "model", "ADDRESS"],
    "convert tokens": ["convert", "model", "out", "--add-tokens", "ADDRESS"],
    "train": ["train", "ADDRESS"],
    "evaluate run": ["evaluate", "ADDRESS"],
    "evaluate data": ["evaluate", "model", "--data", "ADDRESS"],
    "evaluate to": ["evaluate", "model", "--to", "ADDRESS"],
    "export run": ["export", "ADDRESS", "--to", "out"],
    "export to": ["export", "model", "--to", "ADDRESS"],
    "serve": ["serve", "ADDRESS"],
    "serve binary": ["serve", "models", "--server-binary", "ADDRESS"],
    "predict from": ["predict", "x", "--from", "ADDRESS"],
    "predict input": ["predict", "--from", "model", "--input", "ADDRESS"],
    "predict html": ["predict", "x", "--from", "model", "--explain", "--html", "ADDRESS"],
    "versions": ["versions", "ADDRESS"],
    "promote": ["promote", "ADDRESS", "1"],
    "rollback": ["rollback", "ADDRESS"],
    "inspect": ["inspect", "ADDRESS"],
    "inspect two": ["inspect", "ADDRESS", "model"],
    "inspect data": ["inspect", "model", "model", "--data", "ADDRESS"],
}
# Where no address at all can be used, and where that of a checkpoint can.
LOCAL_ONLY = {
    *("convert destination", "convert tokens", "train", "evaluate data", "evaluate to"),
    *("serve", "serve binary", "predict input", "predict html", "inspect data"),
}
ALSO = dict.fromkeys(("convert source", "evaluate run", "export run", "predict from"), "gs:// or hf://")


@pytest.mark.parametrize("address", ["s3://bucket/x.csv", "http://host/x.csv", "gs:/typo/x.csv"])
@pytest.mark.parametrize("place", PLACES)
def test_an_address_that_cannot_be_used(tfpipeline, folder, place, address):
    before = sorted(path.name for path in folder.iterdir())
    done = tfpipeline(*[address if word == "ADDRESS" else word for word in PLACES[place]], cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    sentence = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(sentence) == 1, done.stderr
    assert address in sentence[0]
    if "://" in address:
        refused = (
            f"{address}: {address.partition(':')[0]}:// cannot be used here; give a path on this machine"
        )
        also = "" if place in LOCAL_ONLY else f", or an address that starts with {ALSO.get(place, 'gs://')}"
        assert sentence[0] == f"error: {refused}{also}"
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == before
