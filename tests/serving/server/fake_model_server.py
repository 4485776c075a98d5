"""Stands in for tensorflow_model_server: its flags, its log, its two services, no TensorFlow.

FAKE_MODE: "exit" fails as the real one does; "crash" ends after the first Predict.
FAKE_PID_FILE: where to write the process id and the flags.
"""

import json
import os
import sys
import time
from concurrent import futures

import grpc

flags = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
if "FAKE_PID_FILE" in os.environ:
    with open(os.environ["FAKE_PID_FILE"], "w", encoding="utf-8") as file:
        json.dump({"pid": os.getpid(), "flags": flags}, file)
mode = os.environ.get("FAKE_MODE", "")


def log(level, text):
    print(
        f"2026-01-02 03:04:05.678901: {level} tensorflow_serving/model_servers/server.cc:77] {text}",
        file=sys.stderr,
        flush=True,
    )


log("I", "Building single TensorFlow model file config")
if mode == "exit":
    log("E", "something in the middle")
    print("Failed to start server. Error: Unknown: 1 servable(s) did not become available", flush=True)
    sys.exit(255)


def predict(request, context):
    if mode == "crash":
        log("F", "Check failed: something fatal")
        os._exit(139)
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
server.wait_for_termination()
