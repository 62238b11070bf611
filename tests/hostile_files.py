"""Files of weights that try to cost a minute or a gigabyte; all made here, none is stored."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

from pickle_files import old_dict, quoted

MERSENNE = 2**61 - 1
"""Python's hash of an integer is its remainder by this number."""
MANY, COPIES = 20_000, 4_000
"""How often what costs time is done, and how many megabytes what costs memory would take."""
MEGABYTE = 2**20
ESCAPES = b"\x1b[2J\x1b]0;owned\x07"
"""Clear the screen and rename the window of a terminal."""


def doubled(levels: int, step: bytes) -> bytes:
    """A container that holds the one before it twice, `levels` times over."""
    body = b"]" if step == b"l" else b")"
    for number in range(levels):
        body += b"q" + bytes([number]) + b"0(h" + bytes([number]) + b"h" + bytes([number]) + step
    return body


SHARED = doubled(32, b"t")
"""A tuple of 2^32 leaves in under 300 bytes; printing it takes half an hour."""
SHARED_LIST = doubled(32, b"l")
MEMO = 200
"""The first memo number that `doubled` leaves free."""


def call(name: bytes, *args: bytes) -> bytes:
    """name: module and name, separated by a newline."""
    return b"c" + name + b"\n(" + b"".join(args) + b"tR"


def text(content: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(content)) + content


def keep(number: int) -> bytes:
    """Put what is on top of the stack into the memo and take it off."""
    return b"r" + struct.pack("<I", MEMO + number) + b"0"


def again(number: int) -> bytes:
    return b"j" + struct.pack("<I", MEMO + number)


def number(value: int) -> bytes:
    return b"I%d\n" % value


EMPTY_ARRAY = call(b"numpy.core.multiarray\n_reconstruct", b"cnumpy\nndarray\n(I0\ntS'b'\n")
DOUBLES = call(b"numpy\ndtype", b"S'f8'\nI0\nI1\n")
BYTES = call(b"numpy\ndtype", b"S'u1'\nI0\nI1\n")
WHOLE = call(b"numpy\ndtype", b"S'u4'\nI0\nI1\n")


def array(shape: bytes, kind: bytes, content: bytes, by_column: bytes = b"I00\n") -> bytes:
    """Everything already pickled; shape: without its marks."""
    return EMPTY_ARRAY + b"(I1\n(" + shape + b"t" + kind + by_column + content + b"tb"


def sparse(rows: int, columns: int, starts: bytes) -> bytes:
    """A csc_matrix without entries; starts: the pickled array where its columns begin."""
    nothing = array(b"I0\n", DOUBLES, b"S''\n")
    no_rows = array(b"I0\n", WHOLE, b"S''\n")
    shape = b"(" + number(rows) + number(columns) + b"t"
    state = {b"_shape": shape, b"data": nothing, b"indices": no_rows, b"indptr": starts}
    return b"cscipy.sparse.csc\ncsc_matrix\n)\x81" + old_dict(state) + b"b"


def whole_numbers(*values: int) -> bytes:
    content = struct.pack(f"<{len(values)}I", *values)
    return array(number(len(values)), WHOLE, text(content))


def one_megabyte_in_many_arrays() -> bytes:
    begin = text(b"x" * MEGABYTE) + keep(0) + BYTES + keep(1)
    one = array(number(MEGABYTE), again(1), again(0))
    return begin + b"(d" + b"".join(b"S'%d'\n" % n + one + b"s" for n in range(COPIES))


def one_list_in_many_arguments() -> bytes:
    begin = b"](" + b"]" * MANY + b"e" + keep(0)
    return begin + b"(dS'a'\n" + call(b"collections\nOrderedDict", again(0) * MANY) + b"s"


def one_text_encoded_often() -> bytes:
    begin = text(b"x" * MEGABYTE) + keep(0)
    one = call(b"_codecs\nencode", again(0), b"S'latin1'\n")
    return begin + b"(d" + b"".join(b"S'%d'\n" % n + one + b"s" for n in range(COPIES))


def one_array_chosen_often() -> bytes:
    """Choosing from an array by columns copies the whole of it first."""
    matrix = array(b"I1024\nI1024\n", BYTES, text(b"x" * MEGABYTE), b"I01\n")
    begin = matrix + keep(0) + whole_numbers(0) + keep(1)
    one = b"cchumpy.reordering\nSelect\n)\x81(dS'a'\n" + again(0) + b"sS'idxs'\n" + again(1) + b"sb"
    return begin + b"(d" + b"".join(b"S'%d'\n" % n + one + b"s" for n in range(MANY))


