"""How often a picture is painted, and what of it is kept."""
