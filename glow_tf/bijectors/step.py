"""One step of flow (Kingma & Dhariwal 2018, figure 2a)."""

import tensorflow as tf

from glow_tf.bijectors import base


class FlowStep(base.Bijector):
    """A chain of layers; in Glow, actnorm, permutation and coupling.

      forward:          y = f_n(... f_1(x)),  log-det = sum of the layers' log-dets
      inverse:          x = f_1^-1(... f_n^-1(y))

    Args:
      layers: bijectors of this package that preserve the event rank, in forward order.
    """

    def __init__(self, layers: list[base.Bijector], *, validate_args: bool = False, name: str = "flow_step"):
        if not layers:
            raise ValueError("A flow step needs at least one layer.")
        self._layers = list(layers)
        super().__init__(event_ndims=layers[0].forward_min_event_ndims, validate_args=validate_args, name=name)

    @property
    def layers(self) -> list[base.Bijector]:
        """Layers in forward order."""
        return list(self._layers)

    def forward_and_log_det(self, x):
        log_dets = []
        for layer in self._layers:
            x, log_det = layer.forward_and_log_det(x)
            log_dets.append(log_det)
        return x, base.sum_log_dets(log_dets, x)

    def inverse_and_log_det(self, y):
        log_dets = []
        for layer in reversed(self._layers):
            y, log_det = layer.inverse_and_log_det(y)
            log_dets.append(log_det)
        return y, base.sum_log_dets(log_dets, y)

    def inverse_and_vjp(self, y, dy, dlog_det, sources):
        totals: list[tf.Tensor | None] = [None] * len(sources)
        for layer in reversed(self._layers):
            y, dy, grads = layer.inverse_and_vjp(y, dy, dlog_det, sources)
            for i, grad in enumerate(grads):
                if grad is not None:
                    totals[i] = grad if totals[i] is None else totals[i] + grad
        return y, dy, totals
