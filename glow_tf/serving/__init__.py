"""A server of SavedModels that answers the REST API of TensorFlow Serving."""