def keys_of_one_hash(count: int = 60_000) -> bytes:
    return b"(dS'a'\n(d" + b"".join(b"L%dL\nNs" % (n * MERSENNE) for n in range(count)) + b"s"


def memo_numbers_of_one_hash(count: int = 60_000) -> bytes:
    return b"(d" + b"".join(b"p%d\n" % (n * MERSENNE) for n in range(count))


ARRAYS = {
    "tuple as dtype": lambda: old_dict({b"a": call(b"numpy\ndtype", SHARED, b"I0\nI1\n")}),
    "tuple as byte order": lambda: old_dict(
        {b"a": DOUBLES + b"(I3\n" + SHARED + b"NNNI-1\nI-1\nI0\ntb"}
    ),
    "tuple as encoding": lambda: old_dict({b"a": call(b"_codecs\nencode", b"S'x'\n", SHARED)}),
    "tuple as text": lambda: old_dict({b"a": call(b"_codecs\nencode", SHARED, b"S'latin1'\n")}),
    "tuple as class": lambda: old_dict(
        {b"a": call(b"copy_reg\n_reconstructor", SHARED, b"c__builtin__\nobject\nN")}
    ),
    "tuple as shape": lambda: old_dict({b"a": array(SHARED, DOUBLES, b"S''\n")}),
    "tuple as content": lambda: old_dict({b"a": array(b"I1\n", DOUBLES, SHARED)}),
    "tuple as key": lambda: b"(d" + SHARED + b"Ns",
    "tuple as key of an OrderedDict": lambda: old_dict(
        {b"a": call(b"collections\nOrderedDict", b"](" + SHARED + b"Nta")}
    ),
    "list as chumpy array": lambda: old_dict(
        {b"a": b"cchumpy.ch\nCh\n)\x81(dS'x'\n" + SHARED_LIST + b"sb"}
    ),
    "one megabyte in many arrays": one_megabyte_in_many_arrays,
    "one list in many arguments": one_list_in_many_arguments,
    "one text encoded often": one_text_encoded_often,
    "one array chosen often": one_array_chosen_often,
    "sparse of 600 million rows": lambda: old_dict(
        {b"a": sparse(6 * 10**8, 1, whole_numbers(0, 0))}
    ),
    "sparse of 10^13 rows": lambda: old_dict({b"a": sparse(10**13, 1, whole_numbers(0, 0))}),
    "sparse that wraps around": lambda: old_dict(
        {b"a": sparse(3, 3, whole_numbers(0, 2**31, 1, 0))}
    ),
    "shape of many numbers": lambda: old_dict(
        {b"a": array(number(2**60) * 100_000, DOUBLES, b"S''\n")}
    ),
    "keys of one hash": keys_of_one_hash,
    "memo numbers of one hash": memo_numbers_of_one_hash,
    "number of a million digits": lambda: b"I" + b"9" * 1_000_000 + b"\n",
    "long number of a million digits": lambda: b"L" + b"9" * 1_000_000 + b"L\n",
    "memo number of a million digits": lambda: b"Np" + b"9" * 1_000_000 + b"\n",
    "terminal escapes in a name": lambda: b"c" + ESCAPES + b"\nsystem\n",
    "name of 20 megabytes": lambda: b"c" + b"x" * (20 * MEGABYTE) + b"\nsystem\n",
    "terminal escapes as dtype": lambda: old_dict(
        {b"a": call(b"numpy\ndtype", quoted(ESCAPES), b"I0\nI1\n")}
    ),
    "dtype of 20 megabytes": lambda: old_dict(
        {b"a": call(b"numpy\ndtype", text(b"x" * (20 * MEGABYTE)), b"I0\nI1\n")}
    ),
    "one long name named often": lambda: (
        text(b"x" * MEGABYTE) + keep(0) + (again(0) + again(0) + b"\x930") * MANY + b"(d"
    ),
    "a million dictionaries": lambda: b"(" + b"}" * 990_000 + b"l",
    "many objects": lambda: b"cnumpy\ndtype\n" + keep(0) + b"(" + (again(0) + b")R") * 300_000,
    "text that is not there": lambda: b"\x8d" + struct.pack("<Q", 5 * 10**9) + b"x",
    "bytes that are not there": lambda: b"\x96" + struct.pack("<Q", 5 * 10**9) + b"x",
    "nothing": lambda: b"",
}
"""What each tries -> the body of a pickle without its end mark."""


