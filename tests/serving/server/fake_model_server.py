"""Stands in for tensorflow_model_server: its flags, its log, its two services, no TensorFlow.

FAKE_MODE: "exit" fails as the real one does; "crash" ends after the first Predict; "slow" answers it once
the file FAKE_PID_FILE.go is there, and writes a byte to FAKE_PID_FILE.calls before it waits.
FAKE_PID_FILE: where to write the process id and the flags.
"""

import json
import os
import sys
import time
from concurrent import futures

import grpc

flags = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
with open(flags["model_config_file"], encoding="utf-8") as file:
    config = file.read()
if "FAKE_PID_FILE" in os.environ:
    with open(os.environ["FAKE_PID_FILE"], "w", encoding="utf-8") as file:
        json.dump({"pid": os.getpid(), "flags": flags, "config": config}, file)
mode = os.environ.get("FAKE_MODE", "")


def log(level, text):
    print(
        f"2026-01-02 03:04:05.678901: {level} tensorflow_serving/model_servers/server.cc:77] {text}",
        file=sys.stderr,
        flush=True,
    )


if flags.get("tensorflow_session_parallelism") == "many":
    log("E", "Couldn't interpret value many for flag tensorflow_session_parallelism.")
    print("usage: tensorflow_model_server\nFlags:\n" + "\t--flag=0\tint32\tWhat it does.\n" * 60, flush=True)
    sys.exit(255)
if "threds" in flags:  # the real one goes on, too
    print(f"unknown argument: --threds={flags['threds']}\nusage: tensorflow_model_server", flush=True)

log("I", "Building single TensorFlow model file config")
if mode == "exit":
    log("E", "something in the middle")
    print("Failed to start server. Error: Unknown: 1 servable(s) did not become available", flush=True)
    sys.exit(255)


def predict(request, context):
    if mode == "crash":
        log("F", "Check failed: something fatal")
        os._exit(139)
    if mode == "slow":
        with open(os.environ["FAKE_PID_FILE"] + ".calls", "a", encoding="utf-8") as file:
            file.write("1")
        while not os.path.exists(os.environ["FAKE_PID_FILE"] + ".go"):
            time.sleep(0.01)
    log("E", "an error the user should see")
    log("I", "Successfully loaded servable version {name: m version: 8}")
    log("I", "chatter the user should not see")
    return request


def status(request, context):
    # ModelSpec.name comes back as nothing: one version, 7, AVAILABLE (state 30), OK.
    return b"\x0a\x06\x08\x07\x10\x1e\x1a\x00"


class Services(grpc.GenericRpcHandler):
    def service(self, call):
        method = {"Predict": predict, "GetModelStatus": status}[call.method.rsplit("/", 1)[1]]
        return grpc.unary_unary_rpc_method_handler(method)


unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Services()], options=unlimited)
if flags["port"] != "0":
    server.add_insecure_port("0.0.0.0:" + flags["port"])
if "grpc_socket_path" in flags:
    server.add_insecure_port("unix:" + flags["grpc_socket_path"])
time.sleep(0.3)  # it loads before it listens
server.start()
log("I", "Successfully loaded servable version {name: m version: 7}")
address = flags.get("grpc_socket_path") or "0.0.0.0:" + flags["port"]
log("I", f"Running gRPC ModelServer at {address} ...")
if mode == "poll":  # as the real one: the file is read once a second, and may be absent
    while True:
        time.sleep(0.2)
        if os.path.exists(flags["model_config_file"]):
            with open(flags["model_config_file"], encoding="utf-8") as file:
                changed = file.read()
            with open(os.environ["FAKE_PID_FILE"] + ".configs", "a", encoding="utf-8") as file:
                file.write(json.dumps(changed) + "\n")
            log("I", "Finished adding/updating models")
        else:
            log("E", "Failed to read ModelServerConfig file: NOT_FOUND: no such file")
server.wait_for_termination()
