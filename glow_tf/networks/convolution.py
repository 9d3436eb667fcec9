"""The convolutions of the coupling networks."""

import tensorflow as tf


def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A convolution of stride 1 that keeps the size of the image.

    The image is padded by zeros. A kernel with one input channel more than `x` also sees an indicator of the padding,
    1 outside the image and 0 inside, by which a network can tell the border from a black image (the official code).

    Args:
      x: [B, H, W, C_in].
      kernel: [h, w, C_in, C_out] or [h, w, C_in + 1, C_out], h and w odd.

    Returns:
      [B, H, W, C_out].

    Raises:
      ValueError: if the kernel has another number of input channels.
    """
    channels = x.shape[-1]
    size, inputs, outputs = tuple(kernel.shape[:2]), kernel.shape[2], kernel.shape[3]
    if inputs not in (channels, channels + 1):
        raise ValueError(f"A kernel of shape {kernel.shape} does not fit an input of shape {x.shape}.")
    if size == (1, 1) and inputs == channels:
        flat = tf.matmul(tf.reshape(x, [-1, channels]), tf.reshape(kernel, [channels, outputs]))
        return tf.reshape(flat, [-1, *x.shape[1:-1], outputs])
    y = tf.nn.conv2d(x, kernel[:, :, :channels], strides=1, padding="SAME")
    if inputs == channels + 1:
        y += border_response(kernel[:, :, channels:], x.shape[1], x.shape[2])
    return y


def border_response(kernel: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """The convolution of the padding's indicator, [1, H, W, C_out]: the same for every image, hence computed once."""
    down, right = (n // 2 for n in kernel.shape[:2])
    inside = tf.zeros([1, height, width, 1], kernel.dtype)
    indicator = tf.pad(inside, [[0, 0], [down, down], [right, right], [0, 0]], constant_values=1)
    return tf.nn.conv2d(indicator, kernel, strides=1, padding="VALID")
