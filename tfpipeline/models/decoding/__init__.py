"""Writing texts token by token, in the graph: greedy, with beams, or by drawing tokens at random.

Everything is core TensorFlow in one ``tf.while_loop``, so a SavedModel has it and any server runs it. Only
token ids are known here: words become ids, and ids texts, in the task.
"""

from tfpipeline.models.decoding.loop import generate
from tfpipeline.models.decoding.rules import CHOICES, Choices, Rules

__all__ = ["CHOICES", "Choices", "Rules", "generate"]