def tensor(
    kind: bytes = b"ctorch\nFloatStorage\n",
    key: bytes = b"S'0'\n",
    count: bytes = b"I4\n",
    size: bytes = b"(I4\nt",
    stride: bytes = b"(I1\nt",
) -> bytes:
    storage = b"(S'storage'\n" + kind + key + b"S'cpu'\n" + count + b"tQ"
    more = b"I00\nccollections\nOrderedDict\n)R"
    return call(b"torch._utils\n_rebuild_tensor_v2", storage, b"I0\n", size, stride, more)


def one_storage_in_many_tensors(count: int = MEGABYTE // 4) -> bytes:
    one = tensor(count=number(count), size=b"(" + number(count) + b"t")
    return b"(d" + b"".join(b"S'%d'\n" % n + one + b"s" for n in range(COPIES))


def one_list_as_many_storages() -> bytes:
    begin = b"](" + b"N" * 60_000 + b"e" + keep(0)
    one = call(b"torch._utils\n_rebuild_tensor_v2", again(0) + b"Q", b"I0\n(t(t")
    return begin + b"(d" + b"".join(b"S'%d'\n" % n + one + b"s" for n in range(MANY))


FLAT = {b"stride": b"(I0\nI0\nt"}
TENSORS = {
    "tuple as storage class": lambda: old_dict({b"a": tensor(kind=SHARED)}),
    "tuple as storage key": lambda: old_dict({b"a": tensor(key=SHARED)}),
    "tuple as count": lambda: old_dict({b"a": tensor(count=SHARED)}),
    "tuple as size": lambda: old_dict({b"a": tensor(size=SHARED)}),
    "tuple as name": lambda: b"(d" + SHARED + tensor() + b"s",
    "strides of 0": lambda: old_dict(
        {
            b"a": tensor(
                kind=b"ctorch\nHalfStorage\n", size=b"(I50000\nI50000\nt", stride=b"(I0\nI0\nt"
            )
        }
    ),
    "10^14 numbers": lambda: old_dict(
        {b"a": tensor(size=b"(I10000000\nI10000000\nt", stride=b"(I0\nI0\nt")}
    ),
    "one storage in many tensors": one_storage_in_many_tensors,
    "one list as many storages": one_list_as_many_storages,
    "count of 5 billion": lambda: old_dict({b"a": tensor(count=b"L5000000000L\n")}),
    "bytearray of 5 billion": lambda: old_dict(
        {b"a": call(b"__builtin__\nbytearray", b"L5000000000L\n")}
    ),
    "terminal escapes as storage key": lambda: old_dict({b"a": tensor(key=quoted(ESCAPES))}),
    "terminal escapes as storage class": lambda: old_dict(
        {b"a": tensor(kind=b"c" + ESCAPES + b"\nx\n")}
    ),
    "keys of one hash": keys_of_one_hash,
    "memo numbers of one hash": memo_numbers_of_one_hash,
    "one long name named often": ARRAYS["one long name named often"],
    "a million dictionaries": ARRAYS["a million dictionaries"],
    "nothing": lambda: b"",
}
"""What each tries -> the body of a checkpoint's pickle; a megabyte is its storage 0."""


def write_archive(
    place: Path, body: bytes, storage: bytes = b"x" * MEGABYTE, name: str = "archive"
) -> Path:
    """A checkpoint as torch writes it since 1.6; name: its length moves the storage about."""
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr(f"{name}/data.pkl", body + b".")
        archive.writestr(f"{name}/data/0", storage)
    return place


def legacy(body: bytes, machine: bytes = b"(dS'little_endian'\nI01\ns") -> bytes:
    """A checkpoint as torch wrote it before 1.6, with storage 0 of four numbers."""
    head = b"L%dL\n.I1001\n." % 0x1950A86A20F9469CFC6C + machine + b"."
    keys = b"](S'0'\ne."
    return head + body + b"." + keys + struct.pack("<q", 4) + struct.pack("<4f", 1, 2, 3, 4)


def deflated_byte_order(size: int = 300 * MEGABYTE) -> bytes:
    """An archive whose byte order unpacks to hundreds of megabytes."""
    place = io.BytesIO()
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", old_dict({b"a": tensor()}) + b".")
        with archive.open("archive/byteorder", "w") as stream:
            for _ in range(size // MEGABYTE):
                stream.write(bytes(MEGABYTE))
    return place.getvalue()
