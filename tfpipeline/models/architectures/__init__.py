"""Encoders: one module or package per architecture, which has the architecture's name.

A module defines one name, ``CONFIG``: the class of the architecture's configuration, derived from
:class:`tfpipeline.models.config.EncoderConfig`. The configuration has the neutral names of the tensors with
their axes, the memory that a training step needs, and a method that makes the :class:`Encoder`.

``find("bert")`` imports ``tfpipeline/models/architectures/bert``; a name with a dot,
``find("our_company.encoder")``, is a module outside this package. This module imports no framework.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Optional, Protocol

from tfpipeline.errors import UserError
from tfpipeline.models.config import EncoderConfig
from tfpipeline.models.layer_changes import Changes
from tfpipeline.named_modules import find_module, module_names

if TYPE_CHECKING:
    import numpy as np

DEFAULT = "bert"  # the architecture of Keras files of version 0.1.0


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of an encoder, the unit of freezing, gradual unfreezing and layer-wise learning rates.

    Attributes:
        layer: a Keras layer with weights.
        role: ``embeddings`` below the blocks, ``block``, or ``top`` for layers above them, which are trained
            with the head.
        output: the encoder's only output that needs this part; None if all outputs need it.
    """

    layer: Any
    role: Literal["embeddings", "block", "top"]
    output: Optional[str] = None


class Projection(NamedTuple):
    """A matrix of a block, the unit of methods that adapt single matrices.

    Attributes:
        dense: the :class:`tfpipeline.models.layers.Dense` that has it.
        columns: the matrix's columns in the kernel, which several matrices may share.
    """

    dense: Any
    columns: slice


class KeysAndValues(NamedTuple):
    """What tokens attend to in one block: N heads, D = H / N.

    Attributes:
        keys: [B, N, T, D].
        values: [B, N, T, D].
    """

    keys: Any
    values: Any


