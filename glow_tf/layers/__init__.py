"""Flow layers, one per file: description, parameters, bijector and initialisation."""

from glow_tf.layers.base import Layer
from glow_tf.layers.flatten import Flatten
from glow_tf.layers.logit import Logit
from glow_tf.layers.scale import Scale
from glow_tf.layers.split import Split
from glow_tf.layers.squeeze import Squeeze
from glow_tf.layers.steps import Steps
from glow_tf.layers.top_prior import TopPrior

__all__ = ["Flatten", "Layer", "Logit", "Scale", "Split", "Squeeze", "Steps", "TopPrior"]
