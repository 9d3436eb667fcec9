"""Base class of elementwise transforms."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from glow_tf.description import Description


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transform(Description):
    """An elementwise bijection x -> y with parameters h, increasing in x.

    A subclass is a frozen dataclass that defines `forward` and `inverse`:

    ```
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Sinh(glow_tf.transforms.Transform):
        parameters_per_dim: ClassVar[int] = 1

        def forward(self, x, h):
            t = tf.asinh(x) + h[..., 0]
            return tf.sinh(t), tf.math.log(tf.cosh(t)) - 0.5 * tf.math.log1p(x**2)

        def inverse(self, y, h):
            t = tf.asinh(y) - h[..., 0]
            return tf.sinh(t), tf.math.log(tf.cosh(t)) - 0.5 * tf.math.log1p(y**2)
    ```

    It should be close to the identity at h = 0, the output of coupling networks at initialisation.

    Attributes:
      parameters_per_dim: P, the number of parameters per element; a property if it depends on the fields.
    """

    kind: ClassVar[str] = "transform"
    parameters_per_dim: ClassVar[int]

    def forward(self, x: tf.Tensor, h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns `y` and the elementwise log(dy/dx), or None if that is 0.

        Args:
          x: [B, ..., C].
          h: [B, ..., C, P].
        """
        raise NotImplementedError(f"{type(self).__name__} defines no forward.")

    def inverse(self, y: tf.Tensor, h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns `x` and the elementwise log(dx/dy), or None if that is 0; the arguments are as for `forward`."""
        raise NotImplementedError(f"{type(self).__name__} defines no inverse.")

    def vjp(
        self, x: tf.Tensor, y: tf.Tensor, h: tf.Tensor, dy: tf.Tensor, dlog_det: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the vector-Jacobian product of `forward`, by automatic differentiation unless overridden.

        Args:
          x: [B, ..., C].
          y: like `x`, the output of `forward`.
          h: [B, ..., C, P].
          dy: like `x`, the gradient with respect to `y`.
          dlog_det: the gradient with respect to the elementwise log-det, in a shape that broadcasts against `x`.

        Returns:
          The gradients with respect to `x` and to `h`.
        """
        # In the gradient of a while loop, operations take their inputs from stacks of values: a tape that watches the
        # tensors of the loop itself would find nothing.
        x, h = tf.identity(x), tf.identity(h)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([x, h])
            y, log_det = self.forward(x, h)
        outputs, upstream = [y], [dy]
        if log_det is not None:
            outputs, upstream = [y, log_det], [dy, tf.broadcast_to(dlog_det, tf.shape(log_det))]
        dx, dh = tape.gradient(outputs, [x, h], output_gradients=upstream)
        if dx is None:
            # TensorFlow pauses tapes while it pushes tangents through a custom gradient.
            raise NotImplementedError(
                f"{type(self).__name__} has no vjp of its own, which forward-mode differentiation of an inverse needs: "
                "define it, or use tf.GradientTape."
            )
        return dx, tf.zeros_like(h) if dh is None else dh
