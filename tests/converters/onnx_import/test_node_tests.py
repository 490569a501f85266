"""ONNX's own tests of operators, through torch.export and back: some of each file of operators.

``benchmarks/onnx_node_tests.py`` runs all of them.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]

NAMES = """
add_bcast and_bcast4v3d argmax_keepdims_example_select_last_index averagepool_2d_ceil
averagepool_2d_dilations averagepool_2d_pads_count_include_pad averagepool_2d_same_lower
averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True attention_4d_gqa_causal
attention_4d_attn_mask_4d_causal basic_conv_with_padding basic_conv_without_padding
batchnorm_example bitshift_left_uint16 bitshift_right_uint64 bitwise_xor_i32_2d bitwise_not_3d castlike_FLOAT_to_DOUBLE
cast_DOUBLE_to_FLOAT16 celu clip_default_int8_max clip_example clip_min_greater_than_max_expanded col2im_pads
compress_1 concat_3d_axis_negative_3 constantofshape_int_shape_zero conv_with_autopad_same
conv_with_strides_and_asymmetric_padding convinteger_with_padding convtranspose_1d convtranspose_3d
convtranspose_autopad_same convtranspose_dilations convtranspose_kernel_shape convtranspose_output_shape
convtranspose_pads cumsum_1d_reverse_exclusive cumsum_2d_negative_axis basic_deform_conv_without_padding
depthtospace_crd_mode_example depthtospace_example dequantizelinear_axis dequantizelinear_blocked det_nd
dft dft_opset19 div_int32_trunc dynamicquantizelinear einsum_batch_diagonal einsum_transpose expand_dim_changed
eyelike_with_dtype flatten_negative_axis2 gather_2d_indices gather_elements_negative_indices
gather_negative_indices gathernd_example_int32_batch_dim1 gelu_tanh_2 gemm_all_attributes gemm_default_scalar_bias
greater_equal_bcast gridsample_bicubic_align_corners_0_additional_1 gridsample_volumetric_nearest_align_corners_1
group_normalization_epsilon gru_batchwise gru_seq_length hardmax_one_hot hardsigmoid hardswish hannwindow
identity if instancenorm_epsilon isinf_negative l2normalization_axis_1 layer_normalization_3d_axis1_epsilon
leakyrelu_example log logsoftmax_large_number loop11 lppool_2d_same_upper lrn lstm_batchwise lstm_with_peepholes
matmul_4d matmulinteger maxpool_2d_ceil maxpool_2d_dilations maxpool_2d_same_upper maxpool_2d_uint8
maxpool_with_argmax_2d_precomputed_strides maxunpool_export_with_output_shape max_uint64 mean_example melweightmatrix
mod_mixed_sign_int64 mod_mixed_sign_float32 mvn not_3d onehot_negative_indices pow_bcast_array prelu_broadcast
qlinearconv qlinearmatmul_2D_uint8_float32 quantizelinear_axis quantizelinear_int16 range_int32_type_negative_delta
reduce_log_sum_exp_negative_axes_keepdims_example reduce_max_empty_set reduce_sum_empty_axes_input_noop_example
reflect_pad reshape_allowzero_reordered reshape_zero_and_negative_dim resize_downsample_scales_cubic_antialias
resize_downsample_scales_linear_half_pixel_symmetric resize_downsample_sizes_nearest_not_larger
resize_tf_crop_and_resize_axes_2_3 resize_upsample_scales_cubic_A_n0p5_exclude_outside
resize_upsample_scales_linear_align_corners resize_upsample_sizes_nearest_round_prefer_ceil_asymmetric
reversesequence_batch rms_normalization_3d_axis1_epsilon rnn_seq_length roialign_aligned_true roialign_mode_max
rotary_embedding_interleaved scan_sum scan9_sum scatter_elements_with_reduction_max scatternd_multiply selu_example
shape_start_1_end_negative_1 shrink_soft simple_rnn_batchwise slice_neg_steps softmax_axis_1 softplus spacetodepth
split_variable_parts_2d_opset18 squeeze_negative_axes stft_with_window sub_uint16 swish tensorscatter_circular
thresholdedrelu tile top_k_negative_axis transpose_all_permutations_3 tril_out_neg triu_square upsample_nearest
where_long_example wrap_pad xor_bcast4v2d affine_grid_2d_align_corners_expanded center_crop_pad_crop_axes_hwc_expanded
""".split()


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = ROOT / "benchmarks" / "onnx_node_tests.py"
    spec = importlib.util.spec_from_file_location("onnx_node_tests", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tests(benchmark: ModuleType) -> dict[str, Any]:
    return {item.name: item for item in benchmark.all_tests()}


@pytest.mark.parametrize("name", NAMES)
def test_passes_eagerly_and_exported(benchmark: ModuleType, tests: dict[str, Any], name: str) -> None:
    outcome = benchmark.run(tests[f"test_{name}"], True)
    assert (outcome.eager, outcome.export) == ("passed", "passed")


def test_a_wrong_result_does_not_pass(benchmark: ModuleType, tests: dict[str, Any]) -> None:
    test = tests["test_add_bcast"]
    inputs, (wanted,) = test.data_sets[0]
    wrong = dataclasses.replace(test, data_sets=[(inputs, [wanted + 1])])
    assert benchmark.run(wrong, False).eager == "differs by 1"
