"""Several models, labels, and configurations that change while the server answers: the same on both servers.

Sources in tensorflow/serving 2.21: model_servers/server_core.cc (ReloadConfig, UpdateModelVersionLabelMap),
model_servers/model_service_impl.cc.
"""

from __future__ import annotations

import contextlib
import threading
import time

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, predict_pb2

from tfpipeline.export.labels import promote, rollback

pytestmark = pytest.mark.contract

_WAIT = 30.0
CODE = grpc.StatusCode


def ask(served, model, version=None, label=None):
    """(version that answered, 8 / 2 + plus)."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=1)
    request.inputs["x"].float_val.append(8.0)
    response = served.predictions.Predict(request, timeout=20)
    (y,) = response.outputs["y"].float_val
    return response.model_spec.version.value, y


def refused(served, model, **choice):
    with pytest.raises(grpc.RpcError) as caught:
        ask(served, model, **choice)
    return caught.value.code(), caught.value.details()


def available(served, model, **choice):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    for field, value in choice.items():
        setattr(request.model_spec, field, value)
    statuses = served.models.GetModelStatus(request, timeout=20).model_version_status
    return [one.version for one in statuses if one.state == 30]


def reload(served, *configs, request=None):
    text = "".join(f"config {{ {config} }} " for config in configs)
    request = model_management_pb2.ReloadConfigRequest() if request is None else request
    if configs:
        text_format.Parse(f"config {{ model_config_list {{ {text} }} }}", request)
    return served.models.HandleReloadConfigRequest(request, timeout=30)


def reload_refused(served, *configs):
    with pytest.raises(grpc.RpcError) as caught:
        reload(served, *configs)
    return caught.value.code(), caught.value.details()


def model(name, path, more=""):
    return f'name: "{name}" base_path: "{path}" model_platform: "tensorflow" {more}'


def eventually(condition):
    """Wait until a condition holds; a refused call means that it does not hold yet."""
    end = time.monotonic() + _WAIT
    while True:
        with contextlib.suppress(grpc.RpcError):
            if condition():
                return
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def models(tmp_path, publish):
    """`two` has versions 1 (plus 2) and 2 (plus 3), `three` has version 5 (plus 3)."""
    for name in ("two", "three"):
        (tmp_path / "models" / name).mkdir(parents=True)
    publish(tmp_path / "models" / "two", 1)
    publish(tmp_path / "models" / "two", 2, "plus3")
    publish(tmp_path / "models" / "three", 5, "plus3")
    return tmp_path / "models"


def test_a_directory_of_models(start, models):
    with start(models, name=None) as served:
        assert ask(served, "two") == (2, 7.0)
        assert ask(served, "three") == (5, 7.0)
        assert refused(served, "two", version=5) == (
            CODE.NOT_FOUND,
            "Servable not found for request: Specific(two, 5)",
        )
        assert refused(served, "half") == (CODE.NOT_FOUND, "Servable not found for request: Latest(half)")


def test_labels_are_followed_without_a_failed_call(start, models):
    two = models / "two"
    promote(two, 1)
    with start(two, name="m") as served:
        assert ask(served, "m", label="stable") == (1, 6.0)
        assert ask(served, "m") == (2, 7.0)
        assert available(served, "m", version_label="stable") == [2, 1]  # a label selects nothing here
        assert refused(served, "m", label="canary") == (
            CODE.INVALID_ARGUMENT,
            "Unrecognized servable version label: canary",
        )
        answers, done = [], threading.Event()

        def call():
            while not done.is_set():
                answers.append(ask(served, "m", label="stable"))
                time.sleep(0.002)

        callers = [threading.Thread(target=call) for _ in range(2)]
        for caller in callers:
            caller.start()
        promote(two, 2)
        eventually(lambda: ask(served, "m", label="stable") == (2, 7.0))
        eventually(lambda: available(served, "m") == [2])  # nothing points to version 1 any more
        rollback(two)  # to a version that has to be loaded again
        eventually(lambda: ask(served, "m", label="stable") == (1, 6.0))
        done.set()
        for caller in callers:
            caller.join()
        assert set(answers) == {(1, 6.0), (2, 7.0)}
        assert len(answers) > 20


def test_a_label_does_not_follow_to_a_version_that_cannot_be_loaded(start, models):
    two = models / "two"
    promote(two, 2)
    with start(two, name="m") as served:
        (two / "3").mkdir()
        (two / "3" / "saved_model.pb").write_bytes(b"not a protocol buffer")
        promote(two, 3)
        eventually(lambda: (3, 50) in states(served, "m"))
        assert ask(served, "m", label="stable") == (2, 7.0)
        assert ask(served, "m") == (2, 7.0)


def states(served, name):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    return [(one.version, one.state) for one in served.models.GetModelStatus(request).model_version_status]


def test_reloading_changes_models_policies_and_labels(start, models):
    one, other = model("m", models / "two"), model("other", models / "three")
    with start(models / "two", name="m") as served:
        response = reload(served, one, other)
        assert (response.status.error_code, response.status.error_message) == (0, "")
        assert ask(served, "other") == (5, 7.0)  # it is there when the call returns

        both = model("m", models / "two", "model_version_policy { specific { versions: 1 versions: 2 } }")
        reload(served, both, other)
        eventually(lambda: available(served, "m") == [2, 1])
        labels = 'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }'
        reload(served, both + labels, other)
        assert ask(served, "m", label="stable") == (1, 6.0)
        assert ask(served, "m", label="canary") == (2, 7.0)

        everything = model("m", models / "two", "model_version_policy { all {} } " + labels)
        reload(served, everything)  # "other" is gone
        eventually(lambda: available(served, "other") == [])
        eventually(lambda: states(served, "other") == [(5, 50)])  # UNLOADING first
        assert refused(served, "other") == (
            CODE.NOT_FOUND,
            "Servable not found for request: Latest(other)",
        )
        assert available(served, "m") == [2, 1]
        reload(served, one, other)
        eventually(lambda: available(served, "m") == [2])
        assert ask(served, "other") == (5, 7.0)  # it comes back
        assert refused(served, "m", label="stable")[0] == CODE.INVALID_ARGUMENT


def test_a_reloaded_configuration_holds_until_something_changes_on_the_disk(start, models):
    with start(models / "two", name="m") as served:
        stable = 'model_version_policy { all {} } version_labels { key: "mine" value: 2 }'
        reload(served, model("m", models / "two", stable), model("other", models / "three"))
        time.sleep(2.5)  # longer than any poll
        assert ask(served, "m", label="mine") == (2, 7.0)
        assert ask(served, "other") == (5, 7.0)
        promote(models / "two", 1)
        eventually(lambda: available(served, "other") == [])
        eventually(lambda: refused(served, "m", label="mine")[0] == CODE.INVALID_ARGUMENT)
        eventually(lambda: 1 in available(served, "m"))
        eventually(lambda: ask(served, "m", label="stable") == (1, 6.0))


def test_reloads_that_are_refused(start, models):
    one = model("m", models / "two")
    with start(models / "two", name="m") as served:
        assert reload_refused(served) == (
            CODE.INVALID_ARGUMENT,
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported",
        )
        assert reload_refused(served, one, one) == (
            CODE.INVALID_ARGUMENT,
            "Illegal to list model m multiple times in config list",
        )
        assert reload_refused(served, model("m", "relative/path")) == (
            CODE.INVALID_ARGUMENT,
            "Expected model m to have an absolute path or URI; got base_path()=relative/path",
        )
        assert reload_refused(served, one.replace('"tensorflow"', '"other"')) == (
            CODE.INVALID_ARGUMENT,
            "Illegal to change a model's platform. For model m platform was tensorflow and new platform "
            "requested is other",
        )
        other = model("other", models / "three")
        assert reload_refused(served, one, other.replace('"tensorflow"', '"pytorch"')) == (
            CODE.INVALID_ARGUMENT,
            "Model other requests unsupported platform pytorch",
        )
        assert reload_refused(served, one, other.replace('"tensorflow"', '""')) == (
            CODE.INVALID_ARGUMENT,
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is other",
        )
        assert ask(served, "m") == (2, 7.0)
        # A new label may point to a version that comes later, an old one may not.
        label = 'version_labels {{ key: "stable" value: {} }}'
        reload(served, one + label.format(9))
        assert refused(served, "m", label="stable") == (
            CODE.NOT_FOUND,
            "Servable not found for request: Specific(m, 9)",
        )
        reload(served, one + label.format(2))
        assert reload_refused(served, one + label.format(1)) == (
            CODE.FAILED_PRECONDITION,
            "Request to assign label to version 1 of model m, which is not currently available for inference",
        )
        assert ask(served, "m", label="stable") == (2, 7.0)


def test_metric_names_of_a_reload_are_reported(start, models):
    with start(models / "two", name="m") as served:
        request = model_management_pb2.ReloadConfigRequest(metric_names=["/nothing/of/this/name"])
        response = reload(served, model("m", models / "two"), request=request)
        assert [(one.name, one.int64_value_increase) for one in response.metric] == [
            ("/nothing/of/this/name", 0)
        ]


def test_a_configuration_file_is_followed(start, models, tmp_path):
    file = tmp_path / "models.config"

    def write(*configs):
        file.write_text("model_config_list {" + "".join(f"config {{ {one} }}" for one in configs) + "}")

    policy = "model_version_policy { specific { versions: 1 } }"
    write(model("m", models / "two", policy))
    with start((), name=None, config=str(file)) as served:
        assert ask(served, "m") == (1, 6.0)
        write(
            model("m", models / "two", policy + 'version_labels { key: "new" value: 2 }'),
            model("n", models / "three"),
        )
        eventually(lambda: available(served, "m") == [2, 1])
        eventually(lambda: ask(served, "n") == (5, 7.0))
        eventually(lambda: ask(served, "m", label="new") == (2, 7.0))
        file.write_text("model_config_list { config { name: 3 } }")
        time.sleep(1.5)
        assert ask(served, "m", label="new") == (2, 7.0)


def test_a_new_model_that_cannot_be_loaded(start, models):
    broken = models / "broken" / "1"
    broken.mkdir(parents=True)
    with start(models / "two", name="m") as served:
        refusal = reload_refused(served, model("m", models / "two"), model("new", broken.parent))
        assert refusal == (
            CODE.UNKNOWN,
            "1 model(s) did not become available: {{{name: new version: 1} due to error: NOT_FOUND: Specified file "
            "path does not appear to contain a SavedModel bundle (should have a file called `saved_model.pb`)\n"
            f"Specified file path: {broken}}}, }}",
        )
        assert ask(served, "m") == (2, 7.0)
        assert refused(served, "new") == (CODE.NOT_FOUND, "Servable not found for request: Latest(new)")
