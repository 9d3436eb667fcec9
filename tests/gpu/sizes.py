"""Sizes of the tests on a GPU, in one place: in total, they take five minutes on a data centre GPU."""

DEVICE = "GPU:0"
# The model of the paper, for exact round trips, and the number of images.
LARGE = {"image_shape": (32, 32, 3), "K": 32, "L": 3, "width": 512}
LARGE_IMAGES = 16
# A model that is traced and compiled quickly, for all variants of the training step.
SMALL = {"image_shape": (16, 16, 3), "K": 4, "L": 2, "width": 32, "n_bits": 5}
SMALL_BATCH = 16
# A model with so many activations that storing those of its steps would show in the peak memory; depths to compare.
WIDE = {"image_shape": (64, 64, 3), "L": 3, "width": 128}
WIDE_BATCH = 64
DEPTHS = (4, 16)
# Seconds within which a training step is traced, compiled and run; a deadline for one that hangs.
PATIENCE = 150.0
# Number of programs run concurrently.
PROGRAMS = 3
