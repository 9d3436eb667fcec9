"""Attention, layer normalisation and dropout, and properties shared by the networks that use them."""

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.mode import Mode
from glow_tf.networks import GatedAttention, Vit
from glow_tf.networks.attention import dot_product_attention, layer_norm
from glow_tf.networks.dropout import Dropout
from tests.networks.random_networks import random_values, slices
from tests.tolerances import EXCEPTIONS, assert_close

NETWORKS = {
    "gated_attention": GatedAttention(width=6, blocks=2, heads=2, dropout=0.3),
    "vit": Vit(width=6, depth=2, heads=3, patch_size=2, dropout=0.3),
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def attention_by_hand(q, k, v):
    """Attention of q, k and v, [T, C] each, position by position."""
    attended = np.zeros_like(v)
    for t in range(len(q)):
        weights = np.exp([q[t] @ k[s] / np.sqrt(q.shape[1]) for s in range(len(k))])
        attended[t] = weights @ v / weights.sum()
    return attended


def heads_by_hand(layer, h, heads):
    """Multi-head attention of h, [T, width], with the kernel and bias of queries, keys and values in `layer`."""
    qkv = h @ layer["kernel"] + layer["bias"]
    size = qkv.shape[1] // (3 * heads)
    q, k, v = np.split(qkv, 3, axis=1)
    parts = [slice(i * size, (i + 1) * size) for i in range(heads)]
    return np.concatenate([attention_by_hand(q[:, part], k[:, part], v[:, part]) for part in parts], axis=1)


def norm_by_hand(layer, h):
    mean = h.mean(-1, keepdims=True)
    return (h - mean) / np.sqrt(h.var(-1, keepdims=True) + 1e-6) * layer["scale"] + layer["bias"]


def points(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def random_tensors(network, dtype=tf.float64, positions=(4, 6)):
    values = random_values(network, 1, 3, 4, positions=positions)
    return tf.nest.map_structure(lambda t: tf.cast(t, dtype), slices(network, values, 0))


def test_attention_by_hand():
    q, k, v = points(3, 2, 5, 4)
    found = dot_product_attention(*map(tf.constant, (q, k, v)), "float32")
    for i in range(2):
        assert_close(found[i], attention_by_hand(q[i], k[i], v[i]))


def test_the_softmax_of_large_logits_is_finite():
    q = 1e3 * points(1, 5, 4).astype(np.float32)
    found = dot_product_attention(q, q, tf.eye(5, 4, [1]), "float32")
    # Each position attends to itself alone, or to another one with a larger product.
    np.testing.assert_array_equal(tf.reduce_sum(found, -1)[0] <= 1, np.full(5, True))
    assert np.all(np.isfinite(found))


def test_layer_norm_by_hand():
    layer, x = {"scale": points(5, seed=1), "bias": points(5, seed=2)}, 3 + points(2, 3, 5)
    assert_close(layer_norm(layer, tf.constant(x)), norm_by_hand(layer, x))


def test_statistics_of_bfloat16_are_those_of_float32():
    """In bfloat16, statistics of values near 1,000 would lose the deviation to rounding."""
    x = tf.cast(1000 + 8 * points(4, 512), tf.bfloat16)
    layer = {"scale": tf.ones(512, tf.bfloat16), "bias": tf.zeros(512, tf.bfloat16)}
    found = layer_norm(layer, x)
    assert found.dtype == tf.bfloat16
    expected = norm_by_hand({"scale": 1, "bias": 0}, tf.cast(x, tf.float64).numpy())
    np.testing.assert_allclose(tf.cast(found, tf.float64), expected, rtol=2**-8, atol=2**-8)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.bfloat16])
def test_dropout_keeps_the_mean(dtype):
    x = tf.ones([100, 100], dtype)
    drop = Dropout(0.25, tf.constant([1, 2]))
    first, second = (tf.cast(drop(x), tf.float64).numpy() for _ in range(2))
    for found in (first, second):
        assert abs((found == 0).mean() - 0.25) < 0.02
        np.testing.assert_allclose(found[found > 0], 4 / 3, rtol=2**-8)
    # Successive calls drop independently.
    assert abs(((first == 0) & (second == 0)).mean() - 0.25**2) < 0.02


def test_dropout_by_a_seed_is_the_same_compiled_or_not():
    def dropped(x, seed):
        drop = Dropout(0.5, seed)
        return drop(x) + 10 * drop(x)

    x, seed = tf.ones([8, 9]), tf.constant([3, 4])
    expected = dropped(x, seed)
    for compile in (False, True):
        np.testing.assert_array_equal(tf.function(dropped, jit_compile=compile)(x, seed), expected)
    assert np.any(dropped(x, tf.constant([3, 5])) != expected)


