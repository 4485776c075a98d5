"""The same numbers everywhere: replicas, processes, parts of a batch, XLA, steps a call; see exactness.py."""

from __future__ import annotations

import itertools
import json
import socket

import numpy as np
import pytest

from tests import tiny
from tests.forked import Forked
from tests.training import exactness


def free_ports(count):
    """Ports that nothing uses; of several asked for at once, all are different."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(*arguments):
    return Forked(exactness.main, *map(str, arguments))


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.soak)])
def results(request, tmp_path_factory):
    """Of an encoder with so many layers: with one, there is little to trace beside what differs."""
    folder = tmp_path_factory.mktemp("exactness")
    checkpoint = tiny.write_checkpoint(folder / "checkpoint", num_hidden_layers=request.param)
    cases = [*exactness.CASES, *exactness.TASK_CASES]
    references = []
    for case in [exactness.reference(case) for case in cases]:
        if case not in references:
            references.append(case)
    apart = [case for case in cases if case["place"] == "two_processes"]
    single = [exactness.reference(exactness.SINGLE[0]), *exactness.SINGLE]
    others = [case for case in cases if case not in apart and case not in references]
    together = [*references, *others, *single]
    addresses = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    processes = [
        start(checkpoint, json.dumps(together), folder),
        *(
            start(checkpoint, json.dumps(apart), folder, "two_processes", addresses, index)
            for index in (0, 1)
        ),
    ]
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    return {path.stem: np.load(path) for path in folder.glob("*.npz")}


def test_every_pair_of_values_is_tried():
    columns = (*exactness.WAYS, *exactness.SETTINGS)
    values = {column: {case[column] for case in exactness.CASES} for column in columns}
    assert values["accumulation"] == {1, 2, 4}
    assert len(values["place"]) == 3
    for one, other in itertools.combinations(columns, 2):
        tried = {(case[one], case[other]) for case in exactness.CASES}
        assert tried == set(itertools.product(values[one], values[other])), (one, other)


OTHERS = [case for case in [*exactness.CASES, *exactness.TASK_CASES] if case != exactness.reference(case)]


@pytest.mark.parametrize("case", OTHERS, ids=exactness.name)
def test_float64_weights_and_outputs_are_those_of_one_device(results, case):
    found, expected = results[exactness.name(case)], results[exactness.name(exactness.reference(case))]
    assert found.files == expected.files
    assert len(found.files) > 15
    for name in found.files:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("case", exactness.SINGLE, ids=exactness.name)
def test_float32_outputs_are_those_of_one_device(results, case):
    found, expected = results[exactness.name(case)], results[exactness.name(exactness.reference(case))]
    np.testing.assert_allclose(found["outputs"], expected["outputs"], atol=1e-5)


def test_the_settings_matter(results):
    """Or equal results would say nothing."""
    losses = {tuple(results[exactness.name(exactness.reference(case))]["losses"]) for case in exactness.CASES}
    settings = {tuple(case[name] for name in exactness.SETTINGS) for case in exactness.CASES}
    assert len(losses) >= len(settings) - 1  # without dropout and clipping little is left to differ in
