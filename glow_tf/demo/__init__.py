"""Web page for playing with a SavedModel. It needs Gradio, which `glow_tf[demo]` installs."""
