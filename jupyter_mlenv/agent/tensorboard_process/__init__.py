"""TensorBoard over the runs of a project."""
