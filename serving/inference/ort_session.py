"""ONNX Runtime sessions: on a GPU where one is wanted and available, else on the CPU."""

import contextlib
import ctypes
import io
import logging
import re
from pathlib import Path
from typing import Literal

import onnxruntime

from serving.errors import ModelError

logger = logging.getLogger(__name__)

FATAL = 4  # ONNX Runtime's log level for aborts only; everything else is raised as an exception

MAX_REASON = 400  # characters: the reason may come after a signature or a list of inputs

Provider = Literal["auto", "cpu", "cuda"]


def open_session(content: bytes, path: Path, provider: Provider, threads: int) -> onnxruntime.InferenceSession:
    """Open a session on the GPU if one is wanted and available, else on the CPU; raises ModelError."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = threads  # 0: one a core
    options.inter_op_num_threads = 1  # a generator is one chain of layers
    options.use_deterministic_compute = True
    # Threads that spin when idle take the cores from encoding and HTTP: ten times the CPU at light load.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")

    on_cuda = None if provider == "cpu" else _open_on_cuda(content, options)
    if on_cuda:
        return on_cuda
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        raise ModelError(
            f"{path} is not a whole ONNX file that runs here ({reason(error)}); copy it again or export it again"
        ) from error
    if provider == "cuda":
        raise ModelError(
            "the provider is cuda and no GPU can be used here; set it to auto or cpu (MINT_PROVIDER or --provider), "
            "or give this machine a GPU, its driver and the `cuda` extra"
        )
    return session


def _open_on_cuda(content: bytes, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession | None:
    """Open a session on the first GPU, or return None; if the file is at fault, the CPU session raises its error."""
    if not cuda_devices():
        return None
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the libraries that it does not find
        onnxruntime.preload_dlls()
    cuda_options = {
        # The default benchmarks every algorithm for each new batch size, and may choose another one each time.
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",  # pixels agree with the CPU's within 1/255
    }
    try:
        session = onnxruntime.InferenceSession(
            content,
            options,
            providers=[("CUDAExecutionProvider", cuda_options), "CPUExecutionProvider"],
            enable_fallback=0,
        )
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        logger.warning("there is a GPU, but ONNX Runtime cannot use it: %s", reason(error))
        return None
    if session.get_providers()[0] != "CUDAExecutionProvider":
        logger.warning("there is a GPU, but ONNX Runtime cannot load CUDA; install the `cuda` extra")
        return None
    return session


def cuda_devices() -> int:
    """Number of GPUs that NVIDIA's driver shows this process; 0 without a driver.

    The driver itself is queried: ONNX Runtime lists CUDA with or without a GPU, and writes to stderr
    when it then finds none.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def reason(error: Exception) -> str:
    """ONNX Runtime's message without codes, source lines and C++ signatures, cut to a readable length."""
    text = " ".join(str(error).split())
    for prefix in (
        r"\[ONNXRuntimeError\] : \d+ : \w+ : ",
        r".*Status Message: ",
        r"\S+:\d+ .*?\) (?=[A-Z])",
        r".* , Error ",
    ):
        text = re.sub(f"^{prefix}", "", text, count=1)
    return text[:MAX_REASON].rstrip(". ")
