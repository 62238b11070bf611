"""HandRefiner: finds badly drawn hands in generated pictures and replaces them."""

__version__ = "0.1.0"
