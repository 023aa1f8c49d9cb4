"""The protocol buffer schema of Caffe as tables: field numbers, types and defaults, no code.

A line is ``number name type [= default]``; ``[]`` marks a repeated field; a type that is neither a scalar nor an enum
is another message. The number ``-`` marks a field that is read from text only: forks of Caffe use one number for
different things there (pooling 13 is ceil_mode in one and round_mode in another), so a binary file that holds such a
number is refused rather than guessed at. ``Opaque`` messages matter to training alone: kept as they are, not checked.
Source: BVLC Caffe 1.0 and the SSD fork, shared/facts/caffe.md sections 2.1 to 2.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

ENUMS: dict[str, dict[str, int]] = {
    "Phase": {"TRAIN": 0, "TEST": 1},
    "DimCheckMode": {"STRICT": 0, "PERMISSIVE": 1},
    "VarianceNorm": {"FAN_IN": 0, "FAN_OUT": 1, "AVERAGE": 2},
    "Engine": {"DEFAULT": 0, "CAFFE": 1, "CUDNN": 2},
    "PoolMethod": {"MAX": 0, "AVE": 1, "STOCHASTIC": 2},
    "RoundMode": {"CEIL": 0, "FLOOR": 1},
    "NormRegion": {"ACROSS_CHANNELS": 0, "WITHIN_CHANNEL": 1},
    "EltwiseOp": {"PROD": 0, "SUM": 1, "MAX": 2},
    "ReductionOp": {"SUM": 1, "ASUM": 2, "SUMSQ": 3, "MEAN": 4},
    "CodeType": {"CORNER": 1, "CENTER_SIZE": 2, "CORNER_SIZE": 3},
    "PadType": {"CONSTANT": 0, "REPLICATE": 1, "REFLECT": 2},
    "DataBackend": {"LEVELDB": 0, "LMDB": 1},
    "RawType": {"DOUBLE": 0, "FLOAT": 1, "FLOAT16": 2, "INT": 3, "UINT": 4, "BOOL": 5},
}

# V1 type enum: number -> (name in the text, V2 type string).
V1_TYPES: dict[int, tuple[str, str]] = {
    0: ("NONE", ""),
    1: ("ACCURACY", "Accuracy"),
    2: ("BNLL", "BNLL"),
    3: ("CONCAT", "Concat"),
    4: ("CONVOLUTION", "Convolution"),
    5: ("DATA", "Data"),
    6: ("DROPOUT", "Dropout"),
    7: ("EUCLIDEAN_LOSS", "EuclideanLoss"),
    8: ("FLATTEN", "Flatten"),
    9: ("HDF5_DATA", "HDF5Data"),
    10: ("HDF5_OUTPUT", "HDF5Output"),
    11: ("IM2COL", "Im2col"),
    12: ("IMAGE_DATA", "ImageData"),
    13: ("INFOGAIN_LOSS", "InfogainLoss"),
    14: ("INNER_PRODUCT", "InnerProduct"),
    15: ("LRN", "LRN"),
    16: ("MULTINOMIAL_LOGISTIC_LOSS", "MultinomialLogisticLoss"),
    17: ("POOLING", "Pooling"),
    18: ("RELU", "ReLU"),
    19: ("SIGMOID", "Sigmoid"),
    20: ("SOFTMAX", "Softmax"),
    21: ("SOFTMAX_LOSS", "SoftmaxWithLoss"),
    22: ("SPLIT", "Split"),
    23: ("TANH", "TanH"),
    24: ("WINDOW_DATA", "WindowData"),
    25: ("ELTWISE", "Eltwise"),
    26: ("POWER", "Power"),
    27: ("SIGMOID_CROSS_ENTROPY_LOSS", "SigmoidCrossEntropyLoss"),
    28: ("HINGE_LOSS", "HingeLoss"),
    29: ("MEMORY_DATA", "MemoryData"),
    30: ("ARGMAX", "ArgMax"),
    31: ("THRESHOLD", "Threshold"),
    32: ("DUMMY_DATA", "DummyData"),
    33: ("SLICE", "Slice"),
    34: ("MVN", "MVN"),
    35: ("ABSVAL", "AbsVal"),
    36: ("SILENCE", "Silence"),
    37: ("CONTRASTIVE_LOSS", "ContrastiveLoss"),
    38: ("EXP", "Exp"),
    39: ("DECONVOLUTION", "Deconvolution"),
}
ENUMS["V1LayerType"] = {name: number for number, (name, _) in V1_TYPES.items()}

# V0 type string -> V2 type string; "padding" is dissolved by the upgrade.
V0_TYPES: dict[str, str] = {
    "accuracy": "Accuracy", "bnll": "BNLL", "concat": "Concat", "conv": "Convolution", "data": "Data",
    "dropout": "Dropout", "euclidean_loss": "EuclideanLoss", "flatten": "Flatten", "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output", "im2col": "Im2col", "images": "ImageData", "infogain_loss": "InfogainLoss",
    "innerproduct": "InnerProduct", "lrn": "LRN", "multinomial_logistic_loss": "MultinomialLogisticLoss",
    "pool": "Pooling", "relu": "ReLU", "sigmoid": "Sigmoid", "softmax": "Softmax", "softmax_loss": "SoftmaxWithLoss",
    "split": "Split", "tanh": "TanH", "window_data": "WindowData", "padding": "",
}  # fmt: skip

# Types of which this schema knows every parameter: an unknown field in such a layer is a mistake in the file, while a
# layer of any other type carries parameters of its own that nobody here can judge.
_LAYER_TYPES = """
    AbsVal Accuracy ArgMax BatchNorm BatchReindex Bias BNLL Clip Concat ContrastiveLoss Convolution Crop Data
    Deconvolution Dropout DummyData Eltwise ELU Embed EuclideanLoss Exp Filter Flatten HDF5Data HDF5Output HingeLoss
    Im2col ImageData InfogainLoss InnerProduct Input Log LRN LSTM LSTMUnit MemoryData MultinomialLogisticLoss MVN
    Parameter Pooling Power PReLU Python Reduction ReLU Reshape RNN Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice
    Softmax SoftmaxWithLoss Split SPP Swish TanH Threshold Tile WindowData
    Axpy BilinearInterpolate ConvolutionDepthwise DepthwiseConvolution DetectionOutput HardSigmoid HardSwish Interp
    Normalize Pad Permute PixelShuffle PriorBox ReLU6 ShuffleChannel Unsqueeze Upsample
