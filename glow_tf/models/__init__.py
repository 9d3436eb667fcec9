"""Models, which combine variables and bijectors: the flow, its presets, storage and import of official checkpoints."""
