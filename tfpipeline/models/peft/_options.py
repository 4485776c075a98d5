"""The interface of methods of parameter-efficient fine-tuning. Imports no framework."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Optional

from pydantic import Field

from tfpipeline.config import Section, settings
from tfpipeline.errors import UserError
from tfpipeline.models.layer_changes import LayerChange

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfpipeline.models.dense_adapter import DenseAdapter

# The end of messages about methods that cannot be merged.
METHODS_THAT_CAN = "methods that can are lora, adalora, ia3 and bitfit"
PEFT_SITE = 30_000  # dropout sites of attached layers start here, between those of encoders and heads


class PeftOptions(Section):
    """The ``peft`` section of a run file: a method and its options.

    Attributes:
        mergeable: whether the trained encoder can be written as an encoder without the method's layers.
        version: of what the method computes; stored in adapter files, and raised when it changes.
        depends_on_length: whether training depends on its number of steps, so that a run cannot be extended.
    """

    mergeable: ClassVar[bool] = True
    version: ClassVar[int] = 1
    depends_on_length: ClassVar[bool] = False

    method: str = Field(description="The method: the other fields are its options.")

    def attach(self, encoder: Any, seed: int) -> Adaptation:
        """Add the method's layers to an encoder; see :func:`tfpipeline.models.peft.attach`.

        Raises:
            UserError: the options do not fit the encoder.
        """
        raise NotImplementedError

    def require_mergeable(self, name: str = "a model") -> None:
        """Refuse a method whose layers no weight of the encoder can replace.

        Args:
            name: of the run or the file, for the message.
        Raises:
            UserError: it is not :attr:`mergeable`.
        """
        if not self.mergeable:
            raise UserError(
                f"{name} with peft.method {self.method} cannot be merged into the encoder, "
                f"because it adds layers of its own; {METHODS_THAT_CAN}"
            )


class Adaptation:
    """A method, attached to an encoder.

    Methods with rules of their own for training (AdaLoRA) derive from this class.

    Args:
        options: the method's options.
        encoder: the encoder.
        seed: the seed of the initial weights.
        trained: the variables of the encoder that the method trains.
        layers: the layers that were added, by name of the place.

    The arguments are also attributes.
    """

    def __init__(
        self,
        options: PeftOptions,
        encoder: Any,
        seed: int,
        trained: Sequence[keras.Variable],
        layers: Mapping[str, keras.layers.Layer],
    ) -> None:
        self.options, self.encoder, self.seed = options, encoder, seed
        self.trained, self.layers = list(trained), dict(layers)

    @property
    def added(self) -> list[keras.Variable]:
        """The variables of the layers that were added."""
        return [variable for layer in self.layers.values() for variable in layer.weights]

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables that the method trains or keeps: what a file of the adaptation stores."""
        return list({variable.path: variable for variable in [*self.trained, *self.added]}.values())

    def projections(self) -> Iterator[tuple[str, DenseAdapter, str]]:
        """The projections that are changed: the name, the layer that was added, the last part of the name."""
        for name, projection in self.encoder.projections().items() if self.layers else ():
            adapter, last = projection.dense.adapter, name.rpartition("/")[2]
            if adapter is not None and adapter.adapts(last):
                yield name, adapter, last

    def merge(self) -> None:
        """Write the changes into the encoder's own weights, and remove the layers.

        Products are computed in float64, so the encoder's answers change by rounding only.

        Raises:
            UserError: the method has layers that no weight of the encoder can replace.
        """
        from tfpipeline import _keras_internals

        self.options.require_mergeable()
        for projection in self.encoder.projections().values() if self.layers else ():
            dense = projection.dense
            if dense.adapter is not None:
                kernel, bias = dense.adapter.merge(
                    dense.kernel.numpy().astype("float64"), dense.bias.numpy().astype("float64")
                )
                dense.kernel.assign(kernel)
                dense.bias.assign(bias)
                _keras_internals.remove_sublayer(dense, "adapter")
        self.encoder.adaptation = None

    def layer_changes(self) -> dict[str, LayerChange]:
        """The changes of layers by their paths, for serving many adapters on one encoder.

        Biases of the encoder that the method trains are not part of them; see :attr:`replaced`.

        Raises:
            UserError: the method has layers that do more than change others.
        """
        refused = UserError(
            f"peft.method {self.options.method} cannot be served with --adapters; {METHODS_THAT_CAN}"
        )
        if not self.options.mergeable:
            raise refused
        try:
            return {path: layer.change() for path, layer in self.layers.items()}
        except NotImplementedError as error:  # a method of another package, whose layers can merge only
            raise refused from error

    @property
    def replaced(self) -> list[keras.Variable]:
        """The variables of the encoder itself that the method trains."""
        added = {id(variable) for variable in self.added}
        return [variable for variable in self.trained if id(variable) not in added]

    def get_config(self) -> dict[str, Any]:
        """The options and the seed, as JSON; see :func:`tfpipeline.models.peft.restore`."""
        return {"options": settings(self.options), "seed": self.seed}

    # Training. A step calls these once each, after the gradients of the global batch are known on every
    # replica.

    def prepare(self, total_steps: int) -> None:
        """Receive the number of steps of the whole training, before the first.

        Raises:
            UserError: the options do not fit it.
        """

    def penalty(self) -> Optional[tf.Tensor]:
        """A scalar to be added to the loss of each step; None without. It depends on weights only."""
        return None

    def after_step(self, gradients: Mapping[str, tf.Tensor], step: tf.Tensor) -> None:
        """Act after the optimizer has updated the weights.

        Args:
            gradients: of the step's loss, by the path of the variable; unscaled and not clipped.
            step: number of steps done before this one, int64.
        """

    def report(self) -> dict[str, dict[str, int]]:
        """What the report of a run says of the method after training; by default nothing.

        Returns:
            The columns of a table: name of the column -> name of the row -> number.
        """
        return {}