"""
KNOWN_LAYER_TYPES = frozenset(_LAYER_TYPES.split())

_PARAMETERS = """
    102 accuracy_param Opaque
    103 argmax_param ArgMaxParameter
    104 concat_param ConcatParameter
    105 contrastive_loss_param Opaque
    106 convolution_param ConvolutionParameter
    107 data_param DataParameter
    108 dropout_param DropoutParameter
    109 dummy_data_param DummyDataParameter
    110 eltwise_param EltwiseParameter
    111 exp_param ExpParameter
    112 hdf5_data_param Opaque
    113 hdf5_output_param Opaque
    114 hinge_loss_param Opaque
    115 image_data_param ImageDataParameter
    116 infogain_loss_param Opaque
    117 inner_product_param InnerProductParameter
    118 lrn_param LRNParameter
    119 memory_data_param MemoryDataParameter
    120 mvn_param MVNParameter
    121 pooling_param PoolingParameter
    122 power_param PowerParameter
    123 relu_param ReLUParameter
    124 sigmoid_param EngineParameter
    125 softmax_param SoftmaxParameter
    126 slice_param SliceParameter
    127 tanh_param EngineParameter
    128 threshold_param ThresholdParameter
    129 window_data_param WindowDataParameter
    130 python_param PythonParameter
    131 prelu_param PReLUParameter
    132 spp_param SPPParameter
    133 reshape_param ReshapeParameter
    134 log_param ExpParameter
    135 flatten_param FlattenParameter
    136 reduction_param ReductionParameter
    137 embed_param EmbedParameter
    138 tile_param TileParameter
    139 batch_norm_param BatchNormParameter
    140 elu_param ELUParameter
    141 bias_param BiasParameter
    142 scale_param ScaleParameter
    143 input_param InputParameter
    144 crop_param CropParameter
    145 parameter_param ParameterParameter
    146 recurrent_param RecurrentParameter
    100 transform_param TransformationParameter
    101 loss_param Opaque
    202 permute_param PermuteParameter
    203 prior_box_param PriorBoxParameter
    204 detection_output_param DetectionOutputParameter
    206 norm_param NormalizeParameter
    500 upsample_param UpsampleParameter
    501 hardsigmoid_param HardSigmoidParameter
    502 unsqueeze_param UnsqueezeParameter
    503 relu6_param ReLU6Parameter
    504 pad_param PadParameter
    505 bilinear_interpolate_param BilinearInterpolateParameter
    507 pixelshuffle_param PixelShuffleParameter
    - interp_param InterpParameter
    - shuffle_channel_param ShuffleChannelParameter
    - swish_param SwishParameter
    - clip_param ClipParameter
    - annotated_data_param Opaque
    - multibox_loss_param Opaque
    - detection_evaluate_param Opaque
    - video_data_param Opaque
