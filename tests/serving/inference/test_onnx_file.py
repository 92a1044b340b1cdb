"""Validation of ONNX files before ONNX Runtime opens them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.errors import ModelError
from serving.inference import onnx_file
from serving.inference.generator import OnnxGenerator
from serving.inference.model_card import CARD_KEY, CHECKSUM_KEY, embed_checksum
from serving.inference.onnx_file import read_metadata
from tests.tiny_model import tiny_model


def opened(model: onnx.ModelProto | bytes) -> OnnxGenerator:
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return OnnxGenerator.open(embed_checksum(content), Path("some.onnx"), "cpu", threads=1)


def pointing_to(file: str) -> Callable[[TensorProto], None]:
    def point(tensor: TensorProto) -> None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", file

    return point


def constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["unused"], value=tensor)


def within(graphs: int, node: onnx.NodeProto) -> onnx.NodeProto:
    """A node in the branches of so many nested Ifs."""
    for _ in range(graphs):
        node = helper.make_node("If", ["yes"], ["out"], then_branch=helper.make_graph([node], "then", [], []))
    return node


def in_an_initializer(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.initializer.append(tensor)


def in_a_constant(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(constant(tensor))


def in_a_branch(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(within(2, constant(tensor)))


def in_a_sparse_initializer(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)


def in_a_function(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.functions.add(name="f", domain="own").node.append(constant(tensor))


PLACES = [in_an_initializer, in_a_constant, in_a_branch, in_a_sparse_initializer, in_a_function]


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_refused_wherever_it_is_declared(
    place: Callable[[onnx.ModelProto, TensorProto], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(bytes(64))
    monkeypatch.chdir(tmp_path)
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "weights")
    pointing_to("secret")(tensor)
    model = tiny_model()
    place(model, tensor)
    with pytest.raises(ModelError, match=r"some\.onnx takes the numbers of 'weights' from another file, which is ref"):
        opened(model)


def test_external_data_is_refused_without_its_data_location() -> None:
    model = tiny_model()
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "/etc/hostname"
    with pytest.raises(ModelError, match="from another file"):
        opened(model)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dims", [[1 << 40], [1 << 20, 1 << 20], [-1, 5]])
def test_a_tensor_larger_than_its_values_is_refused(
    place: Callable[[onnx.ModelProto, TensorProto], None], dims: list[int]
) -> None:
    model = tiny_model()
    place(model, TensorProto(name="huge", dims=dims, data_type=TensorProto.FLOAT, raw_data=bytes(16)))
    with pytest.raises(ModelError, match=r"declares a tensor 'huge' of \d+ numbers and holds fewer"):
        opened(model)


def test_values_are_found_in_every_field_that_may_hold_them() -> None:
    arrays = [
        *(np.ones(3, kind) for kind in (np.float32, np.float16, np.float64, np.int8, np.int64, np.uint64, np.bool_)),
        np.array(["", "a", ""], dtype=object),
        np.zeros((0, 5), np.float32),
        np.float32(1),
    ]
    model = tiny_model()
    for index, array in enumerate(arrays):
        model.graph.node.append(constant(numpy_helper.from_array(np.asarray(array), f"raw-{index}")))
    for kind, values in (("FLOAT", [1.0, 2.0]), ("INT64", [0, 0]), ("INT4", [0, 0, 0]), ("STRING", ["", ""])):
        tensor = helper.make_tensor(f"typed-{kind}", getattr(TensorProto, kind), [len(values)], values)
        model.graph.node.append(constant(tensor))
    assert CARD_KEY in read_metadata(model.SerializeToString(), "some.onnx")


def test_deeply_nested_graphs_are_refused() -> None:
    fine, deep = tiny_model(), tiny_model()
    fine.graph.node.append(within(onnx_file.MAX_NESTING - 1, helper.make_node("Relu", ["z"], ["out"])))
    read_metadata(fine.SerializeToString(), "some.onnx")
    deep.graph.node.append(within(onnx_file.MAX_NESTING, helper.make_node("Relu", ["z"], ["out"])))
    with pytest.raises(ModelError, match="graphs nested more than 8 deep"):
        opened(deep)


def test_a_file_of_too_many_fields_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_FIELDS", 50)
    with pytest.raises(ModelError, match="has more than 50 parts"):
        opened(tiny_model())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x0b",  # a group
        b"\x3a\xff\xff\xff\xff\x0f",  # a graph of 4 GB
        b"\xff" * 11,  # a number of 77 bits
        b"\x38\x01",  # a graph that is a number
        b"\x72\x03\x0a\x01\xff",  # metadata that is no UTF-8
        b"PK\x03\x04 a zip",
    ],
)
def test_bytes_that_are_not_onnx_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"some\.onnx is not a whole ONNX file"):
        read_metadata(content, "some.onnx")


def test_the_metadata_are_those_that_onnx_reads() -> None:
    model = tiny_model()
    expected = {entry.key: entry.value for entry in model.metadata_props}
    assert read_metadata(model.SerializeToString(), "some.onnx") == expected
    assert expected.keys() == {CARD_KEY, CHECKSUM_KEY}


def test_onnx_runtime_never_opens_a_file_without_a_card_or_with_a_wrong_checksum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def open_none(*arguments: object) -> None:
        raise AssertionError("ONNX Runtime opened the file")

    monkeypatch.setattr("serving.inference.generator.ParallelSession", open_none)
    damaged = bytearray(embed_checksum(tiny_model().SerializeToString()))
    damaged[damaged.index(tiny_model().graph.initializer[0].raw_data)] ^= 1
    without = tiny_model()
    del without.metadata_props[:]
    for content, sentence in ((bytes(damaged), "is damaged"), (without.SerializeToString(), "carries no model card")):
        with pytest.raises(ModelError, match=sentence):
            OnnxGenerator.open(content, Path("some.onnx"), "cpu")


def _of_opset_99(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def _of_ir_version_99(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def _with_an_unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Dream"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_of_opset_99, r"Opset 99 is under development .* support for domain ai\.onnx is till opset \d+\);"),
        (_of_ir_version_99, r"\(Unsupported model IR version: 99, max supported IR version: \d+\);"),
        (_with_an_unknown_operator, r"\(No Op registered for Dream with domain_version of 18\);"),
    ],
)
def test_the_reason_of_onnx_runtime_is_in_the_error(change: Callable[[onnx.ModelProto], None], sentence: str) -> None:
    model = tiny_model()
    change(model)
    with pytest.raises(ModelError, match=sentence) as refused:
        opened(model)
    assert "onnxruntime_src" not in str(refused.value)
