"""Makes the ``.pte`` files beside it, for the tests of ``edgekit inspect``: one small network in five forms.

    python tests/models/make_programs.py

Needs the executorch extra; takes about half a minute, which is why the files are kept.
"""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from executorch.exir import to_edge_transform_and_lower
from torch import Tensor, nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

HERE = Path(__file__).parent
SIGNATURE = {
    "inputs": [{"name": "image", "shape": [None, 2, 8, 8], "dtype": "float32"}],
    "outputs": [{"name": "scores", "shape": [None, 3], "dtype": "float32"}],
}


class Small(nn.Module):
    """Each kind of operator with multiply-accumulates once, and a few that stay float in int8.

    Multiply-accumulates: stem 4*4*4*18 = 1152, depthwise 4*4*4*9 = 576, up 4*16 inputs * 4*2 = 512,
    linear 128*5 = 640, product 5, head 5*3 = 15: 2900 in all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)
        self.linear = nn.Linear(128, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.stem(image))
        x = self.up(x + self.depthwise(x))
        x = self.linear(x.flatten(1))
        x = x * torch.bmm(x.unsqueeze(1), x.unsqueeze(2)).squeeze(2)
        return torch.softmax(self.head(torch.exp(-x)), -1)


def write(name: str, model: nn.Module, example: Tensor, *, delegate: bool = True, **options: Any) -> None:
    program = to_edge_transform_and_lower(
        torch.export.export(model, (example,), **options),
        partitioner=[XnnpackPartitioner()] if delegate else [],
        constant_methods={"edgekit_signature": json.dumps(SIGNATURE)} if delegate else None,
    ).to_executorch()
    (HERE / f"small_{name}.pte").write_bytes(program.buffer)


def quantized(model: nn.Module, example: Tensor, *, dynamic: bool) -> nn.Module:
    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
    prepared = prepare_pt2e(torch.export.export(model, (example,)).module(), XNNPACKQuantizer().set_global(config))
    prepared(example)
    return convert_pt2e(prepared)


def main() -> None:
    torch.manual_seed(0)
    model, example = Small().eval(), torch.randn(1, 2, 8, 8)
    write("float32", model, example)
    write("portable", model, example, delegate=False)
    write("float16", copy.deepcopy(model).half(), example.half())
    write("int8", quantized(model, example, dynamic=False), example)
    write("int8_dynamic", quantized(model, example, dynamic=True), example)
    batch = torch.export.Dim("batch", min=1, max=4)
    write("batch", model, torch.randn(2, 2, 8, 8), dynamic_shapes=({0: batch},))


if __name__ == "__main__":
    main()
