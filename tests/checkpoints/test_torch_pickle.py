"""PyTorch's own files, read without PyTorch and without running what they say."""

from __future__ import annotations

import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from tests import tiny
from tests.checkpoints import pytorch_file
from tests.checkpoints.pytorch_file import Call, Global, Ordered, Persistent, tensor
from tfpipeline import checkpoints
from tfpipeline.checkpoints.torch_pickle import StateDict
from tfpipeline.errors import UserError

SIX = np.arange(6, dtype="<f4").tobytes()


def only(path, description, storages):
    """The one tensor of a file, called "a"."""
    state = StateDict(pytorch_file.write(path, Ordered({"a": description}), storages))
    assert state.shapes == {"a": state["a"].shape}
    return state["a"]


@pytest.mark.parametrize(
    ("storage", "raw", "values", "dtype"),
    [
        ("FloatStorage", "0000803f 000000c0", [1, -2], np.float32),
        ("DoubleStorage", "000000000000f03f 00000000000000c0", [1, -2], np.float64),
        ("HalfStorage", "003c 00c0", [1, -2], np.float16),
        ("BFloat16Storage", "803f 00c0", [1, -2], np.float32),
        ("LongStorage", "0100000000000000 feffffffffffffff", [1, -2], np.int64),
        ("IntStorage", "01000000 feffffff", [1, -2], np.int32),
        ("ShortStorage", "0100 feff", [1, -2], np.int16),
        ("CharStorage", "01 fe", [1, -2], np.int8),
        ("ByteStorage", "01 fe", [1, 254], np.uint8),
        ("BoolStorage", "01 00", [True, False], np.bool_),
    ],
)
def test_dtypes(tmp_path, storage, raw, values, dtype):
    found = only(tmp_path / "x.bin", tensor("0", (2,), storage=storage), {"0": bytes.fromhex(raw)})
    np.testing.assert_array_equal(found, np.array(values, dtype), strict=True)


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "want"),
    [
        ((2, 3), (3, 1), 0, [[0, 1, 2], [3, 4, 5]]),
        ((3, 2), (1, 3), 0, [[0, 3], [1, 4], [2, 5]]),  # a transposed view
        ((2, 2), (3, 1), 1, [[1, 2], [4, 5]]),  # a slice
        ((2, 3), (0, 1), 3, [[3, 4, 5], [3, 4, 5]]),  # expanded
        ((), (), 4, 4),
        ((0, 3), (3, 1), 0, np.zeros((0, 3))),
    ],
)
def test_views(tmp_path, shape, strides, offset, want):
    found = only(tmp_path / "x.bin", tensor("0", shape, strides, offset=offset), {"0": SIX})
    np.testing.assert_array_equal(found, np.array(want, np.float32), strict=True)
    assert found.flags.c_contiguous


@pytest.mark.parametrize("root", ["archive", "pytorch_model", "a/b"])
def test_what_state_dicts_come_wrapped_in(tmp_path, root):
    a, b = tensor("0", (6,)), tensor("0", (2,), offset=4)  # tied weights share a storage
    parameter = Call(Global("torch._utils", "_rebuild_parameter"), (b, True, Ordered({})))
    for wrapped in (
        Ordered({"a": a, "b": parameter}),
        Ordered({"a": a, "b": parameter}, {"_metadata": Ordered({"": {"version": 1}})}),
        {"a": a, "b": parameter, "epochs": 3},
        {"state_dict": Ordered({"a": a, "b": parameter}), "epoch": 3},
    ):
        state = StateDict(pytorch_file.write(tmp_path / "x.bin", wrapped, {"0": SIX}, root))
        assert state.shapes == {"a": (6,), "b": (2,)}
        assert state["a"].tolist() == [0, 1, 2, 3, 4, 5]
        assert state["b"].tolist() == [4, 5]