class Encoder(Protocol):
    """A Keras layer from token ids to hidden states.

    Attributes:
        config: the configuration of the encoder.
        name: the name of the Keras layer.
        weights: all variables.
        trainable_variables: the variables that are not frozen.
        dtype_policy: the Keras dtype policy.
        adaptation: the :class:`tfpipeline.models.peft.Adaptation` that was attached to it; None without.
    """

    config: Any
    name: str
    weights: Any
    trainable_variables: Any
    dtype_policy: Any
    adaptation: Any

    def __call__(
        self, inputs: Mapping[str, Any], *, training: Any = None, noise: Any = None
    ) -> dict[str, Any]:
        """Encode.

        Args:
            inputs: ``input_ids``, ``token_type_ids``, ``attention_mask``, int32 [B, T]; the latter two may be
                absent. An encoder that ``generates`` also takes ``causal_mask``, int32 [B, T].
            training: whether dropout is on.
            noise: a :class:`tfpipeline.models.kernels.Noise`. Dropout masks then depend only on it.
        Returns:
            The tensors named in :attr:`outputs`: ``sequence_output`` [B, T, H], perhaps ``pooled_output`` [B,
            H].
        """

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of a call's outputs."""

    @property
    def word_embeddings(self) -> Any:
        """The variable of the word embeddings, [V, H], which a head may share."""

    def hidden_states(self, inputs: Mapping[str, Any]) -> list[Any]:
        """The embeddings and each block's output, L + 1 tensors [B, T, H], without dropout."""

    def parts(self) -> Sequence[Part]:
        """Its parts from bottom to top; each weight belongs to exactly one."""

    def projections(self) -> Mapping[str, Projection]:
        """The matrices of its blocks by neutral name, without ``/kernel``: ``layer_0/attention/query``.

        Optional: methods of :mod:`tfpipeline.models.peft` that adapt single matrices need it. The blocks must
        be :class:`tfpipeline.models.layers.EncoderBlock`.
        """

    def tensors(self) -> dict[str, np.ndarray]:
        """All weights by their neutral names, without those of an adaptation; the inverse of
        :meth:`assign`.
        """

    def assign(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Set all weights.

        Raises:
            UserError: names or shapes differ; no weight is set.
        """

    def compute_output_shape(self, inputs_shape: Mapping[str, Any]) -> dict[str, Any]:
        """Shapes of a call's outputs."""

    def keys_and_values(self, inputs: Mapping[str, Any]) -> tuple[Any, tuple[KeysAndValues, ...]]:
        """Encode without dropout, and keep what later tokens attend to.

        Optional: an encoder whose configuration says ``generates`` has this method and :meth:`extend`, and so
        has its serving form.

        Returns:
            ``sequence_output`` [B, T, H], and the keys and values of each block.
        """

    def extend(self, inputs: Mapping[str, Any], attend: Callable[..., Any]) -> Any:
        """Encode tokens that attend to others, whose keys and values are known.

        Args:
            inputs: ``input_ids``, ``token_type_ids``, ``positions``, int32 [B, Q] each.
            attend: called in each block as ``attend(block, query, key, value)`` with the number of the block,
                from 0, and [B, N, Q, D] each, the query already divided by the square root of D. Returns what
                the tokens attend to, [B, N, Q, D].
        Returns:
            Hidden states of the last block, [B, Q, H].
        """

    def serving_form(self, precision: str, adapters: Sequence[Changes] = ()) -> ServingForm:
        """The encoder as it is served.

        Optional: an encoder without this method is served as it is, in float32 (:func:`serving_form`).

        Args:
            precision: "float32" or "bfloat16", of weights and matrix products.
            adapters: the changes of layers by each of several adapters, in float32 only. Calls then have the
                input ``adapters``, int32 [B], the number of each row's adapter. Only encoders whose
                configuration says ``changes_rows`` have this argument.
        """


class ServingForm(Protocol):
    """An encoder as it is served: the same answers from a graph that is faster, and cannot be trained.

    Attributes:
        variables: all weights that it reads, ``tf.Variable``; a weight that needs no change is the encoder's
            own.
    """

    variables: Sequence[Any]

    def __call__(self, inputs: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Encode without dropout; inputs and outputs as those of the encoder.

        Outputs are float32. Those of positions that the mask leaves out are of no meaning.
        """

    def keys_and_values(self, inputs: Mapping[str, Any]) -> tuple[Any, tuple[KeysAndValues, ...]]:
        """As :meth:`Encoder.keys_and_values`; keys and values have this form's precision."""

    def extend(self, inputs: Mapping[str, Any], attend: Callable[..., Any]) -> Any:
        """As :meth:`Encoder.extend`."""

    def trained_weights(self) -> Sequence[tuple[Any, Any]]:
        """Values of the encoder's variables with which the encoder gives this form's answers.

        They are computed from this form's weights, in the graph that is being built, so that a graph of the
        encoder (explanations differentiate it) needs no weights of its own.

        Returns:
            (variable of the encoder, float32 tensor of its shape), for variables that this form does not
            read. The others keep their values.
        """


def names() -> list[str]:
    """The names of all architectures here, sorted."""
    return module_names(__path__)


def find(name: str) -> type[EncoderConfig]:
    """The configuration class of an architecture.

    Args:
        name: the name of a module here, or, with a dot in it, of any module that defines ``CONFIG``.
    Raises:
        UserError: there is no such architecture.
    """
    module = find_module("architecture", name, __name__, names())
    config = getattr(module, "CONFIG", None)
    if not (isinstance(config, type) and issubclass(config, EncoderConfig)):
        raise UserError(
            f"the module {name} holds no architecture; its CONFIG must be a class derived from EncoderConfig"
        )
    if config.architecture != name:
        raise UserError(
            f'the architecture of the module {name} calls itself "{config.architecture}"; '
            f'set architecture = "{name}" in its class {config.__name__}'
        )
    return config


def read_config(values: Any, source: object = None) -> EncoderConfig:
    """Make a configuration from the output of ``to_dict``.

    Args:
        values: the parsed JSON.
        source: the file, for the error.
    Raises:
        UserError: the architecture is unknown, or its fields are wrong.
    """
    where = "" if source is None else f"{source}: "
    if not isinstance(values, Mapping) or not isinstance(values.get("architecture"), str):
        raise UserError(f'{where}a model configuration has no "architecture"; add it')
    try:
        return find(values["architecture"]).from_dict(values)
    except UserError as error:
        raise UserError(f"{where}{error}") from error


def serving_form(encoder: Encoder, precision: str = "float32") -> ServingForm:
    """An encoder as it is served; one without a serving form as it is, in float32.

    Args:
        encoder: built, with its weights.
        precision: "float32" or "bfloat16".
    Raises:
        UserError: the encoder has no such form in bfloat16.
    """
    make = getattr(encoder, "serving_form", None)
    adapted = getattr(encoder, "adaptation", None)
    if make is not None and adapted is None:
        form: ServingForm = make(precision)
        return form
    if precision != "float32" and adapted is not None:
        raise UserError(
            f"a model with peft.method {adapted.options.method} can be served in float32 only, because its "
            "layers cannot be merged into the encoder's weights"
        )
    if precision != "float32":
        raise UserError(
            f"the architecture {encoder.config.architecture} can be served in float32 only; its encoder "
            f"has no method serving_form, which {precision} needs"
        )
    return _AsItIs(encoder)


def form_of_adapters(encoder: Encoder, adapters: Sequence[Changes]) -> ServingForm:
    """An encoder as it is served with many adapters, in float32.

    Args:
        encoder: the base, built, with its weights.
        adapters: the changes of each.
    Raises:
        UserError: its layers cannot change from row to row.
    """
    if not encoder.config.changes_rows:
        raise UserError(
            f"the architecture {encoder.config.architecture} cannot be served with --adapters: its serving "
            "form cannot change layers from row to row"
        )
    form: ServingForm = encoder.serving_form("float32", adapters)
    return form


class _AsItIs:
    """The serving form of an encoder that has none."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.variables: Sequence[Any] = [variable.value for variable in encoder.weights]

    def __call__(self, inputs: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        return self._encoder(inputs)

    def keys_and_values(self, inputs: Mapping[str, Any]) -> tuple[Any, tuple[KeysAndValues, ...]]:
        return self._encoder.keys_and_values(inputs)

    def extend(self, inputs: Mapping[str, Any], attend: Callable[..., Any]) -> Any:
        return self._encoder.extend(inputs, attend)

    def trained_weights(self) -> Sequence[tuple[Any, Any]]:
        """None: it reads the encoder's variables."""
        return ()


def config_of_layer(values: Mapping[str, Any]) -> EncoderConfig:
    """Read the configuration from a layer that Keras saved; files of version 0.1.0 have no architecture.

    Raises:
        UserError: the architecture is a module outside this package that is not imported. As with Keras's
            classes, a file of weights never imports modules.
    """
    values = {"architecture": DEFAULT, **values}
    name = values["architecture"]
    if "." in str(name) and name not in sys.modules:
        raise UserError(
            f"the encoder's architecture is {name}; import that module, then load the model again"
        )
    return read_config(values)
