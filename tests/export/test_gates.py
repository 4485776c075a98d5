"""Conditions on metrics, before anything is exported."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from tfpipeline.errors import UserError
from tfpipeline.export import gates, requirements
from tfpipeline.export.gates import Gate
from tfpipeline.export.options import ExportOptions


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("macro_f1 >= 0.8", Gate("macro_f1", ">=", 0.8)),
        ("macro_f1>0.8", Gate("macro_f1", ">", 0.8)),
        ("validation.loss <= 1e-1", Gate("validation.loss", "<=", 0.1)),
        ("hamming_loss<.5", Gate("hamming_loss", "<", 0.5)),
        ("exact_match == 1", Gate("exact_match", "==", 1)),
        ("f1/a > b >= 0.5", Gate("f1/a > b", ">=", 0.5)),  # the label may be called anything
        ("f1/very good >= -1", Gate("f1/very good", ">=", -1)),
    ],
)
def test_conditions(text, gate):
    assert gates.parse(text) == gate
    assert gates.parse(str(gate)) == gate


@pytest.mark.parametrize(
    "text", ["", "macro_f1", "macro_f1 0.8", ">= 0.8", "f1 >= high", "f1 => 1", "f1 >= nan", "f1 >="]
)
def test_what_is_no_condition(text):
    with pytest.raises(UserError, match="is not a condition; write a metric, one of"):
        ExportOptions(require=[text])


@pytest.mark.parametrize(
    ("sign", "values"), [(">=", "nyy"), (">", "nny"), ("<=", "yyn"), ("<", "ynn"), ("==", "nyn")]
)
def test_comparisons(sign, values):
    gate = Gate("m", sign, 0.5)
    assert "".join("ny"[gate.holds(value)] for value in (0.4, 0.5, 0.6)) == values
    assert not gate.holds(float("nan"))


def test_all_conditions_that_fail_are_named():
    asked = [Gate("accuracy", ">=", 0.9), Gate("loss", "<", 0.5), Gate("mcc", ">", 0)]
    metrics = {"accuracy": 0.85, "loss": 0.7, "mcc": 0.2}
    with pytest.raises(UserError) as caught:
        gates.check(asked, metrics, "report.json")
    assert str(caught.value) == (
        "not exported: accuracy is 0.85, and --require asks for >= 0.9; loss is 0.7, and --require asks for < 0.5 "
        "(report.json)"
    )
    assert gates.check(asked[2:], metrics, "report.json") == {"mcc > 0": 0.2}
    with pytest.raises(UserError, match='has no metric "acuracy"; did you mean "accuracy"'):
        gates.check([Gate("acuracy", ">", 0)], metrics, "report.json")


def test_reports(tmp_path):
    path = tmp_path / "report.json"
    with pytest.raises(
        UserError, match=r"needs .*report\.json, which does not exist; run: tfpipeline evaluate r"
    ):
        gates.reported(path, "step-1", "tfpipeline evaluate r")
    scores = {"a baseline": {"accuracy": 0.1}, "after fine-tuning": {"accuracy": 0.5}}
    path.write_text(json.dumps({"scores": scores, "weights": "step-1"}))
    assert gates.reported(path, "step-1", "x") == {"accuracy": 0.5}
    assert gates.reported(path, None, "x") == {"accuracy": 0.5}
    with pytest.raises(
        UserError, match=r"has the scores of other weights \(step-1\) than .* \(step-2\); run: x"
    ):
        gates.reported(path, "step-2", "x")
    for broken in ("{", "[]", '{"scores": {}}', '{"scores": {"a": 1}}', '{"scores": {"a": {"b": "c"}}}'):
        path.write_text(broken)
        with pytest.raises(UserError, match="it is not a report"):
            gates.reported(path, None, "x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, 'precision is "int8"; it must be float32 or bfloat16'),
        ({"abstain": 0.0}, "abstain is 0; it must be a share above 0 and at most 1"),
        ({"abstain": 95}, "abstain is 95; it must be a share"),
        ({"max_accuracy_loss": float("nan")}, "max_accuracy_loss is not a number"),
        ({"require": "f1 > 0"}, "require is one text; give a list"),
        ({"require": [1]}, r"require is \[1\]; give texts"),
        ({"report": "report.json"}, "report is given without require"),
        ({"keep": "3"}, "keep is '3'; it must be a whole number, or None"),
        ({"abstain": "0.9"}, "abstain is '0.9'; it must be a number, or None"),
        ({"warmup": 1.5}, "warmup is 1.5; it must be a whole number"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        ExportOptions(**options)


def test_a_precision_without_a_bound_needs_no_validation_rows():
    assert ExportOptions(precision="bfloat16").uses_validation_rows
    assert not ExportOptions(precision="bfloat16", max_accuracy_loss=float("inf")).uses_validation_rows
    assert ExportOptions(
        calibrate=True, precision="bfloat16", max_accuracy_loss=float("inf")
    ).uses_validation_rows


def test_conditions_are_about_the_model_that_is_exported(tmp_path):
    """Calibrated scores count for a calibrated model, and for no other."""
    scores = {
        "a baseline": {"loss": 9.0, "accuracy": 0.1},
        "after fine-tuning": {"loss": 0.5, "accuracy": 0.8},
        "after fine-tuning, calibrated": {"loss": 0.4, "accuracy": 0.8},
    }
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"scores": scores}))
    run = SimpleNamespace(
        path=tmp_path,
        name="r",
        reports=tmp_path,
        stages=(("best", "after fine-tuning"),),
        weights_id=lambda weights: None,
    )

    def met(*require, **options):
        return requirements.check_known(run, ExportOptions(require=require, **options))

    assert met("loss < 1") == {"loss < 1": 0.5}
    assert met("loss < 1", calibrate=True) == {"loss < 1": 0.4}
    with pytest.raises(UserError, match=r"loss is 0\.5, and --require asks for < 0\.45"):
        met("loss < 0.45")
    del scores["after fine-tuning, calibrated"]
    path.write_text(json.dumps({"scores": scores}))
    assert met("accuracy > 0.5", calibrate=True) == {"accuracy > 0.5": 0.8}
    with pytest.raises(
        UserError, match=r"does not have the loss of the calibrated model; run: .* --calibrate$"
    ):
        met("loss < 1", calibrate=True)
    run.reports, path = None, path.unlink()
    with pytest.raises(
        UserError, match=r"evaluate .* --data FILE --to FOLDER, and name its report with --report"
    ):
        met("loss < 1")
