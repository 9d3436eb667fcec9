"""Commands of the package, a module each: `glow sample` runs `sample.py`. `glow_tf.cli` lists them."""
