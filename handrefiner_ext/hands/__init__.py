"""Choose which hands to repaint, and find a mesh for each."""
