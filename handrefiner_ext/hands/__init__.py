"""Which hands, and a mesh for each."""