@every_network
def test_dropout_is_for_training_alone(network):
    tensors, x = random_tensors(network), tf.constant(points(2, 4, 6, 3))
    calm = network.apply(tensors, x)
    np.testing.assert_array_equal(network.apply(tensors, x, seed=tf.constant([1, 2])), calm)
    noisy = network.apply(tensors, x, training=True, seed=tf.constant([1, 2]))
    assert np.abs(noisy - calm).max() > 0.01
    np.testing.assert_array_equal(network.apply(tensors, x, training=True, seed=tf.constant([1, 2])), noisy)
    assert np.any(network.apply(tensors, x, training=True, seed=tf.constant([1, 3])) != noisy)
    with pytest.raises(ValueError, match=r"dropout=0.3 needs a seed in training"):
        network.apply(tensors, x, training=True)
    for precision in ("tf32", "bfloat16"):
        narrow = tf.nest.map_structure(lambda t: tf.cast(t, tf.float32), tensors)
        mode = Mode(network_precision=precision, training=True, seed=tf.constant([1, 2]))
        found = network.apply_in(mode, narrow, tf.cast(x, tf.float32))
        assert found.dtype == tf.float32
        assert np.abs(found - tf.cast(noisy, tf.float32)).max() < 0.1 * np.abs(noisy).max()


def test_without_dropout_no_seed_is_needed():
    network = GatedAttention(width=6, blocks=1, dropout=0.0)
    assert not network.is_random and NETWORKS["vit"].is_random
    tensors, x = random_tensors(network), tf.constant(points(2, 4, 6, 3))
    np.testing.assert_array_equal(network.apply(tensors, x, training=True), network.apply(tensors, x))


@pytest.mark.parametrize("network", [GatedAttention(width=4, blocks=1, heads=2), Vit(width=4, depth=1, heads=2)])
def test_batches_of_any_size_compiled_by_xla(network):
    tensors = random_tensors(network, tf.float32)
    compiled = tf.function(
        lambda x: network.apply(tensors, x), jit_compile=True, input_signature=[tf.TensorSpec([None, 4, 6, 3])]
    )
    for size in (2, 0):
        x = tf.constant(points(size, 4, 6, 3), tf.float32)
        expected = network.apply(tensors, x)
        assert expected.shape == (size, 4, 6, 4)
        assert_close(compiled(x), expected, EXCEPTIONS["float32"])


@pytest.mark.parametrize("cls,more", [(GatedAttention, {"blocks": 1}), (Vit, {"depth": 1})])
def test_labels_have_embeddings(cls, more):
    """The embedding of a label is added to the bias of the first layer."""
    network, unlabelled = (cls(width=4, num_classes=n, **more) for n in (3, 0))
    assert network.num_classes_needed() == 3 and unlabelled.num_classes_needed() == 0
    values, x = random_values(network, 1, 2, 4), points(2, 4, 4, 2)
    found = network.apply(slices(network, values, 0), tf.constant(x), {"labels": tf.constant([2, 0])})
    for i, label in enumerate([2, 0]):
        moved = {name: part for name, part in values.items() if name != "label"}
        bias = values["enter"]["bias"] + values["label"]["kernel"][:, label]
        moved["enter"] = {**values["enter"], "bias": bias}
        expected = unlabelled.apply(slices(unlabelled, moved, 0), tf.constant(x[i : i + 1]))
        assert_close(found[i], expected[0])
    with pytest.raises(ValueError, match=r"Labels in 0 \.\. 2, which condition the coupling networks, are missing"):
        network.apply(slices(network, values, 0), tf.constant(x))


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: Vit(width=0, depth=1), "width=0 must be an integer of at least 1"),
        (lambda: Vit(width=4, depth=0), "depth=0 must be an integer of at least 1"),
        (lambda: Vit(width=4, depth=1, heads=0), "heads=0 must be an integer of at least 1"),
        (lambda: Vit(width=4, depth=1, patch_size=0), "patch_size=0 must be an integer of at least 1"),
        (lambda: GatedAttention(width=4, blocks=0), "blocks=0 must be an integer of at least 1"),
        (lambda: GatedAttention(width=4, heads=-1), "heads=-1 must be an integer of at least 0"),
        (lambda: GatedAttention(width=4, blocks=1001), "blocks=1001 must be at most 1000"),
        (lambda: GatedAttention(width=4, dropout=1.0), "dropout=1.0 must be at least 0 and less than 1"),
        (lambda: GatedAttention(width=4, dropout=-0.1), "dropout=-0.1 must be at least 0"),
        (lambda: GatedAttention(width=4, dropout=float("nan")), "dropout=nan must be at least 0"),
        (lambda: GatedAttention(width=4, num_classes=-1), "num_classes=-1 must be an integer of at least 0"),
        (lambda: GatedAttention(width=4).check((6,)), r"attention over positions and needs \(H, W, C\) or \(T, C\)"),
        (lambda: Vit(width=4, depth=1, patch_size=4).check((8, 6, 3)), r"patch_size=4 and .* it gets \(8, 6, 3\)"),
    ],
)
def test_errors_name_the_argument(make, message):
    with pytest.raises(ValueError, match=message):
        make()
