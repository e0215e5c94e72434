"""Count the memory traffic of scores on a GPU, without a GPU: python -m benchmarks.gpu_traffic.

torch compiles the scores of a tensor (C, H, W) for a simulated device with the properties of an
H200 and counts the bytes that the kernels read and write.  Nothing runs and nothing is timed.  Such
light arithmetic is limited by memory, so the ratio to the bytes of one read is a lower bound of the
ratio of times.  The benchmark uses private functions of torch 2.15.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from benchmarks.scores import SETS, SIZES
from experiments.results import write_result
from owlabel.ood.prototype_scores import PROTOTYPE_LENGTH
from owlabel.ood.registry import all_scores

DEVICE = SimpleNamespace(
    name="as H200", major=9, minor=0, multi_processor_count=132, total_memory=140 << 30,
    max_threads_per_multi_processor=2048, max_threads_per_block=1024, warp_size=32,
    regs_per_multiprocessor=65536, shared_memory_per_block=48 << 10,
    shared_memory_per_block_optin=227 << 10, L2_cache_size=50 << 20,
)  # fmt: skip
NOTE = (
    "bytes counted in the program that torch compiles for a GPU, over those of one read of the "
    "logits; no GPU, nothing timed"
)


@contextmanager
def made_up_gpu() -> Iterator[None]:
    """Make torch's compiler see a simulated GPU, which cannot run anything."""
    triton, compiler = import_module("triton"), import_module("triton.backends.compiler")
    interfaces: Any = import_module("torch._dynamo.device_interface")

    class Interface(interfaces.CudaInterface):  # type: ignore[misc]
        is_available = staticmethod(lambda: True)
        current_device = staticmethod(lambda: 0)
        get_compute_capability = staticmethod(lambda device=None: 90)
        get_device_properties = staticmethod(lambda device=None: DEVICE)
        is_triton_capable = staticmethod(lambda device=None: True)
        raise_if_triton_unavailable = staticmethod(lambda device=None: None)

        class Worker:
            current_device = staticmethod(lambda: 0)
            get_device_properties = staticmethod(lambda device=None: DEVICE)

    driver = mock.Mock()
    driver.get_current_target.return_value = compiler.GPUTarget("cuda", 90, 32)
    devices = {"cuda": Interface, "cuda:0": Interface}
    answers = {
        "is_available": True, "current_device": 0, "get_device_capability": (9, 0),
        "get_device_properties": DEVICE,
    }  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(interfaces.device_interfaces, devices))
        stack.enter_context(mock.patch.object(triton.runtime.driver, "_active", driver))
        for name, value in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, return_value=value))
        yield


def traffic(shape: tuple[int, int, int], names: tuple[str, ...]) -> dict[str, float]:
    """Return the number of kernels, and the bytes they move divided by those of one read.

    `shape` is the shape (C, H, W) of the logits.
    """
    from torch._inductor.debug import DebugContext
    from torch._inductor.decomposition import select_decomp_table
    from torch._inductor.graph import GraphLowering
    from torch._inductor.virtualized import V
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    scores = partial(all_scores, T=PROTOTYPE_LENGTH, names=names)
    with made_up_gpu(), FakeTensorMode() as mode:
        logits = torch.empty(shape, device="cuda")
        traced = make_fx(
            lambda f: tuple(scores(f).values()), decomposition_table=select_decomp_table()
        )(logits)
        graph: Any = GraphLowering(traced, example_inputs=[logits], is_inference=True)
        with (
            V.set_fake_mode(mode),
            V.set_graph_handler(graph),
            V.set_debug_handler(DebugContext()),
        ):
            graph.run(logits)
            source, _ = graph.codegen()
            moved = graph.count_bytes()[0]
    return {
        "kernels": str(getattr(source, "value", source)).count("@triton.jit"),
        "bytes_over_one_read": round(moved / (logits.numel() * logits.element_size()), 2),
    }


def run() -> dict[str, Any]:
    """Count the traffic of all sizes and sets of `benchmarks.scores`."""
    return {"torch": torch.__version__} | {
        f"{size} {label}": {"scores": list(names), **traffic(shape, names)}
        for size, shape in SIZES.items()
        for label, names in SETS.items()
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/results/scores_traffic.json"))
    given = parser.parse_args(arguments)
    write_result(given.out, run, NOTE)
    sys.stdout.write(given.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