"""

_MESSAGES: dict[str, str] = {
    "Opaque": "",
    "NetParameter": """
        1 name string
        2 layers V1LayerParameter[]
        3 input string[]
        4 input_dim int32[]
        5 force_backward bool = false
        6 state NetState
        7 debug_info bool = false
        8 input_shape BlobShape[]
        100 layer LayerParameter[]
    """,
    "NetState": "1 phase Phase = TEST \n 2 level int32 = 0 \n 3 stage string[]",
    "NetStateRule": """
        1 phase Phase
        2 min_level int32
        3 max_level int32
        4 stage string[]
        5 not_stage string[]
    """,
    "BlobShape": "1 dim int64[]",
    "BlobProto": """
        1 num int32 = 0
        2 channels int32 = 0
        3 height int32 = 0
        4 width int32 = 0
        5 data float[]
        6 diff float[]
        7 shape BlobShape
        8 double_data double[]
        9 double_diff double[]
        10 raw_data_type RawType = DOUBLE
        11 raw_diff_type RawType = DOUBLE
        12 raw_data bytes
        13 raw_diff bytes
    """,
    "ParamSpec": "1 name string \n 2 share_mode DimCheckMode = STRICT \n 3 lr_mult float = 1 \n 4 decay_mult float = 1",
    "LayerParameter": """
        1 name string
        2 type string
        3 bottom string[]
        4 top string[]
        5 loss_weight float[]
        6 param ParamSpec[]
        7 blobs BlobProto[]
        8 include NetStateRule[]
        9 exclude NetStateRule[]
        10 phase Phase
        11 propagate_down bool[]
    """
    + _PARAMETERS,
    "V1LayerParameter": """
        1 layer V0LayerParameter
        2 bottom string[]
        3 top string[]
        4 name string
        5 type V1LayerType = NONE
        6 blobs BlobProto[]
        7 blobs_lr float[]
        8 weight_decay float[]
        32 include NetStateRule[]
        33 exclude NetStateRule[]
        35 loss_weight float[]
        1001 param string[]
        1002 blob_share_mode DimCheckMode[]
        9 concat_param ConcatParameter
        10 convolution_param ConvolutionParameter
        11 data_param DataParameter
        12 dropout_param DropoutParameter
        13 hdf5_data_param Opaque
        14 hdf5_output_param Opaque
        15 image_data_param ImageDataParameter
        16 infogain_loss_param Opaque
        17 inner_product_param InnerProductParameter
        18 lrn_param LRNParameter
        19 pooling_param PoolingParameter
        20 window_data_param WindowDataParameter
        21 power_param PowerParameter
        22 memory_data_param MemoryDataParameter
        23 argmax_param ArgMaxParameter
        24 eltwise_param EltwiseParameter
        25 threshold_param ThresholdParameter
        26 dummy_data_param DummyDataParameter
        27 accuracy_param Opaque
        29 hinge_loss_param Opaque
        30 relu_param ReLUParameter
        31 slice_param SliceParameter
        34 mvn_param MVNParameter
        36 transform_param TransformationParameter
        37 tanh_param EngineParameter
        38 sigmoid_param EngineParameter
        39 softmax_param SoftmaxParameter
        40 contrastive_loss_param Opaque
        41 exp_param ExpParameter
        42 loss_param Opaque
    """,
    "V0LayerParameter": """
        1 name string
        2 type string
        3 num_output uint32
        4 biasterm bool = true
        5 weight_filler FillerParameter
        6 bias_filler FillerParameter
        7 pad uint32 = 0
        8 kernelsize uint32
        9 group uint32 = 1
        10 stride uint32 = 1
        11 pool PoolMethod = MAX
        12 dropout_ratio float = 0.5
        13 local_size uint32 = 5
        14 alpha float = 1
        15 beta float = 0.75
        16 source string
        17 scale float = 1
        18 meanfile string
        19 batchsize uint32
        20 cropsize uint32 = 0
        21 mirror bool = false
        22 k float = 1
        50 blobs BlobProto[]
        51 blobs_lr float[]
        52 weight_decay float[]
        53 rand_skip uint32 = 0
        65 concat_dim uint32 = 1
    """,
    "FillerParameter": """
        1 type string = constant
        2 value float = 0
        3 min float = 0
        4 max float = 1
        5 mean float = 0
        6 std float = 1
        7 sparse int32 = -1
        8 variance_norm VarianceNorm = FAN_IN
    """,
    "ConvolutionParameter": """
        1 num_output uint32
        2 bias_term bool = true
        3 pad uint32[]
        4 kernel_size uint32[]
        5 group uint32 = 1
        6 stride uint32[]
        7 weight_filler FillerParameter
        8 bias_filler FillerParameter
        9 pad_h uint32 = 0
        10 pad_w uint32 = 0
        11 kernel_h uint32
        12 kernel_w uint32
        13 stride_h uint32
        14 stride_w uint32
        15 engine Engine = DEFAULT
        16 axis int32 = 1
        17 force_nd_im2col bool = false
        18 dilation uint32[]
    """,
    "PoolingParameter": """
        1 pool PoolMethod = MAX
        2 kernel_size uint32
        3 stride uint32 = 1
        4 pad uint32 = 0
        5 kernel_h uint32
        6 kernel_w uint32
        7 stride_h uint32
        8 stride_w uint32
        9 pad_h uint32 = 0
        10 pad_w uint32 = 0
        11 engine Engine = DEFAULT
        12 global_pooling bool = false
        - ceil_mode bool = true
        - round_mode RoundMode = CEIL
    """,
    "InnerProductParameter": """
        1 num_output uint32
        2 bias_term bool = true
        3 weight_filler FillerParameter
        4 bias_filler FillerParameter
        5 axis int32 = 1
        6 transpose bool = false
    """,
    "EmbedParameter": """
        1 num_output uint32
        2 input_dim uint32
        3 bias_term bool = true
        4 weight_filler FillerParameter
        5 bias_filler FillerParameter
    """,
    "BatchNormParameter": "1 use_global_stats bool \n 2 moving_average_fraction float = 0.999 \n 3 eps float = 1e-5",
    "ScaleParameter": """
        1 axis int32 = 1
        2 num_axes int32 = 1
        3 filler FillerParameter
        4 bias_term bool = false
        5 bias_filler FillerParameter
    """,
    "BiasParameter": "1 axis int32 = 1 \n 2 num_axes int32 = 1 \n 3 filler FillerParameter",
    "LRNParameter": """
        1 local_size uint32 = 5
        2 alpha float = 1
        3 beta float = 0.75
        4 norm_region NormRegion = ACROSS_CHANNELS
        5 k float = 1
        6 engine Engine = DEFAULT
    """,
    "MVNParameter": "1 normalize_variance bool = true \n 2 across_channels bool = false \n 3 eps float = 1e-9",
    "EltwiseParameter": "1 operation EltwiseOp = SUM \n 2 coeff float[] \n 3 stable_prod_grad bool = true",
    "ConcatParameter": "1 concat_dim uint32 = 1 \n 2 axis int32 = 1",
    "SliceParameter": "1 slice_dim uint32 = 1 \n 2 slice_point uint32[] \n 3 axis int32 = 1",
    "SoftmaxParameter": "1 engine Engine = DEFAULT \n 2 axis int32 = 1",
    "EngineParameter": "1 engine Engine = DEFAULT",
    "ReLUParameter": "1 negative_slope float = 0 \n 2 engine Engine = DEFAULT",
    "PReLUParameter": "1 filler FillerParameter \n 2 channel_shared bool = false",
    "ELUParameter": "1 alpha float = 1",
    "PowerParameter": "1 power float = 1 \n 2 scale float = 1 \n 3 shift float = 0",
    "ExpParameter": "1 base float = -1 \n 2 scale float = 1 \n 3 shift float = 0",
    "DropoutParameter": "1 dropout_ratio float = 0.5",
    "ThresholdParameter": "1 threshold float = 0",
    "FlattenParameter": "1 axis int32 = 1 \n 2 end_axis int32 = -1",
    "ReshapeParameter": "1 shape BlobShape \n 2 axis int32 = 0 \n 3 num_axes int32 = -1",
    "CropParameter": "1 axis int32 = 2 \n 2 offset uint32[]",
    "ArgMaxParameter": "1 out_max_val bool = false \n 2 top_k uint32 = 1 \n 3 axis int32",
    "ReductionParameter": "1 operation ReductionOp = SUM \n 2 axis int32 = 0 \n 3 coeff float = 1",
    "TileParameter": "1 axis int32 = 1 \n 2 tiles int32",
    "SPPParameter": "1 pyramid_height uint32 \n 2 pool PoolMethod = MAX \n 6 engine Engine = DEFAULT",
    "RecurrentParameter": """
        1 num_output uint32 = 0
        2 weight_filler FillerParameter
        3 bias_filler FillerParameter
        4 debug_info bool = false
        5 expose_hidden bool = false
    """,
    "InputParameter": "1 shape BlobShape[]",
    "ParameterParameter": "1 shape BlobShape",
    "PythonParameter": "1 module string \n 2 layer string \n 3 param_str string \n 4 share_in_parallel bool = false",
    "TransformationParameter": """
        1 scale float = 1
        2 mirror bool = false
        3 crop_size uint32 = 0
        4 mean_file string
        5 mean_value float[]
        6 force_color bool = false
        7 force_gray bool = false
        - resize_param Opaque
        - noise_param Opaque
        - distort_param Opaque
        - expand_param Opaque
        - emit_constraint Opaque
        - crop_h uint32
        - crop_w uint32
    """,
    "DataParameter": """
        1 source string
        2 scale float = 1
        3 mean_file string
        4 batch_size uint32
        5 crop_size uint32 = 0
        6 mirror bool = false
        7 rand_skip uint32 = 0
        8 backend DataBackend = LEVELDB
        9 force_encoded_color bool = false
        10 prefetch uint32
    """,
    "ImageDataParameter": """
        1 source string
        2 scale float = 1
        3 mean_file string
        4 batch_size uint32 = 1
        5 crop_size uint32 = 0
        6 mirror bool = false
        7 rand_skip uint32 = 0
        8 shuffle bool = false
        9 new_height uint32 = 0
        10 new_width uint32 = 0
        11 is_color bool = true
        12 root_folder string
    """,
    "WindowDataParameter": """
        1 source string
        2 scale float = 1
        3 mean_file string
        4 batch_size uint32
        5 crop_size uint32 = 0
        6 mirror bool = false
        7 fg_threshold float = 0.5
        8 bg_threshold float = 0.5
        9 fg_fraction float = 0.25
        10 context_pad uint32 = 0
        11 crop_mode string = warp
        12 cache_images bool = false
        13 root_folder string
    """,
    "MemoryDataParameter": "1 batch_size uint32 \n 2 channels uint32 \n 3 height uint32 \n 4 width uint32",
    "DummyDataParameter": """
        1 data_filler FillerParameter[]
        2 num uint32[]
        3 channels uint32[]
        4 height uint32[]
        5 width uint32[]
        6 shape BlobShape[]
    """,
    "PermuteParameter": "1 order uint32[]",
    "NormalizeParameter": """
        1 across_spatial bool = true
        2 scale_filler FillerParameter
        3 channel_shared bool = true
        4 eps float = 1e-10
    """,
    "PriorBoxParameter": """
        1 min_size float[]
        2 max_size float[]
        3 aspect_ratio float[]
        4 flip bool = true
        5 clip bool = true
        6 variance float[]
        7 img_size uint32
        8 img_h uint32
        9 img_w uint32
        10 step float
        11 step_h float
        12 step_w float
        13 offset float = 0.5
    """,
    "DetectionOutputParameter": """
        1 num_classes uint32
        2 share_location bool = true
        3 background_label_id int32 = 0
        4 nms_param NonMaximumSuppressionParameter
        5 save_output_param Opaque
        6 code_type CodeType = CORNER
        7 keep_top_k int32 = -1
        8 variance_encoded_in_target bool = false
        9 confidence_threshold float
        - visualize bool = false
        - visualize_threshold float
        - save_file string
        - objectness_score float
    """,
    "NonMaximumSuppressionParameter": "1 nms_threshold float = 0.3 \n 2 top_k int32 \n 3 eta float = 1",
    "ReLU6Parameter": "1 negative_slope float = 0 \n 2 threshold float = 6",
    "HardSigmoidParameter": "1 alpha float = 0.2 \n 2 beta float = 0.5",
    "UnsqueezeParameter": "1 dim int32",
    "PixelShuffleParameter": "1 upscale_factor int32",
    "PadParameter": """
        1 pad_type PadType = CONSTANT
        2 pad_u int32 = 0
        3 pad_d int32 = 0
        4 pad_l int32 = 0
        5 pad_r int32 = 0
        6 pad_value float = 0
    """,
    "BilinearInterpolateParameter": """
        1 dst_h int32
        2 dst_w int32
        3 scale_factor float = 1
        4 align_corners bool = true
    """,
    # scale and dims_num: the reference build; the others: SegNet's layer of the same name, which takes a mask.
    "UpsampleParameter": """
        1 scale int32 = 1
        2 dims_num int32 = 4
        - scale_h uint32
        - scale_w uint32
        - pad_out_h bool = false
        - pad_out_w bool = false
        - upsample_h uint32
        - upsample_w uint32
    """,
    # DeepLab and PSPNet
    "InterpParameter": """
        - height int32 = 0
        - width int32 = 0
        - zoom_factor int32 = 1
        - shrink_factor int32 = 1
        - pad_beg int32 = 0
        - pad_end int32 = 0
    """,
    "ShuffleChannelParameter": "- group uint32 = 1",
    "SwishParameter": "- beta float = 1",
    "ClipParameter": "- min float \n - max float",
}


@dataclass(frozen=True)
class FieldType:
    """One field: ``kind`` is a scalar type, an enum or a message, by name; ``number`` None: text only."""

    number: int | None
    name: str
    kind: str
    repeated: bool
    default: Any

    @property
    def is_message(self) -> bool:
        return self.kind in _MESSAGES

    @property
    def is_enum(self) -> bool:
        return self.kind in ENUMS


@dataclass(frozen=True)
class MessageType:
    """One message: its fields by name and by number."""

    by_name: dict[str, FieldType]
    by_number: dict[int, FieldType]


@cache
def message_type(name: str) -> MessageType:
    """The parsed table of a message."""
    fields = [_field(line) for line in _MESSAGES[name].splitlines() if line.strip()]
    return MessageType(
        {field.name: field for field in fields},
        {field.number: field for field in fields if field.number is not None},
    )


def _field(line: str) -> FieldType:
    declaration, _, default = line.partition("=")
    number, name, kind = declaration.split()
    repeated = kind.endswith("[]")
    kind = kind.removesuffix("[]")
    return FieldType(None if number == "-" else int(number), name, kind, repeated, _default(kind, default.strip()))


def _default(kind: str, text: str) -> Any:
    if not text:
        return None
    if kind == "bool":
        return text == "true"
    if kind in ("float", "double"):
        return float(text)
    return text if kind == "string" or kind in ENUMS else int(text)
