"""Arrays come out of old pickles exactly, and whatever else a file holds is refused unrun."""

from __future__ import annotations

import collections
import pickle

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pickle_files import old_array, old_dict, old_object, write

from handrefiner_ext.errors import WeightsError
from handrefiner_ext.pickles import SparseMatrix, read_arrays

VERTICES = np.arange(12, dtype="<f8").reshape(4, 3) / 7
FACES = np.array([[0, 1, 2], [2, 1, 3]], dtype="<u4")


@pytest.fixture
def place(tmp_path):
    return tmp_path / "model.pkl"


def read(place, value, protocol):
    place.write_bytes(pickle.dumps(value, protocol))
    return read_arrays(place)


NUMBERS = st.sampled_from(["<f8", ">f8", "<f4", "<i8", "<i4", "|u1", "|b1", "<u2", "<c16"])


@given(
    array=NUMBERS.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_side=0))),
    protocol=st.integers(0, 5),
    by_column=st.booleans(),
)
def test_every_array_comes_back_bit_for_bit(array, protocol, by_column, tmp_path_factory):
    given_array = np.asfortranarray(array) if by_column else array
    place = tmp_path_factory.getbasetemp() / "any.pkl"
    (found,) = read(place, {"a": given_array}, protocol).values()
    assert found.shape == array.shape
    assert found.dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(found, array, equal_nan=array.dtype.kind in "fc")


@pytest.mark.parametrize("protocol", range(6))
def test_sparse_matrices_equal_scipys(place, protocol):
    dense = scipy.sparse.random(16, 778, density=0.02, random_state=3).toarray()
    matrices = {
        kind.__name__: kind(dense)
        for kind in (
            *(scipy.sparse.csc_matrix, scipy.sparse.csr_matrix),
            *(scipy.sparse.csc_array, scipy.sparse.csr_array),
        )
    }
    for found in read(place, matrices, protocol).values():
        assert isinstance(found, SparseMatrix)
        assert np.array_equal(found.dense(), dense)


def test_python_2_files_with_chumpy_objects_read_as_arrays(place):
    chumpy_array = old_object(b"chumpy.ch", b"Ch", {b"x": old_array(VERTICES), b"_itr": b"N"})
    selection = {b"a": chumpy_array, b"idxs": old_array(np.arange(11, -1, -1))}
    selected = old_object(
        b"chumpy.reordering", b"Select", selection | {b"preferred_shape": b"(I3\nI4\nt"}
    )
    regressor = old_object(
        b"scipy.sparse.csc",
        b"csc_matrix",
        {
            b"_shape": b"(I2\nI4\nt",
            b"data": old_array(np.array([0.5, 0.5, 1.0])),
            b"indices": old_array(np.array([0, 1, 1], dtype="<i4")),
            b"indptr": old_array(np.array([0, 1, 2, 3, 3], dtype="<i4")),
        },
    )
    entries = {
        b"v_template": old_array(VERTICES),
        b"f": old_array(FACES),
        b"shapedirs": selected,
        b"J_regressor": regressor,
        b"bs_type": b"S'lrotmin'\n",
        b"bs_style": b"S'lbs'\n",
    }
    read_back = read_arrays(write(place, b"\x80\x02" + old_dict(entries)))
    assert read_back["bs_style"] == "lbs"
    assert np.array_equal(read_back["v_template"], VERTICES)
    assert np.array_equal(read_back["f"], FACES)
    assert np.array_equal(read_back["shapedirs"], VERTICES.ravel()[::-1].reshape(3, 4))
    expected = [[0.5, 0.0, 0.0, 0.0], [0.0, 0.5, 1.0, 0.0]]
    assert np.array_equal(read_back["J_regressor"].dense(), expected)


def test_python_2s_own_unpickling_agrees(place):
    body = old_dict({b"v": old_array(VERTICES)})
    ours = read_arrays(write(place, body))
    theirs = pickle.loads(place.read_bytes(), encoding="latin1")
    assert np.array_equal(ours["v"], theirs["v"])


def test_one_array_under_two_names_is_read_once(place):
    found = read(place, {"a": VERTICES, "b": VERTICES}, 2)
    assert found["a"] is found["b"]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_plain_content_of_dictionaries_survives(place, protocol):
    value = {"n": 3, "x": 0.5, "s": "ü", "t": (1, [2, None, True]), "z": np.float64(1.5)}
    assert read(place, value, protocol) == value
    assert read(place, collections.OrderedDict(value), protocol) == value


@pytest.mark.parametrize(
    "kind", [np.array(["a"]), np.array([object()]), np.zeros(1, [("a", "f8")])]
)
def test_arrays_of_anything_but_numbers_are_refused(place, kind):
    with pytest.raises(WeightsError):
        read(place, {"a": kind}, 2)


@pytest.mark.parametrize("cut", [0, 1, 10, 200, -1])
def test_a_cut_file_is_refused_with_a_sentence(place, cut):
    place.write_bytes(pickle.dumps({"a": VERTICES}, 2)[:cut])
    with pytest.raises(WeightsError, match="Download it again"):
        read_arrays(place)


@given(noise=st.binary(max_size=200))
def test_noise_is_refused_with_a_sentence(noise, tmp_path_factory):
    place = tmp_path_factory.getbasetemp() / "noise.pkl"
    place.write_bytes(noise)
    with pytest.raises(WeightsError, match=r"noise\.pkl"):
        read_arrays(place)


def test_sparse_matrices_that_point_outside_are_refused(place):
    bad = scipy.sparse.csc_matrix(np.eye(3))
    bad.indices = np.array([0, 1, 7], dtype=np.int32)
    with pytest.raises(WeightsError, match="points outside itself"):
        read(place, {"J": bad}, 2)


def test_something_else_than_a_dictionary_is_refused(place):
    with pytest.raises(WeightsError, match="holds no dictionary"):
        read(place, [VERTICES], 2)
