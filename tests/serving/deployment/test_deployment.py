"""`serve-config`: what it writes is valid by the schemas of those who read it, and fits together."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import lzma
import shutil
import stat
import subprocess
import threading
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.serving.deployment.generate_schemas import SCHEMAS
from tfpipeline.errors import UserError
from tfpipeline.serving.deployment import compose, kserve, kubernetes, making, server, writing
from tfpipeline.serving.deployment.options import Deployment, resource_name
from tfpipeline.serving.server.model_config import Latest, ModelConfig, Specific, parse
from tfpipeline.serving.server.options import ServerOptions

BATCHING = "max_batch_size { value: 32 }\n"
TWEETS = ModelConfig("tweets_v2", Path("/m/tweets_v2"), Specific((3, 7)), {"stable": 3})
TOPICS = ModelConfig("topics", Path("/m/topics"), Latest())


def deploy(*models, age=30.0, port=8500, flags=(), batching=BATCHING, **options):
    options_of_server = ServerOptions(
        model_dirs=(Path("/m"),), port=port, rest_port=8501, max_connection_age=age, flags=flags
    )
    return Deployment(options_of_server, models, batching=batching, **options)


VARIANTS = {
    "one model": deploy(TOPICS),
    "labels": deploy(TWEETS, namespace="nlp", age=5.0, flags=("--v=1",)),
    "two models": deploy(TWEETS, TOPICS, storage="pvc://disk/a/b", cpus=8, memory_mib=4096),
    "gpu": deploy(TOPICS, gpus=2),
    "bucket": deploy(TWEETS, storage="gs://bucket/models", pod_monitor=False, port=9500),
}


def read_back(resources):
    """As it is written and read again."""
    return {name: yaml.safe_load(writing.to_yaml(one)) for name, one in resources.items()}


@pytest.fixture(scope="module")
def schemas():
    return json.loads(lzma.decompress(SCHEMAS.read_bytes()))


def check_kubernetes(resource, version="1.36"):
    kubernetes_validate.validate(resource, version, strict=True)


def check_kserve(resource, schemas):
    jsonschema.Draft202012Validator(schemas[resource["kind"]]).validate(resource)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_kubernetes_accepts_every_resource(variant, version, schemas):
    resources = read_back(kubernetes.resources(VARIANTS[variant]))
    kinds = set()
    for name, resource in resources.items():
        kinds.add(resource["kind"])
        if resource["kind"] == "PodMonitor":
            check_kserve(resource, schemas)
        elif resource["kind"] != "Kustomization":
            check_kubernetes(resource, version)
        if resource["kind"] == "Kustomization":
            assert set(resource["resources"]) == set(resources) - {name}
        else:
            assert resource["metadata"].get("namespace") == VARIANTS[variant].namespace
    monitors = {"PodMonitor"} if VARIANTS[variant].pod_monitor else set()
    assert kinds == monitors | {
        "ConfigMap", "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Kustomization",
    }  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_kserve_accepts_every_resource(variant, schemas):
    deployment = VARIANTS[variant]
    resources = read_back(kserve.resources(deployment))
    (runtime,) = (one for one in resources.values() if one["kind"] == "ServingRuntime")
    services = [one for one in resources.values() if one["kind"] == "InferenceService"]
    for resource in [runtime, *services]:
        check_kserve(resource, schemas)
    config = resources["configmap.yaml"]
    check_kubernetes(config)
    for service, model in zip(services, deployment.models, strict=True):
        predictor = service["spec"]["predictor"]["model"]
        assert predictor["runtime"] == runtime["metadata"]["name"]
        assert predictor["storageUri"] == f"{deployment.storage}/{model.name}"
        # KServe puts the service's name where the runtime's container says {{.Name}}.
        container = json.loads(
            json.dumps(runtime["spec"]["containers"][0]).replace("{{.Name}}", service["metadata"]["name"])
        )
        check_files(container, runtime["spec"]["volumes"], [config])
        own = config["data"][f"{service['metadata']['name']}.config"]
        assert parse(own, "") == (dataclasses.replace(model, base_path=Path("/mnt/models")),)
    assert "{{.Name}}" in json.dumps(runtime)


@pytest.mark.parametrize("variant", VARIANTS)
def test_compose_accepts_the_file(variant, schemas):
    (project,) = read_back({"": compose.project(VARIANTS[variant])}).values()
    jsonschema.Draft7Validator(schemas["compose"]).validate(project)
    service = project["services"]["serving"]
    files = compose.files(VARIANTS[variant])
    used = [
        one for one in [*service["command"], *service["healthcheck"]["test"]] if server.CONFIG_FOLDER in one
    ]
    for one in used:
        assert one.rpartition("=")[2].replace(server.CONFIG_FOLDER, "config") in files
    targets = {volume["target"] for volume in service["volumes"]}
    for model in VARIANTS[variant].models:
        assert f'base_path: "/models/{model.name}"' in files["config/models.config"]
        assert f"/models/{model.name}" in targets


def test_the_schemas_refuse_what_is_wrong(schemas):
    """Otherwise the tests above would prove nothing."""
    deployment = VARIANTS["labels"]
    pod = kubernetes.resources(deployment)["deployment.yaml"]
    pod["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        check_kubernetes(pod)
    runtime = kserve.resources(deployment)["serving-runtime.yaml"]
    runtime["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(jsonschema.ValidationError, match="readynessProbe"):
        check_kserve(runtime, schemas)
    service = kserve.resources(deployment)["inference-service-tweets-v2.yaml"]
    service["spec"]["predictor"]["minReplicas"] = "two"
    with pytest.raises(jsonschema.ValidationError, match="two"):
        check_kserve(service, schemas)
    monitor = kubernetes.resources(deployment)["pod-monitor.yaml"]
    monitor["spec"]["podMetricsEndpoints"][0]["ports"] = "rest"
    with pytest.raises(jsonschema.ValidationError, match="ports"):
        check_kserve(monitor, schemas)
    project = compose.project(deployment)
    project["services"]["serving"]["healthchek"] = {}
    with pytest.raises(jsonschema.ValidationError, match="healthchek"):
        jsonschema.Draft7Validator(schemas["compose"]).validate(project)


def check_files(container, volumes, config_maps):
    """Every file that a container reads is mounted, and in a ConfigMap."""
    named = {volume["name"]: volume for volume in volumes}
    mounts = {mount["mountPath"]: named[mount["name"]] for mount in container["volumeMounts"]}
    held = {one["metadata"]["name"]: one["data"] for one in config_maps}
    volume = mounts[server.CONFIG_FOLDER]
    (first, *_) = volume["projected"]["sources"] if "projected" in volume else [volume]
    data = held[first["configMap"]["name"]]
    probes = [container[name]["exec"]["command"] for name in ("startupProbe", "readinessProbe")]
    used = [one.rpartition("=")[2] for one in [*container["args"], *probes[0], *probes[1]]]
    used = [one for one in used if one.startswith(server.CONFIG_FOLDER)]
    assert len(used) == 7  # models, batching and monitoring; and for two probes, a script and the models
    for path in used:
        assert path.removeprefix(f"{server.CONFIG_FOLDER}/") in data
    return mounts


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_resources_fit_together(variant):
    deployment = VARIANTS[variant]
    made = kubernetes.resources(deployment)
    pod = made["deployment.yaml"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    mounts = check_files(container, pod["spec"]["volumes"], [made["configmap.yaml"]])
    config = made["configmap.yaml"]["data"]["models.config"]
    for model in deployment.models:
        root = deployment.storage if variant == "bucket" else "/models"
        assert f'    base_path: "{root}/{model.name}"\n' in config
    if variant == "bucket":
        assert "/models" not in mounts
    else:
        (mount,) = (one for one in container["volumeMounts"] if one["mountPath"] == "/models")
        assert mounts["/models"]["persistentVolumeClaim"]["claimName"] == ("disk" if "/" in deployment.storage[6:] else "models")  # fmt: skip
        assert mount.get("subPath") == ("a/b" if "/" in deployment.storage[6:] else None)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert f"--port={ports['grpc']}" in container["args"]
    assert f"--rest_api_port={ports['rest']}" in container["args"]
    assert container["livenessProbe"]["tcpSocket"]["port"] == ports["grpc"]
    assert container["readinessProbe"]["exec"]["command"][-1] == str(ports["rest"])
    service = made["service.yaml"]["spec"]
    assert service["clusterIP"] == "None"
    assert {(port["port"], port["targetPort"]) for port in service["ports"]} == {
        (number, name) for name, number in ports.items()
    }
    selectors = [
        made["deployment.yaml"]["spec"]["selector"]["matchLabels"],
        service["selector"],
        made["disruption-budget.yaml"]["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= pod["metadata"]["labels"].items() for selector in selectors)
    target = made["autoscaler.yaml"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", made["deployment.yaml"]["metadata"]["name"])
    assert "replicas" not in made["deployment.yaml"]["spec"]  # the autoscaler's


def test_a_server_drains_before_it_ends():
    """Connections of 30 s end after 33 s at the latest; ten more seconds for calls, and then SIGTERM."""
    spec = kubernetes.resources(deploy(TOPICS))["deployment.yaml"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "43"]
    assert spec["terminationGracePeriodSeconds"] == 58
    assert (
        "--grpc_channel_arguments=grpc.so_reuseport=0,grpc.max_connection_age_ms=30000" in container["args"]
    )
    assert spec["shareProcessNamespace"] is True
    short = deploy(TOPICS, age=1.0)
    assert short.drain_seconds == 12
    assert compose.project(short)["services"]["serving"]["init"] is True


def test_memory_follows_the_models():
    assert deploy(TOPICS).memory == 512
    # 512 + 3 * 90,000,000 / 2^20 = 769.5, and the next multiple of 256.
    assert deploy(TWEETS, size=90_000_000).memory == 1024
    assert deploy(TWEETS, size=90_000_000, memory_mib=700).memory == 700


def test_pods_are_replaced_if_a_file_changes_that_servers_read_once():
    def digest(deployment):
        template = kubernetes.resources(deployment)["deployment.yaml"]["spec"]["template"]
        return template["metadata"]["annotations"]["tfpipeline/files-sha256"]

    before = digest(deploy(TWEETS))
    promoted = dataclasses.replace(TWEETS, labels={"stable": 7})
    assert digest(deploy(promoted)) == before  # servers poll models.config
    assert digest(deploy(TWEETS, batching=BATCHING + "num_batch_threads { value: 2 }\n")) != before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "Tweets"}, '--name "Tweets" cannot be a name in Kubernetes'),
        ({"namespace": "-x"}, '--namespace "-x" cannot be a name'),
        ({"image": "tensorflow/serving"}, "--image tensorflow/serving names no version"),
        ({"image": "host:5000/serving"}, "names no version"),
        ({"image": "a b:1"}, "is not an image"),
        ({"storage": "models"}, "--storage models is no address; give pvc://CLAIM/FOLDER"),
        ({"storage": "pvc://"}, "is no address"),
        ({"storage": "pvc://Claim/models"}, "is no address; .* has small letters"),
        ({"port": 0}, "--port 0: clients and probes must know it"),
        ({"cpus": 0}, "--cpus 0"),
        ({"gpus": -1}, "--gpus -1"),
        ({"memory_mib": 64}, "--memory 64 MiB is too little"),
        ({"replicas": 3, "max_replicas": 2}, "--replicas 3 and --max-replicas 2"),
        ({"replicas": 0}, "--replicas 0"),
        ({"age": 0}, "--max-connection-age 0"),
    ],
)
def test_options_that_cannot_be(options, sentence):
    with pytest.raises(UserError, match=sentence):
        deploy(TOPICS, **options)


def test_a_bucket_that_the_server_cannot_read():
    far = deploy(TOPICS, storage="s3://bucket")
    with pytest.raises(UserError, match=r"TensorFlow Serving reads volumes .* and gs:// only"):
        kubernetes.resources(far)
    assert "s3://bucket/topics" in json.dumps(kserve.resources(far))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("tweets_v2", "tweets-v2"), ("A.B", "a-b"), ("7", "model-7"), ("x" * 60, "x" * 50), ("-a_", "a")],
)
def test_names_in_kubernetes(name, wanted):
    assert resource_name(name) == wanted


def model(folder: Path, *versions: int, size: int = 1, labels=None, exported=False) -> Path:
    for version in versions:
        (folder / str(version) / "variables").mkdir(parents=True)
        (folder / str(version) / "saved_model.pb").write_bytes(b"x")
        (folder / str(version) / "variables" / "data").write_bytes(b"x" * (size * version))
        if exported:
            (folder / str(version) / "assets.extra").mkdir()
            (folder / str(version) / "assets.extra" / "model_card.json").touch()
    if labels is not None:
        (folder / "labels.json").write_text(json.dumps({"labels": labels, "previous": {}}))
    return folder


def made(*models, server=(), **options):
    return making.make_deployment(map(str, models), {"max_connection_age": 30.0, **dict(server)}, **options)


def test_models_of_directories(tmp_path):
    model(tmp_path / "a", 1, 2, 10)
    model(tmp_path / "b", 1, 2, 5, labels={"stable": 1, "canary": 2}, size=10)
    (tmp_path / "a" / "11").mkdir()  # not copied yet
    (tmp_path / "notes").mkdir()
    both = made(tmp_path)
    a, b = both.models
    assert (a.name, a.base_path, a.policy, a.labels) == ("a", tmp_path / "a", Latest(), {})
    # Of the labelled versions 1 and 2, and the newest, none can be named but by its number.
    assert (b.policy, b.labels) == (Specific((1, 2, 5)), {"stable": 1, "canary": 2})
    assert both.size == 11 + 51
    (two,) = made(tmp_path / "a", server={"latest_versions": 2}).models
    assert two.policy == Latest(2)
    (tmp_path / "models.config").write_text(server.models_config([b]).replace("/models", str(tmp_path)))
    (configured,) = made(server={"config": tmp_path / "models.config"}).models
    assert configured == b


def test_batching_is_what_suits_the_model(tmp_path):
    assert (
        made(model(tmp_path / "other", 1)).batching == ""
    )  # a program's whose outputs may not be row by row
    exported = model(tmp_path / "a", 1, exported=True)
    text = made(exported, cpus=6).batching
    assert "max_execution_batch_size { value: 32 }\n" in text
    assert "enable_large_batch_splitting { value: true }\n" in text  # longer requests are not refused
    assert "num_batch_threads { value: 3 }\n" in text
    (exported / "batching_params.pbtxt").write_text("max_batch_size { value: 7 }\n")  # as tuned
    assert made(exported).batching == "max_batch_size { value: 7 }\n"
    (tmp_path / "b.pbtxt").write_text("max_batch_size { value: 9 }\n")
    assert (
        made(exported, server={"batching_file": tmp_path / "b.pbtxt"}).batching
        == "max_batch_size { value: 9 }\n"
    )
    (tmp_path / "b.pbtxt").write_text("max_batch_sise { value: 9 }\n")
    with pytest.raises(UserError, match=r"b\.pbtxt, line 1 is not a file of batching parameters"):
        made(exported, server={"batching_file": tmp_path / "b.pbtxt"})
    for text, flag in (("", False), (BATCHING, True)):
        arguments = kubernetes.resources(deploy(TOPICS, batching=text))["deployment.yaml"]["spec"]["template"]["spec"]["containers"][0]["args"]  # fmt: skip
        assert ("--enable_batching=true" in arguments) == flag


def test_gpus(tmp_path):
    gpu = made(model(tmp_path / "a", 1, exported=True), gpus=2, cpus=4)
    (container,) = kubernetes.resources(gpu)["deployment.yaml"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert container["image"].endswith("-gpu")
    assert "num_batch_threads { value: 4 }\n" in gpu.batching
    assert gpu.batching != made(tmp_path / "a", cpus=8).batching  # with as many threads, batches are larger
    reserved = compose.project(gpu)["services"]["serving"]["deploy"]["resources"]["reservations"]
    assert reserved["devices"][0]["count"] == 2
    assert "devices" not in json.dumps(compose.project(made(tmp_path / "a")))


def test_models_that_cannot_be_deployed(tmp_path):
    model(tmp_path / "x" / "a", 1)
    model(tmp_path / "y" / "a", 1)
    with pytest.raises(UserError, match="two models have the name a"):
        made(tmp_path / "x", tmp_path / "y")
    with pytest.raises(UserError, match="there is no directory"):
        made(tmp_path / "nowhere")
    with pytest.raises(UserError, match="cannot be part of an address"):
        made(model(tmp_path / "so good", 1))
    with pytest.raises(UserError, match=r"the models a_b and A\.B would both be called a-b in"):
        made(model(tmp_path / "a_b", 1), model(tmp_path / "A.B", 1))
    with pytest.raises(UserError, match='--port=1 cannot be given after "--"'):
        made(tmp_path / "x" / "a", server={"flags": ("--port=1",)})


def test_the_private_key_is_in_a_secret(tmp_path):
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=m"]  # fmt: skip
    files = {"tls_key": tmp_path / "key.pem", "tls_certificate": tmp_path / "cert.pem"}
    command += ["-keyout", files["tls_key"], "-out", files["tls_certificate"]]
    subprocess.run(command, check=True, capture_output=True)
    deployment = made(model(tmp_path / "a", 1), server={**files, "rest_port": 8501})
    resources = kubernetes.resources(deployment)
    check_kubernetes(resources["secret.yaml"])
    check_kubernetes(resources["deployment.yaml"])
    assert "BEGIN PRIVATE KEY" in resources["secret.yaml"]["stringData"]["ssl.config"]
    assert "PRIVATE KEY" not in json.dumps({**resources, "secret.yaml": 0})
    pod = resources["deployment.yaml"]["spec"]["template"]["spec"]
    assert "--ssl_config_file=/etc/tfpipeline/ssl.config" in pod["containers"][0]["args"]
    (volume,) = (one for one in pod["volumes"] if one["name"] == "config")
    assert {"secret": {"name": "a-tls"}} in volume["projected"]["sources"]
    written = writing.write({tmp_path / "k": resources, tmp_path / "c": compose.files(deployment)})
    private = {path.name for path in written if stat.S_IMODE(path.stat().st_mode) == 0o600}
    assert private == {"secret.yaml", "ssl.config"}
    with pytest.raises(UserError, match="KServe's gateway has the certificates"):
        kserve.resources(deployment)


def test_nobody_elses_file_is_overwritten(tmp_path):
    made = {tmp_path / "k": {"a.yaml": {"a": "x\ny\n"}, "config/ready.sh": "#!/bin/bash\nexit\n"}}
    paths = writing.write(made)
    assert yaml.safe_load((tmp_path / "k" / "a.yaml").read_text()) == {"a": "x\ny\n"}
    assert (tmp_path / "k" / "config" / "ready.sh").read_text().splitlines()[::2] == ["#!/bin/bash", "exit"]
    assert (
        writing.write({tmp_path / "k": {"a.yaml": {"a": "z"}, "config/ready.sh": "#!/bin/bash\n"}}) == paths
    )
    (tmp_path / "other.yaml").write_text("mine: true\n")
    with pytest.raises(UserError, match=r"other\.yaml exists and was not written by serve-config"):
        writing.write({tmp_path / "k": {"a.yaml": {"a": "lost"}}, tmp_path: {"other.yaml": {}}})
    assert yaml.safe_load((tmp_path / "k" / "a.yaml").read_text()) == {"a": "z"}
    assert (tmp_path / "other.yaml").read_text() == "mine: true\n"


@contextlib.contextmanager
def rest_server(states):
    """A REST API whose models have the given states; None: it does not know the model."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            state = states.get(self.path.removeprefix("/v1/models/"))
            status = {"version": "1", "state": state, "status": {"error_code": "OK", "error_message": ""}}
            body = json.dumps(
                {"model_version_status": [status]} if state else {"error": "AVAILABLE"}, indent=1
            )
            self.send_response(200 if state else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield served.server_address[1]
        served.shutdown()
        thread.join()


@pytest.mark.skipif(shutil.which("bash") is None, reason="the probe runs in the image's bash")
@pytest.mark.parametrize(
    ("states", "ready"),
    [
        ({"tweets_v2": "AVAILABLE", "topics": "AVAILABLE"}, True),
        ({"tweets_v2": "AVAILABLE", "topics": "LOADING"}, False),
        ({"tweets_v2": "END", "topics": "AVAILABLE"}, False),
        ({"topics": "AVAILABLE"}, False),
    ],
)
def test_ready_means_that_every_model_is_available(tmp_path, states, ready):
    (tmp_path / "models.config").write_text(server.models_config((TWEETS, TOPICS)))
    (tmp_path / "ready.sh").write_text(server.READY_SCRIPT)
    with rest_server(states) as port:
        command = ["bash", tmp_path / "ready.sh", tmp_path / "models.config", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode == 0) == ready, done
    if ready:  # it has just ended
        assert subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 1
        (tmp_path / "models.config").write_text("")
        assert subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 1
