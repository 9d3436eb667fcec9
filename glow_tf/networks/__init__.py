"""Conditioners: the networks of coupling layers."""

from glow_tf.networks.base import Network
from glow_tf.networks.cnn import Cnn
from glow_tf.networks.context_channels import ContextChannels
from glow_tf.networks.gated_attention import GatedAttention
from glow_tf.networks.gated_convolutions import GatedConvolutions
from glow_tf.networks.mlp import Mlp
from glow_tf.networks.resnet import Resnet
from glow_tf.networks.vit import Vit

__all__ = ["Cnn", "ContextChannels", "GatedAttention", "GatedConvolutions", "Mlp", "Network", "Resnet", "Vit"]
