"""Picture files: loading, and writing back without losing what was not repainted."""

from handrefiner_ext.pictures.depths import to_depth
from handrefiner_ext.pictures.disk import read_file, write_atomically
from handrefiner_ext.pictures.formats import FORMAT_OF, encode_as, encode_thumbnail
from handrefiner_ext.pictures.masks import draw_mask, load_mask, read_mask, to_mask
from handrefiner_ext.pictures.picture import (
    Picture,
    encode_map,
    encode_picture,
    encode_png,
    load_picture,
    read_picture,
    save_picture,
    take_picture,
)

__all__ = [
    "FORMAT_OF",
    "Picture",
    "draw_mask",
    "encode_as",
    "encode_map",
    "encode_picture",
    "encode_png",
    "encode_thumbnail",
    "load_mask",
    "load_picture",
    "read_file",
    "read_mask",
    "read_picture",
    "save_picture",
    "take_picture",
    "to_depth",
    "to_mask",
    "write_atomically",
]
