from tests.graphs import graphs_as_they_are  # noqa: F401
