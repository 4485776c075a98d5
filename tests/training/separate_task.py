"""A task whose two texts are encoded separately: a bi-encoder with in-batch negatives."""

from __future__ import annotations

import tensorflow as tf

from tests.training.batch_tasks import InBatchNegatives
from tfpipeline.tasks import TaskOptions


class SeparateNegatives(InBatchNegatives):
    """A row's second text is to be told from the second texts of the other rows."""

    def loss(self, outputs, targets):
        return super().loss({**outputs, "key": outputs["text_pair/key"]}, targets)

    def predictions(self, outputs, inputs):
        cosines = tf.reduce_sum(outputs["query"] * outputs["text_pair/key"], -1)
        return {"key": tf.cast(outputs["text_pair/key"], tf.float32), "score": tf.cast(cosines, tf.float32)}


class SeparateOptions(TaskOptions):
    name: str = "tests.training.separate_task"
    task_class = SeparateNegatives
    encoding = "separate"


OPTIONS = SeparateOptions
