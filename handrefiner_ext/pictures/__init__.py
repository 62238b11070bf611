"""Picture files: loading, and writing back without losing what was not repainted."""

from handrefiner_ext.pictures.picture import (
    Picture,
    encode_png,
    load_mask,
    load_picture,
    save_picture,
    write_atomically,
)

__all__ = [
    "Picture",
    "encode_png",
    "load_mask",
    "load_picture",
    "save_picture",
    "write_atomically",
]
