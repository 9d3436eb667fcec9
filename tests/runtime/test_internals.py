"""Internals of TensorFlow, Keras and TFP exist and behave as the package expects."""

import keras
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow.python.framework import kernels

from glow_tf.runtime import internals


class Adam(internals.OptimizerInternals, keras.optimizers.Adam):
    pass


class Adamax(internals.OptimizerInternals, keras.optimizers.Adamax):
    pass


def built(kind, **options):
    variables = [tf.Variable([1.0, 2.0]), tf.Variable(3.0)]
    optimizer = kind(learning_rate=0.5, beta_1=0.9, beta_2=0.99, **options)
    optimizer.build(variables)
    return optimizer, variables


@pytest.mark.parametrize("kind,second", [(Adam, 0.01 * 4.0), (Adamax, 2.0)])
def test_moments_of_a_variable(kind, second):
    optimizer, variables = built(kind)
    optimizer.apply([tf.constant([0.0, 0.0]), tf.constant(2.0)], variables)
    assert [float(moment) for moment in optimizer.moments(variables[1])] == pytest.approx([0.1 * 2.0, second])
    assert [moment.shape.as_list() for moment in optimizer.moments(variables[0])] == [[2], [2]]


def test_learning_rate():
    constant, _ = built(Adam)
    assert float(constant.current_learning_rate()) == 0.5
    schedule = keras.optimizers.schedules.PolynomialDecay(0.5, 10, end_learning_rate=0.0)
    variable = tf.Variable(1.0)
    decaying = Adam(learning_rate=schedule)
    decaying.build([variable])
    decaying.apply([tf.constant(1.0)], [variable])
    assert decaying.schedule is schedule
    assert float(decaying.current_learning_rate()) == pytest.approx(0.45)


def test_a_keras_variable_has_the_key_of_the_one_it_wraps():
    wrapper = keras.Variable([1.0])
    optimizer = Adam()
    optimizer.build([wrapper])
    assert optimizer.key(wrapper) == optimizer.key(wrapper.value) != optimizer.key(tf.Variable([1.0]))


def test_weight_decay_is_left_to_the_update():
    optimizer, variables = built(Adam, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_list=[variables[1]])
    assert [optimizer.is_decayed(variable) for variable in variables] == [True, False]
    optimizer.apply([tf.zeros([2]), tf.constant(0.0)], variables)
    assert variables[0].numpy().tolist() == [1.0, 2.0]


def test_gradients_of_replicas_are_not_added_up():
    devices = tf.config.list_logical_devices("CPU")[:2]
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    with strategy.scope():
        variable = tf.Variable(0.0)
        optimizer = Adam()
        optimizer.build([variable])

    @tf.function
    def step():
        strategy.run(lambda: optimizer.apply([tf.constant(1.0)], [variable]))

    step()
    first, _ = (strategy.experimental_local_results(moment) for moment in optimizer.moments(variable))
    assert [float(value) for value in first] == pytest.approx([0.1] * len(devices))


def test_operations_without_a_state():
    assert internals.is_stateless("Const")
    assert internals.is_stateless("StatelessRandomUniformV2")
    assert not internals.is_stateless("RandomUniform")
    assert not internals.is_stateless("ReadVariableOp")
    assert not internals.is_stateless("__inference_forward_pass_12")


def test_what_is_traced_in_the_context_of_saving_is_not_traced_again(tmp_path):
    traces = []
    module, options = tf.Module(), tf.saved_model.SaveOptions()

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
    def double(x):
        traces.append(x)
        return 2 * x

    module.double = double
    with internals.save_context(options):
        traced = double.get_concrete_function()
    tf.saved_model.save(module, str(tmp_path), signatures={"double": traced}, options=options)
    assert len(traces) == 1
    assert float(tf.saved_model.load(str(tmp_path)).double(3.0)) == 6.0


def test_a_bijector_that_gives_both_at_once_is_evaluated_once():
    class Double(tfp.bijectors.Bijector):
        _cache = internals.BijectorCacheWithGreedyAttrs(
            forward_name="_augmented_forward", inverse_name="_augmented_inverse"
        )

        def __init__(self):
            self.evaluations = 0
            super().__init__(forward_min_event_ndims=0)

        def _augmented_forward(self, x):
            self.evaluations += 1
            return 2 * x, {"fldj": tf.math.log(2 * tf.ones_like(x)), "ildj": -tf.math.log(2 * tf.ones_like(x))}

        def _augmented_inverse(self, y):
            self.evaluations += 1
            return y / 2, {"fldj": tf.math.log(2 * tf.ones_like(y)), "ildj": -tf.math.log(2 * tf.ones_like(y))}

        def _forward(self, x):
            raise AssertionError("without the log-det")

        _inverse = _forward_log_det_jacobian = _inverse_log_det_jacobian = _forward

    bijector = Double()
    x = tf.constant(3.0)
    assert float(bijector.forward(x)) == 6.0
    assert float(bijector.forward_log_det_jacobian(x)) == pytest.approx(0.6931472)
    y = tf.constant(8.0)
    assert float(bijector.inverse(y)) == 4.0
    assert float(bijector.inverse_log_det_jacobian(y)) == pytest.approx(-0.6931472)
    assert bijector.evaluations == 2


def test_what_is_untracked_is_not_in_checkpoints(tmp_path):
    module = tf.Module()
    module.kept = tf.Variable(1.0)
    values = [tf.Variable(2.0), (3,)]
    module.left_out = internals.untracked(module, values)
    assert module.left_out is values
    path = tf.train.Checkpoint(module=module).write(str(tmp_path / "checkpoint"))
    names = [name for name, _ in tf.train.list_variables(path)]
    assert [name for name in names if name.startswith("module/")] == ["module/kept/.ATTRIBUTES/VARIABLE_VALUE"]


def test_buffers_on_a_gpu_can_have_options():
    """Otherwise they would be on the CPU."""
    devices = {kernel.device_type for kernel in kernels.get_registered_kernels_for_op("OptionsDataset").kernel}
    assert {"CPU", "GPU"} <= devices
