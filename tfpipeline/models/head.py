"""Heads: the layers on top of an encoder, and their interface."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar, Optional

import keras
from keras import ops

from tfpipeline import _keras_internals
from tfpipeline.errors import UserError
from tfpipeline.models.kernels import Noise
from tfpipeline.models.layers import Dropout, NoiseSource
from tfpipeline.models.windows import Merge

HEAD_SITE = 60_000  # dropout sites of heads start here, far above those of any encoder

_ORDINARY = (
    "a head is called as head(encoder_outputs, attention_mask) and returns a dict of tensors, "
    "as tfpipeline.models.Head does"
)


class Head(keras.layers.Layer):
    """A layer that is called as ``head(encoder_outputs, attention_mask)`` and returns a dict of tensors,
    batch first.

    To write a head of your own, derive from this class, define ``build`` and ``call``, and override the
    defaults below with class attributes or properties. Training, windows, export and ``multitask`` read
    nothing else from a head.

    Attributes:
        uses_pooler: whether ``pooled_output`` is read. If not, the encoder's pooler is frozen: it has no
            gradient, and weight decay would shrink it.
        merges: how the outputs of windows are combined into those of their row, by output name; other outputs
            are pooled. See :class:`tfpipeline.models.windows.Windows`.
        min_learning_rates: the lowest learning rate of a variable, by the variable's name; see
            :func:`tfpipeline.training.optimizer.head_factors`.
        float32_outputs: names of outputs that are float32 under every policy.
        binds_embeddings: whether the head shares the encoder's word embeddings. :class:`TextModel` then calls
            :meth:`bind_embeddings` before it builds the head, and ``call`` may read :attr:`embedding_matrix`.
        further_positions: how many positions the model may read behind those of its inputs, for heads of
            models that generate.
        row_padding: values that pad variables, by name, where the heads of rows differ in their last axis; 0
            for the others.
    """

    uses_pooler: bool = True
    merges: Mapping[str, Merge] = {}
    min_learning_rates: Mapping[str, float] = {}
    float32_outputs: ClassVar[Collection[str]] = ()
    binds_embeddings: bool = False
    further_positions: int = 0
    row_padding: Mapping[str, float] = {}

    def __init__(self, *, name: str = "head", **options: Any) -> None:
        super().__init__(name=name, **options)

    @property
    def takes_noise(self) -> bool:
        """Whether ``call`` has a parameter ``noise``, which a training step passes (see :class:`Noise`)."""
        return _takes(self, "noise")

    @property
    def takes_inputs(self) -> bool:
        """Whether ``call`` has a parameter ``inputs``, for the model's inputs (such as the token ids)."""
        return _takes(self, "inputs")

    @property
    def description(self) -> str:
        """A short description of the head, for the model's ``repr``."""
        return type(self).__name__

    def call_by_row(
        self, encoded: Mapping[str, Any], attention_mask: Any, weights: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The outputs with weights that differ from row to row, without dropout, in float32.

        Optional: heads of tasks that can be served with many adapters have this method.

        Args:
            encoded, attention_mask: of a call.
            weights: path of a variable -> its value in the head of each row, [B, ...].
        """
        raise NotImplementedError

    def bind_embeddings(self, word: keras.Variable) -> None:
        """Share the encoder's word embeddings.

        The matrix remains a variable of the encoder, which trains, freezes and saves it. Its gradient is the
        sum over both uses.

        Args:
            word: [V, H].
        Raises:
            UserError: the head is already bound to another encoder.
        """
        if self.__dict__.get("_word", word) is not word:
            raise UserError(
                f"the head {self.name} is bound to the word embeddings of another encoder; make a head of "
                f"its own for each encoder"
            )
        self.__dict__["_word"] = word  # past Keras's tracking, which would make it a variable of the head

    @property
    def embedding_matrix(self) -> Any:
        """The encoder's word embeddings, [V, H], in the head's compute dtype.

        Raises:
            UserError: the head is not bound.
        """
        word = self.__dict__.get("_word")
        if word is None:
            raise UserError(
                f"the head {self.name} is not bound to word embeddings; set binds_embeddings = True in its "
                f"class, and call it in a TextModel"
            )
        return ops.cast(ops.convert_to_tensor(word), self.compute_dtype)

    def compute_output_shape(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        """The shapes of the outputs, given the shapes of the encoder's outputs."""
        encoded = {name: keras.KerasTensor(shape, self.compute_dtype) for name, shape in shapes.items()}
        mask = keras.KerasTensor(shapes["sequence_output"][:2], "int32")
        outputs = keras.layers.Layer.compute_output_spec(self, encoded, mask)
        return {name: tensor.shape for name, tensor in outputs.items()}

    def get_build_config(self) -> None:
        """None: the model that contains the head builds it, so that its variables have the right paths."""


class Float32Head(Head):
    """A head with outputs of at least float32, whatever the policy."""

    def compute_output_shape(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        """The shapes of the outputs, given the shapes of the encoder's outputs."""
        raise NotImplementedError

    def compute_output_spec(self, encoded: Mapping[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        """Symbolic outputs."""
        shapes = self.compute_output_shape({name: tensor.shape for name, tensor in encoded.items()})
        wide = "float64" if self.compute_dtype == "float64" else "float32"
        return {
            name: keras.KerasTensor(shape, "float32" if name in self.float32_outputs else wide)
            for name, shape in shapes.items()
        }


class DropoutHead(Float32Head):
    """A head with dropout before its weights and with outputs of at least float32.

    Args:
        dropout: rate, in training.
        seed: of the first weights, and of the dropout masks of calls that bring no ``noise``.
    """

    def __init__(self, *, dropout: float, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self.rate, self.seed = dropout, seed
        self.dropout = Dropout(dropout, HEAD_SITE, NoiseSource(seed), name="dropout", dtype=self.dtype_policy)

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        return {**super().get_config(), "dropout": self.rate, "seed": self.seed}


def as_head(layer: Any) -> Any:
    """Give an ordinary Keras layer the attributes of a head; a :class:`Head` is returned unchanged.

    Attributes that the layer lacks get the defaults of :class:`Head`. Names that Keras numbered are made
    independent of other layers in the process, because a run's checkpoints store variables by path.

    Raises:
        UserError: it is not a layer.
    """
    if not isinstance(layer, keras.layers.Layer):
        raise UserError(f"the head is of type {type(layer).__name__}, not a Keras layer; {_ORDINARY}")
    if not isinstance(layer, Head):
        if not layer.built:
            layer.name = "head"
        for name in ("uses_pooler", "merges", "min_learning_rates", "binds_embeddings", "further_positions"):
            if not hasattr(layer, name):
                setattr(layer, name, getattr(Head, name))
        layer.takes_noise, layer.takes_inputs = _takes(layer, "noise"), _takes(layer, "inputs")
    if not layer.built:
        _number_by_order(layer)
    return layer


def build_head(head: Any, shapes: Mapping[str, Any]) -> None:
    """Make a head's variables.

    An ordinary layer need not have a ``build`` of its own: it is called once with symbols, which builds its
    parts.

    Args:
        head: of :func:`as_head`.
        shapes: of the encoder's outputs.
    Raises:
        UserError: an ordinary layer cannot be called as a head.
    """
    if isinstance(head, Head):
        if not head.built:
            head.build(shapes)
        return
    own = type(head).build
    takes_shapes = own is not keras.layers.Layer.build and len(inspect.signature(own).parameters) == 2
    encoded = {name: keras.KerasTensor(shape, head.compute_dtype) for name, shape in shapes.items()}
    mask = keras.KerasTensor(shapes["sequence_output"][:2], "int32")
    refused = f"the Keras layer {type(head).__name__} does not work as a head"
    try:
        if takes_shapes and not head.built:
            head.build(shapes)
        outputs = head(encoded, mask)
    # What Keras raises for arguments of a form that the layer does not take.
    except (TypeError, ValueError, AttributeError, LookupError, NotImplementedError) as error:
        lines = (
            [] if isinstance(error, LookupError) else str(error).strip().splitlines()
        )  # a key alone says nothing
        reason = f" ({lines[0].rstrip('.')})" if lines else ""
        raise UserError(f"{refused}{reason}; {_ORDINARY}") from error
    if not isinstance(outputs, Mapping):
        raise UserError(f"{refused} (it returned {type(outputs).__name__}, not a dict); {_ORDINARY}")


def head_config(head: keras.layers.Layer) -> dict[str, Any]:
    """A head as Keras serialises it, without the shapes that it was built with: whoever holds it builds it
    again.
    """
    config = keras.saving.serialize_keras_object(head)
    return {name: value for name, value in config.items() if name != "build_config"}


def noise_for(head: Any, noise: Optional[Noise]) -> dict[str, Any]:
    """The argument ``noise`` of a head's call; none for a layer that has Keras's own dropout."""
    return {"noise": noise} if head.takes_noise else {}


def inputs_for(head: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The argument ``inputs`` of a head's call; none for a head that reads only the encoder's outputs."""
    return {"inputs": dict(inputs)} if head.takes_inputs else {}


def describe_head(head: keras.layers.Layer) -> str:
    """A short description of a head, or of an ordinary layer in its place."""
    return head.description if isinstance(head, Head) else type(head).__name__


def number_dropouts(head: keras.layers.Layer) -> None:
    """Give each dropout of a head a site number of its own, from ``HEAD_SITE`` on, in the order of the head's
    parts.
    """
    dropouts = {id(part): part for part in _parts(head) if isinstance(part, Dropout)}
    for number, dropout in enumerate(dropouts.values()):
        dropout.site = HEAD_SITE + number


def _parts(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    for part in _keras_internals.sublayers(layer):
        yield part
        yield from _parts(part)


def _takes(layer: keras.layers.Layer, parameter: str) -> bool:
    names = list(inspect.signature(layer.call).parameters)
    return parameter in names[2:]  # after the encoder's outputs and the mask, whatever a layer calls them


def _number_by_order(layer: keras.layers.Layer) -> None:
    """Number parts that Keras named after their classes (``dense_7``) by their order among their siblings."""
    counts: Counter[str] = Counter()
    for part in _keras_internals.sublayers(layer):
        words = re.sub(
            r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(part).__name__)
        )
        base = words.lower()
        if re.fullmatch(rf"{base}(_\d+)?", part.name):
            part.name = f"{base}_{counts[base]}" if counts[base] else base
            counts[base] += 1
        _number_by_order(part)
