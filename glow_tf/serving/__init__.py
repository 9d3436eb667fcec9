"""Server of SavedModels with the REST API of TensorFlow Serving."""
