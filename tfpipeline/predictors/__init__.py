"""Predictors: a server, a SavedModel, a run or a checkpoint, all with the same typed predictions."""

from tfpipeline.predictors.base import GENERATE, SIGNATURE, Labels, Predictor, Texts, utf8_inputs
from tfpipeline.predictors.opening import open_any, open_local
from tfpipeline.predictors.run import RunPredictor
from tfpipeline.predictors.saved_model import SavedModelPredictor
from tfpipeline.predictors.server import ServerPredictor

__all__ = [
    "GENERATE",
    "SIGNATURE",
    "Labels",
    "Predictor",
    "RunPredictor",
    "SavedModelPredictor",
    "ServerPredictor",
    "Texts",
    "open_any",
    "open_local",
    "utf8_inputs",
]
