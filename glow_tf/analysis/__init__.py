"""Analysis of a trained flow: samples, latents, attributes and likelihoods; arrays in, arrays or pictures out."""

from glow_tf.analysis.attributes import Directions, attribute_directions, manipulate
from glow_tf.analysis.codec import Codec, draw_latents
from glow_tf.analysis.frechet import Moments, frechet_distance
from glow_tf.analysis.grid import image_grid, labelled_grid, save_gif, save_picture, save_png
from glow_tf.analysis.interpolation import interpolate, interpolate_images
from glow_tf.analysis.likelihood import Scorer, Scores, round_trips
from glow_tf.analysis.neighbours import NearestNeighbours, nearest
from glow_tf.analysis.outliers import auroc, outlier_scores
from glow_tf.analysis.reconstruction import reconstructions, resample_finest
from glow_tf.analysis.sampling import Sampler
from glow_tf.analysis.temperature import temperature_grid

__all__ = [
    "Codec",
    "Directions",
    "Moments",
    "NearestNeighbours",
    "Sampler",
    "Scorer",
    "Scores",
    "attribute_directions",
    "auroc",
    "draw_latents",
    "frechet_distance",
    "image_grid",
    "interpolate",
    "interpolate_images",
    "labelled_grid",
    "manipulate",
    "nearest",
    "outlier_scores",
    "reconstructions",
    "resample_finest",
    "round_trips",
    "save_gif",
    "save_picture",
    "save_png",
    "temperature_grid",
]
