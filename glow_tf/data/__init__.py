"""Image sources (TFDS, image folder, arrays, bundled), batched input pipelines, and synthetic speech-like sounds."""

from glow_tf.data.arrays import arrays_in_memory
from glow_tf.data.attributes import Attributes, attributed_batches, batches_with_rows, load_attributes
from glow_tf.data.bundled import people_attributes
from glow_tf.data.dataset_arrays import read_dataset
from glow_tf.data.images import load_images
from glow_tf.data.loading import load_source
from glow_tf.data.named_pictures import picture_source
from glow_tf.data.pipeline import split_batches, test_batches, train_batches
from glow_tf.data.rate import pipeline_rate
from glow_tf.data.recipes import Recipe, recipe
from glow_tf.data.semi_supervised import labelled_rows
from glow_tf.data.source import DataError, Source
from glow_tf.data.speech import speech_like

__all__ = [
    "Attributes",
    "DataError",
    "Recipe",
    "Source",
    "arrays_in_memory",
    "attributed_batches",
    "batches_with_rows",
    "labelled_rows",
    "load_attributes",
    "load_images",
    "load_source",
    "people_attributes",
    "picture_source",
    "pipeline_rate",
    "read_dataset",
    "recipe",
    "speech_like",
    "split_batches",
    "test_batches",
    "train_batches",
]
