"""A page in the browser to play with a SavedModel; its looks need Gradio, which `glow_tf[demo]` installs."""
