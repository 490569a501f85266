"""ONNX into torch.export: one small function per operator."""

from converters.graph import TORCH_EXPORT

FORM = TORCH_EXPORT
