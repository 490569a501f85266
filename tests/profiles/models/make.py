"""Makes the small files beside it: python make.py. They are committed, because making them takes a minute.

tiny.tflite, tiny.onnx, tiny.pte    one network, ``image`` [1,1,8,8] to ``scores`` [1,4], in three formats
bare.pte                            the same, without names
sum.onnx                            ``a`` and ``b`` [N,3], one float and one int64, to ``total`` [N,3]
open.onnx                           ``x`` [N,C] to ``y`` [N,C]: both sizes are open
dead.onnx                           ``image`` [1,1,8,8] to ``scores`` [1,4] that are NaN
activation.pte                      the large activation of benchmarks/_memory_models.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
SIGNATURE = {
    "inputs": [{"name": "image", "shape": [1, 1, 8, 8], "dtype": "float32"}],
    "outputs": [{"name": "scores", "shape": [1, 4], "dtype": "float32"}],
}


class Tiny(torch.nn.Module):
    """One convolution and one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(1, 4, 3)
        self.linear = torch.nn.Linear(4 * 6 * 6, 4)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scores of a picture."""
        return {"scores": self.linear(self.convolution(image).relu().flatten(1))}


def make_executorch(program: torch.export.ExportedProgram) -> None:
    """With and without the names."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    for name, methods in (("tiny", {"edgekit_signature": json.dumps(SIGNATURE)}), ("bare", {})):
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=methods)
        (HERE / f"{name}.pte").write_bytes(lowered.to_executorch().buffer)


def make_tflite(network: Tiny, image: torch.Tensor) -> None:
    """With a signature that has the names."""
    import litert_torch

    litert_torch.convert(network, sample_kwargs={"image": image}).export(str(HERE / "tiny.tflite"))


def make_onnx(network: Tiny) -> None:
    """By hand: an exporter's file would change with its version."""
    tensors = {
        "kernel": network.convolution.weight,
        "kernel_bias": network.convolution.bias,
        "matrix": network.linear.weight,
        "matrix_bias": network.linear.bias,
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel", "kernel_bias"], ["features"]),
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("Flatten", ["positive"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix", "matrix_bias"], ["scores"], transB=1),
    ]
    weights = [numpy_helper.from_array(one.detach().numpy(), name) for name, one in tensors.items()]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 4])
    save("tiny", helper.make_graph(nodes, "tiny", [image], [scores], weights))
    dead = [*nodes[:3], helper.make_node("Gemm", ["flat", "matrix", "nan"], ["scores"], transB=1)]
    nan = numpy_helper.from_array(np.full(4, np.nan, np.float32), "nan")
    save("dead", helper.make_graph(dead, "dead", [image], [scores], [*weights, nan]))
    save(
        "sum",
        helper.make_graph(
            [
                helper.make_node("Cast", ["b"], ["b_float"], to=TensorProto.FLOAT),
                helper.make_node("Add", ["a", "b_float"], ["total"]),
            ],
            "sum",
            [
                helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 3]),
                helper.make_tensor_value_info("b", TensorProto.INT64, ["N", 3]),
            ],
            [helper.make_tensor_value_info("total", TensorProto.FLOAT, ["N", 3])],
        ),
    )
    save(
        "open",
        helper.make_graph(
            [helper.make_node("Abs", ["x"], ["y"])],
            "open",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "C"])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "C"])],
        ),
    )


def save(name: str, graph: onnx.GraphProto) -> None:
    """In a version of the format that old runtimes read too."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, HERE / f"{name}.onnx")


def main() -> None:
    """Make them all."""
    torch.manual_seed(0)
    network, image = Tiny().eval(), torch.randn(1, 1, 8, 8)
    make_onnx(network)
    make_tflite(network, image)
    make_executorch(torch.export.export(network, (image,)))
    sys.path.append(str(HERE.parents[2] / "benchmarks"))
    from _memory_models import executorch_activation

    executorch_activation(HERE / "activation.pte")


if __name__ == "__main__":
    main()