def test_a_model_directory(tmp_path):
    """The same directory with pytorch_model.bin for model.safetensors, as BertForPreTraining writes it."""
    source = tiny.write_checkpoint(tmp_path / "source")
    want = checkpoints.load(source)
    arrays = {f"bert.{name}": array for name, array in load_file(source / "model.safetensors").items()}
    arrays["cls.predictions.bias"] = np.zeros(len(tiny.VOCABULARY), np.float32)
    pytorch_file.save(source / "pytorch_model.bin", arrays)
    by_name = checkpoints.load(source / "pytorch_model.bin")  # though safetensors stand beside it
    assert by_name.left_out == {"cls.predictions.bias": "the mlm head is incomplete"}
    assert by_name.equals(want)
    weights = {name: want.tensors[name] for name in want.tensors}
    (source / "model.safetensors").unlink()
    found = checkpoints.load(source)
    assert (found.config, found.vocabulary, found.tokenizer) == (want.config, want.vocabulary, want.tokenizer)
    assert found.tensors.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(found.tensors[name], array, strict=True)
    checkpoints.convert(source, tmp_path / "google")
    assert checkpoints.load(tmp_path / "google").equals(found)


class Command:
    """What a pickle of it runs when it is read."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_a_command(tmp_path, protocol):
    proof = tmp_path / "proof"
    evil = pickle.dumps({"a": Command(f"touch {proof}")}, protocol)
    pickle.loads(evil)
    assert proof.exists()  # the attack works on a reader that trusts
    proof.unlink()
    source = tiny.write_checkpoint(tmp_path / "source")
    (source / "model.safetensors").unlink()
    pytorch_file.write(source / "pytorch_model.bin", evil, {})
    with pytest.raises(UserError) as caught:
        checkpoints.convert(source, tmp_path / "dest")
    assert str(caught.value) == (
        f"{source / 'pytorch_model.bin'} asks to run {os.system.__module__}.system, which no checkpoint "
        f"needs; do not trust this file, get the model as safetensors"
    )
    assert not proof.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("builtins", "getattr"),
        ("subprocess", "Popen"),
        ("importlib", "import_module"),
        ("torch.hub", "load"),
        ("torch", "load"),
        ("torch", "UntypedStorage"),
        ("torch.storage", "_load_from_bytes"),
        ("torch._utils", "_rebuild_sparse_tensor"),
        ("numpy", "load"),
        ("collections", "namedtuple"),  # makes classes by exec
        ("collections", "OrderedDict.fromkeys"),
    ],
)
def test_whatever_a_pickle_names_is_refused(tmp_path, module, name):
    """Looked up, called or not, hidden behind a good tensor or not."""
    function = Global(module, name)
    for value in (function, Call(function, ("1",)), Call(function)):
        path = pytorch_file.write(
            tmp_path / "x.bin", Ordered({"a": tensor("0", (6,)), "b": value}), {"0": SIX}
        )
        with pytest.raises(
            UserError, match=rf"x\.bin asks to run {module}\.{name}, which no checkpoint needs"
        ):
            StateDict(path)


def refused(path, message):
    with pytest.raises(UserError, match=message) as caught:
        state = StateDict(path)
        for name in state.shapes:
            state[name]
    assert str(caught.value).startswith((str(path), f"cannot read {path}"))
    assert "\n" not in str(caught.value)


def test_files_before_pytorch_1_6(tmp_path):
    """Those begin with the pickle of a magic number and are no archive."""
    path = tmp_path / "x.bin"
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2))
    refused(
        path,
        "is not a PyTorch file, is truncated, or was written before PyTorch 1.6; copy it again, or save it",
    )


def test_files_that_are_something_else(tmp_path):
    path = tmp_path / "x.bin"
    for content in (b"", b"version https://git-lfs.github.com/spec/v1\n", SIX):
        path.write_bytes(content)
        refused(path, "is not a PyTorch file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<a/>")
    refused(path, "is not a PyTorch file")
    refused(tmp_path, "^cannot read .*: Is a directory; check the path")


def test_every_truncation(tmp_path):
    """A zip's table of contents stands at its end."""
    path = pytorch_file.save(tmp_path / "x.bin", {"a": np.arange(6, dtype=np.float32)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refused(path, "is not a PyTorch file, is truncated")


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (Ordered({"a": tensor("1", (6,))}), "cannot read a, the file is truncated or damaged; copy it again"),
        (Ordered({"a": tensor("0", (7,))}), "a reaches beyond its data, the file is damaged; copy it again"),
        (Ordered({"a": tensor("0", (6,), offset=1)}), "a reaches beyond its data"),
        (Ordered({"a": tensor("0", (2, 3), (6, 1))}), "a reaches beyond its data"),
        (Ordered({"a": tensor("0", (2,), storage="DoubleStorage", offset=2)}), "a reaches beyond its data"),
        (
            Ordered({"a": tensor("0", (6,), offset=-1)}),
            "description of the tensors is damaged .not a tensor.",
        ),
        (Ordered({"a": tensor("0", (-6,))}), "description of the tensors is damaged .not a tensor."),
        (Ordered({"a": tensor("0", (6,), (-1,))}), "description of the tensors is damaged .not a tensor."),
        (Ordered({"a": tensor("0", ("6",))}), "description of the tensors is damaged"),
        (Ordered({"a": tensor("0", (6,), (1, 1))}), "description of the tensors is damaged .not a tensor."),
        (
            Ordered({"a": Call(Global("torch._utils", "_rebuild_tensor_v2"), ())}),
            "description of the tensors is damaged",
        ),
        (
            Ordered({"a": Call(Global("torch._utils", "_rebuild_tensor_v2"), ("0", 0, (6,), (1,)))}),
            "description of the tensors is damaged .not a tensor.",
        ),
        (Persistent(("module", "x")), "description of the tensors is damaged"),
        (
            Persistent(("storage", "FloatStorage2", "0", "cpu", 6)),
            "description of the tensors is damaged .unknown",
        ),
        (b"", "description of the tensors is damaged"),
        (b"\x80\x02}", "description of the tensors is damaged"),
        ((1, 2), "holds no state dict; save model.state_dict()"),
        (tensor("0", (6,)), "holds no state dict"),
    ],
)
def test_descriptions_that_do_not_hold(tmp_path, description, message):
    refused(pytorch_file.write(tmp_path / "x.bin", description, {"0": SIX}), message)


