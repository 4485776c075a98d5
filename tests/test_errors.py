from __future__ import annotations

import pytest

from tfpipeline.errors import MissingExtraError, did_you_mean, explain_missing_extra


@pytest.mark.parametrize(
    ("module", "extra"),
    [("tensorflow", "train"), ("keras.ops", "train"), ("tensorflow_serving.apis", "serve")],
)
def test_a_missing_extra_names_its_pip_line(module, extra):
    with (
        pytest.raises(MissingExtraError, match=rf"pip install 'tfpipeline\[{extra}\]'"),
        explain_missing_extra(),
    ):
        raise ModuleNotFoundError(name=module)


def test_other_missing_modules_stay_errors_of_ours():
    with pytest.raises(ModuleNotFoundError), explain_missing_extra():
        raise ModuleNotFoundError(name="tfpipeline.nonsense")


def test_did_you_mean():
    assert did_you_mean("epoch", ["epochs", "seed"]) == '; did you mean "epochs"?'
    assert did_you_mean("xyz", ["epochs", "seed"]) == "; known: epochs, seed"
    assert did_you_mean("xyz", []) == ""
