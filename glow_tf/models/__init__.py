"""Variables and bijectors together: the flow, its presets, its storage and the import of official checkpoints."""
