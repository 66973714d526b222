# SPDX-License-Identifier: Apache-2.0
"""Which of Keras's own layers, operations and activations an image classifier may be made of."""

_LAYERS = """
    Activation ActivityRegularization AdaptiveAveragePooling2D AdaptiveMaxPooling2D Add AlphaDropout Average
    AveragePooling2D BatchNormalization CenterCrop Concatenate Conv1D Conv2D Conv2DTranspose Cropping2D Dense
    DepthwiseConv2D Dot Dropout ELU EinsumDense Embedding Flatten GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D GroupNormalization Identity InputLayer
    LayerNormalization LeakyReLU MaxPooling1D MaxPooling2D Maximum Minimum MultiHeadAttention Multiply Normalization
    PReLU Permute RMSNormalization RandomBrightness RandomContrast RandomCrop RandomFlip RandomRotation
    RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing SeparableConv2D Softmax SpatialDropout1D
    SpatialDropout2D SpectralNormalization Subtract UnitNormalization UpSampling2D ZeroPadding2D
"""
LAYERS = frozenset(_LAYERS.split())

MODELS = {"Sequential": "keras", "Functional": "keras.src.models.functional", "Model": "keras.src.models.functional"}

OPERATIONS = {
    name: module
    for module, names in {
        "keras.src.ops.numpy": "Abs Absolute Add Clip Concatenate Divide Max Maximum Mean Minimum Multiply Negative "
        "Reshape Sqrt Square Squeeze Subtract Transpose TrueDivide",
        "keras.src.ops.nn": "Elu Gelu HardSigmoid HardSilu LeakyRelu LogSoftmax Relu Relu6 Selu Sigmoid Silu Softmax "
        "Softplus",
    }.items()
    for name in names.split()
}

PARTS = {"LayerScale": "keras.src.applications.convnext", "SeedGenerator": "keras.src.random.seed_generator"}

DATA = frozenset({"__keras_tensor__", "__tensor__", "__numpy__"})

_ACTIVATIONS = """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid
    log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid
    sparsemax squareplus swish tanh tanh_shrink threshold
"""
ACTIVATIONS = frozenset(_ACTIVATIONS.split())

REFUSED = {
    "Lambda": "a Lambda layer: Python code of the file's author",
    "__lambda__": "Python code of the file's author",
    "TorchModuleWrapper": "a TorchModuleWrapper: a pickled torch module, which runs code",
    "TFSMLayer": "a TFSMLayer: a TensorFlow program in another folder",
    "JaxLayer": "a JaxLayer: Python code of the file's author",
    "FlaxLayer": "a FlaxLayer: Python code of the file's author",
    "TFOpLambda": "a TensorFlow operation outside any layer, which Keras 3 cannot rebuild",
    "SlicingOpLambda": "a TensorFlow slice outside any layer, which Keras 3 cannot rebuild",
}

PLAIN_POLICIES = frozenset({"float32", "float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"})
