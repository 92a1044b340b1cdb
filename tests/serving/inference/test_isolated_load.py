"""Isolated check of model files: crashes, limits and time-outs of the subprocess."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.errors import ModelError
from serving.inference import isolated_load
from serving.inference.isolated_load import check_in_subprocess
from serving.inference.model_card import embed_checksum
from tests.tiny_model import tiny_model

PATH = Path("new file.onnx")


def taking(gigabytes: int) -> onnx.ModelProto:
    """A valid model that fills so much memory in each run, from a file of a few kilobytes."""
    model = tiny_model()
    count = numpy_helper.from_array(np.array([gigabytes << 28], np.int64), "many")
    model.graph.initializer.append(count)
    zeros = [
        helper.make_node(
            "ConstantOfShape", ["many"], ["zeros"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0])
        ),
        helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["z", "zero"], ["z0"]),
    ]
    model.graph.node[0].input[0] = "z0"
    for node in reversed(zeros):
        model.graph.node.insert(0, node)
    return model


def test_a_valid_file_passes_and_one_that_exceeds_the_memory_limit_is_refused() -> None:
    check_in_subprocess(embed_checksum(tiny_model().SerializeToString()), PATH)
    with pytest.raises(ModelError, match=r"new file\.onnx takes more than 4 GB of memory; export a smaller one"):
        check_in_subprocess(embed_checksum(taking(5).SerializeToString()), PATH)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"makes ONNX Runtime crash \(SIGSEGV\)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", "takes more than 60 s to load"),
        ("raise SystemExit(7)", r"makes ONNX Runtime crash \(exit status 7\)"),
        ("import sys; print('says why', end=''); sys.exit(1)", r"^says why$"),
        ("raise SystemExit(0)", None),
    ],
)
def test_the_exit_of_the_subprocess_becomes_a_sentence(
    script: str, sentence: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a script in place of Python, as no file is known that makes ONNX Runtime crash."""
    python = tmp_path / "python"
    python.write_text(f"#!{isolated_load.sys.executable}\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(isolated_load.sys, "executable", str(python))
    if sentence is None:
        check_in_subprocess(b"", PATH)
    else:
        with pytest.raises(ModelError, match=sentence):
            check_in_subprocess(b"", PATH)


def test_a_check_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    monkeypatch.setattr(isolated_load.sys, "executable", str(python))
    monkeypatch.setattr(isolated_load, "TIMEOUT_S", 0.1)
    with pytest.raises(ModelError, match=r"was not loaded within 0\.1 s"):
        check_in_subprocess(bytes(1 << 20), PATH)