def test_a_storage_cut_short(tmp_path):
    description = Ordered({"a": tensor("0", (6,))})
    refused(pytorch_file.write(tmp_path / "x.bin", description, {"0": SIX[:-4]}), "a reaches beyond its data")
    refused(
        pytorch_file.write(tmp_path / "x.bin", description, {"0": SIX[:-1]}),
        "cannot read a, the file is trunc",
    )


def test_a_flipped_bit_of_the_weights(tmp_path):
    path = pytorch_file.save(tmp_path / "x.bin", {"a": np.arange(6, dtype=np.float32)})
    whole = path.read_bytes()
    at = whole.index(SIX)
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    refused(path, "cannot read a, the file is truncated or damaged")


GOOD = pytorch_file.pickled(Ordered({"a": tensor("0", (2, 3))}, {"_metadata": Ordered({})}))
# LONG_BINPUT and BYTEARRAY8 can ask Python's unpickler for gigabytes before it fails.
HUNGRY = b"r\x96"


@given(
    changes=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=3),
    length=st.integers(1, len(GOOD)),
)
def test_any_other_damage_is_told_or_harmless(tmp_path_factory, changes, length):
    raw = bytearray(GOOD)
    for at, byte in changes:
        raw[at] = byte
    assume(all(raw.count(byte) <= GOOD.count(byte) for byte in HUNGRY))
    path = tmp_path_factory.getbasetemp() / "damaged.bin"
    for content in (bytes(raw), bytes(raw[:length])):
        pytorch_file.write(path, content, {"0": SIX})
        try:
            state = StateDict(path)
            read = [state[name] for name in state.shapes]
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017 - both outcomes are right
        else:
            assert all(isinstance(array, np.ndarray) for array in read)
