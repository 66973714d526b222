"""Each operator against onnxruntime, over the opsets in which its meaning changed."""

# ruff: noqa: E501

import numpy as np
import pytest
import torch

from radproof.models.importers.onnx import read_onnx

RNG = np.random.default_rng(0)


def _w(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def _i(*values):
    return np.array(values, dtype=np.int64)


def _f(*values):
    return np.array(values, dtype=np.float32)


UNARY = {
    "Relu": 7, "Sigmoid": 7, "Tanh": 7, "Softplus": 7, "Softsign": 7, "Erf": 9, "Exp": 7, "Abs": 7, "Neg": 7,
    "Sign": 9, "Mish": 18, "HardSwish": 14, "Round": 11, "Floor": 7, "Ceil": 7, "Sin": 7, "Identity": 7, "Dropout": 7,
    "LeakyRelu": 7, "Elu": 7, "Selu": 7, "Celu": 12, "HardSigmoid": 7, "ThresholdedRelu": 10, "Gelu": 20, "Shrink": 9,
    "Reciprocal": 7,
}  # fmt: skip
SETTINGS = {
    "LeakyRelu": "<alpha=0.3>", "Elu": "<alpha=0.7>", "Celu": "<alpha=0.7>", "Selu": "<alpha=1.1, gamma=1.3>",
    "HardSigmoid": "<alpha=0.3, beta=0.4>", "ThresholdedRelu": "<alpha=0.4>", "Gelu": '<approximate="tanh">',
    "Shrink": "<bias=0.2, lambd=0.6>",
}  # fmt: skip
ONE = [
    (f"{name}{way}", f"y = {name} {way} (x)", opset, {})
    for name, opset in UNARY.items()
    for way in ("", SETTINGS.get(name))
    if way is not None
]

CONVOLUTIONS = [
    ("conv", "y = Conv <pads=[1,1,1,1]> (x, w, b)", 7, {"w": _w(4, 3, 3, 3), "b": _w(4)}),
    ("uneven", "y = Conv <pads=[0,1,2,1], strides=[2,1]> (x, w)", 11, {"w": _w(4, 3, 3, 2)}),
    ("groups", "y = Conv <group=3, dilations=[2,1]> (x, w)", 17, {"w": _w(6, 1, 2, 3)}),
    ("upper", 'y = Conv <auto_pad="SAME_UPPER", strides=[2,3]> (x, w)', 13, {"w": _w(4, 3, 4, 2)}),
    ("lower", 'y = Conv <auto_pad="SAME_LOWER", strides=[2,2]> (x, w)', 13, {"w": _w(4, 3, 4, 2)}),
    ("valid", 'y = Conv <auto_pad="VALID", strides=[2,2]> (x, w)', 9, {"w": _w(4, 3, 4, 2)}),
    ("turned", "y = ConvTranspose <strides=[2,2], pads=[1,1,1,1]> (x, w, b)", 11, {"w": _w(3, 4, 3, 3), "b": _w(4)}),
    ("turned uneven", "y = ConvTranspose <strides=[2,3], pads=[0,1,1,0], output_padding=[1,0]> (x, w)", 11,
     {"w": _w(3, 4, 3, 2)}),
    ("turned same", 'y = ConvTranspose <strides=[2,2], auto_pad="SAME_UPPER"> (x, w)', 13, {"w": _w(3, 4, 3, 3)}),
    ("turned lower", 'y = ConvTranspose <strides=[2,2], auto_pad="SAME_LOWER"> (x, w)', 13, {"w": _w(3, 4, 3, 3)}),
    ("turned groups", "y = ConvTranspose <group=3, dilations=[1,2]> (x, w)", 13, {"w": _w(3, 2, 2, 2)}),
]  # fmt: skip

POOLS = [
    (f"{name} {text}", f"y = {name} <kernel_shape=[3,2], {text}> (x)", opset, {})
    for name in ("MaxPool", "AveragePool")
    for text, opset in (
        ("strides=[1,1]", 7),
        ("strides=[2,3], pads=[1,1,1,1]", 10),
        ("strides=[2,2], pads=[0,1,2,0]", 11),
        ("strides=[2,2], ceil_mode=1", 11),
        ("strides=[2,3], pads=[1,0,1,0], ceil_mode=1", 19),
        ("strides=[2,3], pads=[0,1,2,1], ceil_mode=1", 19),
        ('strides=[2,2], auto_pad="SAME_UPPER"', 12),
        ('strides=[2,2], auto_pad="SAME_LOWER"', 12),
        ("strides=[2,1], dilations=[2,3]", 19),
        ("strides=[2,1], dilations=[2,1], pads=[2,0,1,1]", 19),
    )
]
POOLS += [
    (f"counted {text}", f"y = AveragePool <kernel_shape=[3,3], count_include_pad=1, {text}> (x)", opset, {})
    for text, opset in (
        ("strides=[2,2], pads=[1,1,1,1]", 7),
        ("strides=[2,2], pads=[1,0,2,1]", 11),
        ("strides=[3,3], pads=[1,1,1,1], ceil_mode=1", 19),
        ("strides=[3,4], pads=[0,1,1,0], ceil_mode=1", 19),
    )
]
POOLS += [(name, f"y = {name} (x)", 7, {}) for name in ("GlobalAveragePool", "GlobalMaxPool")]

BINARY = [
    *[(f"{name} {opset}", f"y = {name}(x, w)", opset, {"w": _w(3, 1, 1)}) for name in ("Add", "Sub", "Mul", "Div")
      for opset in (7, 13)],
    *[(f"{name} reversed", f"y = {name}(w, x)", 13, {"w": _f(1.5)}) for name in ("Add", "Sub", "Mul", "Div")],
    ("both live", "a = Relu(x) b = Neg(x) c = Sub(a, b) y = Mul(c, a)", 13, {}),
    ("Pow", "a = Abs(x) y = Pow(a, w)", 7, {"w": np.float32(1.5)}),
    ("Pow reversed", "y = Pow(w, x)", 13, {"w": np.float32(1.5)}),
    ("Sqrt", "a = Abs(x) y = Sqrt(a)", 7, {}),
    ("Log", "a = Exp(x) b = Add(a, a) y = Log(b)", 7, {}),
    ("wider", "y = Add(x, w)", 13, {"w": _w(1, 3, 9, 11)}),
    ("Min", "y = Min(x, w, v)", 8, {"w": _w(3, 1, 1), "v": _w(11)}),
    ("Max", "y = Max(x, w)", 12, {"w": _w(9, 1)}),
    ("Sum", "y = Sum(x, w, x)", 8, {"w": _w(9, 1)}),
    ("Mean", "y = Mean(x, w, x)", 8, {"w": _w(9, 1)}),
    ("Clip 6", "y = Clip <min=-0.5, max=0.7> (x)", 10, {}),
    ("Clip", "y = Clip(x, a, b)", 11, {"a": np.float32(-0.5), "b": np.float32(0.7)}),
    ("Clip above", "y = Clip(x, , b)", 13, {"b": np.float32(0.7)}),
    ("PRelu", "y = PRelu(x, w)", 9, {"w": _w(3, 1, 1)}),
    ("PRelu one", "y = PRelu(x, w)", 9, {"w": _w(1)}),
    ("PRelu last", "y = PRelu(x, w)", 16, {"w": _w(11)}),
    ("Where", "c = Greater(x, w) y = Where(c, x, v)", 9, {"w": _w(11), "v": _w(3, 1, 1)}),
    ("logic", "a = Less(x, w) b = Greater(x, v) c = And(a, b) d = Not(c) y = Cast<to=1>(d)", 13,
     {"w": _f(0.5), "v": _f(-0.5)}),
    ("Equal", "a = Sign(x) c = Equal(a, w) y = Cast<to=1>(c)", 13, {"w": _f(1.0)}),
    ("Mod", "y = Mod<fmod=1>(x, w)", 13, {"w": _f(0.7)}),
    ("cast through integers", "a = Mul(x, w) b = Cast<to=7>(a) c = Div(b, d) y = Cast<to=1>(c)", 13,
     {"w": _f(10.0), "d": _i(3)}),
]  # fmt: skip

LINEAR = [
    ("Gemm", "a = Flatten(x) y = Gemm <transB=1> (a, w, b)", 7, {"w": _w(5, 297) / 17, "b": _w(5)}),
    ("Gemm alpha", "a = Flatten(x) y = Gemm <alpha=0.5, beta=2.0> (a, w, b)", 9, {"w": _w(297, 5) / 17, "b": _w(1, 5)}),
    ("Gemm one bias", "a = Flatten(x) y = Gemm (a, w, b)", 11, {"w": _w(297, 5) / 17, "b": _w(1)}),
    ("Gemm no bias", "a = Flatten(x) y = Gemm (a, w)", 13, {"w": _w(297, 5) / 17}),
    ("MatMul", "y = MatMul(x, w)", 7, {"w": _w(11, 4)}),
    ("MatMul batched", "y = MatMul(x, w)", 13, {"w": _w(3, 11, 4)}),
    ("MatMul live", "t = Transpose<perm=[0,1,3,2]>(x) y = MatMul(x, t)", 13, {}),
    ("MatMul before", "y = MatMul(w, x)", 13, {"w": _w(4, 9)}),
    ("Einsum", 'y = Einsum<equation="nchw, cd -> ndhw">(x, w)', 12, {"w": _w(3, 4)}),
]

NORMS = [
    *[(f"BatchNormalization {o}", "y = BatchNormalization<epsilon=0.01>(x, w, b, m, v)", o,
       {"w": _w(3), "b": _w(3), "m": _w(3), "v": np.abs(_w(3)) + 0.3}) for o in (7, 9, 14, 15)],
    ("InstanceNormalization", "y = InstanceNormalization<epsilon=0.01>(x, w, b)", 7, {"w": _w(3), "b": _w(3)}),
    ("LayerNormalization", "y = LayerNormalization<axis=-2, epsilon=0.01>(x, w, b)", 17,
     {"w": _w(9, 11), "b": _w(11)}),
    ("LayerNormalization axis 1", "y = LayerNormalization<axis=1>(x, w)", 17, {"w": _w(3, 9, 11)}),
    ("GroupNormalization 21", "y = GroupNormalization<num_groups=2>(z, w, b)", 21, {"w": _w(6), "b": _w(6)}),
    ("LRN", "y = LRN<size=3, alpha=0.1, beta=0.6, bias=1.5>(z)", 7, {}),
    ("LpNormalization", "y = LpNormalization<axis=1, p=2>(x)", 7, {}),
    *[(f"{name} {opset} {axis}", f"y = {name}{axis}(x)", opset, {}) for name in ("Softmax", "LogSoftmax")
      for opset in (7, 11, 13) for axis in ("", "<axis=-1>", "<axis=2>", "<axis=1>")],
]  # fmt: skip
NORMS = [
    (
        n,
        t.replace("(z", "(z")
        if "(z" not in t
        else f"z = Concat<axis=1>(x, x2) {t}".replace("z =", "x2 = Neg(x) z =", 1),
        o,
        w,
    )
    for n, t, o, w in NORMS
]

REDUCTIONS = [
    (f"{name} {opset} {axes}", _text, opset, {"axes": _i(*axes)} if opset >= since else {})
    for name, since in (
        ("ReduceMean", 18), ("ReduceSum", 13), ("ReduceMax", 18), ("ReduceMin", 18), ("ReduceL2", 18), ("ReduceL1", 18),
        ("ReduceSumSquare", 18), ("ReduceLogSumExp", 18), ("ReduceProd", 18),
    )
    for opset in (7, 13, 18)
    for axes, keep in (((2, 3) if name != "ReduceProd" else (2,), 0), ((-1, 1) if name != "ReduceProd" else (-1,), 1))
    for _text in (
        f"y = {name}<keepdims={keep}>(x, axes)" if opset >= since
        else f"y = {name}<axes=[{','.join(map(str, axes))}], keepdims={keep}>(x)",
    )
]  # fmt: skip
REDUCTIONS += [
    ("ArgMax", "a = ArgMax<axis=-1, keepdims=0>(x) y = Cast<to=1>(a)", 13, {}),
    ("ArgMin", "a = ArgMin<axis=1>(x) y = Cast<to=1>(a)", 12, {}),
    ("noop", "y = ReduceMean<noop_with_empty_axes=1>(x)", 18, {}),
]

SHAPES = [
    ("Reshape", "y = Reshape(x, s)", 7, {"s": _i(0, -1, 11)}),
    ("Reshape allowzero", "y = Reshape<allowzero=1>(x, s)", 14, {"s": _i(-1, 33, 9)}),
    ("dynamic batch", "s = Shape(x) n = Gather(s, zero) u = Unsqueeze<axes=[0]>(n) c = Concat<axis=0>(u, m) y = Reshape(x, c)",
     11, {"zero": np.int64(0), "m": _i(27, -1)}),
    ("dynamic batch 13", "s = Shape(x) n = Gather(s, zero) u = Unsqueeze(n, a) c = Concat<axis=0>(u, m) y = Reshape(x, c)",
     13, {"zero": np.int64(0), "m": _i(-1), "a": _i(0)}),
    ("sliced shape", "s = Shape(x) b = Slice(s, z, o) p = Slice(s, o, e) r = ReduceProd(p) c = Concat<axis=0>(b, r) y = Reshape(x, c)",
     13, {"z": _i(0), "o": _i(1), "e": _i(4)}),
    ("times batch", "s = Shape<start=0, end=1>(x) t = Mul(s, three) c = Concat<axis=0>(t, m) r = Reshape(x, c) d = Div(t, three) e = Concat<axis=0>(d, m) y = Reshape(r, e)",
     15, {"three": _i(3), "m": _i(-1)}),
    ("expand to batch", "s = Shape(x) b = Slice(s, z, o) c = Concat<axis=0>(b, m) e = Equal(c, m1) f = Where(e, ones, c) g = Expand(w, f) y = Add(x, g)",
     13, {"z": _i(0), "o": _i(1), "m": _i(3, -1, 11), "m1": _i(-1), "ones": _i(1, 1, 1, 1), "w": _w(1, 3, 1, 1)}),
    ("filled to batch", "s = Shape(x) c = ConstantOfShape<value=float[1]{2.5}>(s) y = Mul(x, c)", 9, {}),
    ("divided by size", "s = Size(x) f = Cast<to=1>(s) q = Div(x, f) y = Mul(q, f)", 13, {}),
    ("Flatten 2", "f = Flatten<axis=2>(x) y = Reshape(f, s)", 9, {"s": _i(-1, 297)}),
    ("Flatten -3", "y = Flatten<axis=-3>(x)", 11, {}),
    ("Squeeze", "a = ReduceMean<axes=[2]>(x) y = Squeeze<axes=[2]>(a)", 11, {}),
    ("Squeeze all", "a = ReduceMean<axes=[2]>(x) y = Squeeze(a)", 13, {}),
    ("Squeeze input", "a = ReduceMean<axes=[3]>(x) y = Squeeze(a, s)", 13, {"s": _i(-1)}),
    ("Unsqueeze", "y = Unsqueeze<axes=[2,-1]>(x)", 11, {}),
    ("Unsqueeze input", "y = Unsqueeze(x, a)", 13, {"a": _i(-1, 1)}),
    ("Transpose", "y = Transpose<perm=[0,2,3,1]>(x)", 7, {}),
    ("Concat", "a = Neg(x) y = Concat<axis=-2>(x, a)", 11, {}),
    ("Split even", "a, b, c = Split<axis=1>(x) d = Sub(a, b) y = Mul(d, c)", 7, {}),
    ("Split attribute", "a, b = Split<axis=2, split=[2,7]>(x) y = Concat<axis=2>(b, a)", 11, {}),
    ("Split input", "a, b = Split<axis=-1>(x, s) y = Concat<axis=-1>(b, a)", 13, {"s": _i(4, 7)}),
    ("Split uneven", "a, b = Split<axis=-1, num_outputs=2>(x) y = Concat<axis=-1>(b, a)", 18, {}),
    ("Slice attribute", "y = Slice<starts=[1,-4], ends=[-1,9223372036854775807], axes=[2,3]>(x)", 9, {}),
    ("Slice", "y = Slice(x, a, b, c, d)", 10, {"a": _i(-2, 1), "b": _i(-100, 100), "c": _i(-1, 2), "d": _i(-3, 2)}),
    ("Slice backwards", "y = Slice(x, a, b, c, d)", 13, {"a": _i(100), "b": _i(0), "c": _i(1), "d": _i(-1)}),
    ("Gather one", "y = Gather<axis=1>(x, i)", 11, {"i": np.int64(-1)}),
    ("Gather", "y = Gather<axis=2>(x, i)", 13, {"i": _i(3, -2, 0)}),
    ("Gather square", "y = Gather<axis=-1>(x, i)", 13, {"i": np.array([[0, 3], [-1, 2]])}),
    ("Expand", "a = ReduceMean<axes=[1]>(x) y = Expand(a, s)", 8, {"s": _i(5, 1, 1)}),
    ("Tile", "y = Tile(x, s)", 7, {"s": _i(1, 2, 1, 3)}),
    ("Range", "r = Range(a, b, c) y = Add(x, r)", 11, {"a": np.float32(1), "b": np.float32(6.5), "c": np.float32(0.5)}),
    ("Constant", "c = Constant<value_floats=[1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0,9.0,10.0,11.0]>() y = Mul(x, c)", 13, {}),
    ("DepthToSpace", "w = Concat<axis=1>(x,x,x,x) y = DepthToSpace<blocksize=2>(w)", 7, {}),
    ("DepthToSpace CRD", 'a = Neg(x) w = Concat<axis=1>(x,a,x,a) y = DepthToSpace<blocksize=2, mode="CRD">(w)', 13, {}),
    ("SpaceToDepth", "a = Slice<starts=[1], ends=[9], axes=[2]>(x) b = Slice<starts=[1], ends=[11], axes=[3]>(a) y = SpaceToDepth<blocksize=2>(b)", 9, {}),
    ("Pad attribute", "y = Pad<pads=[0,0,1,0,0,0,2,3], value=0.5>(x)", 7, {}),
    ("Pad channels", "y = Pad(x, p, v)", 11, {"p": _i(0, 2, 0, 1, 0, 1, 0, 0), "v": np.float32(-1)}),
    ("Pad less", "y = Pad(x, p)", 13, {"p": _i(0, 0, -1, 1, 0, 0, 2, -3)}),
    ("Pad axes", "y = Pad(x, p, , a)", 18, {"p": _i(1, 2, 3, 4), "a": _i(-1, 2)}),
    *[(f"Pad {mode}", f'y = Pad<mode="{mode}">(x, p)', opset, {"p": _i(0, 1, 2, 3, 0, 0, 1, 4)})
      for mode, opset in (("reflect", 11), ("edge", 11), ("wrap", 19))],
]  # fmt: skip

_UP, _ODD, _DOWN = _f(1, 1, 2, 2), _f(1, 1, 1.7, 2.3), _f(1, 1, 0.6, 0.45)
RESIZES = [
    ("Upsample 7", 'y = Upsample<mode="nearest", scales=[1.0,1.0,2.0,3.0]>(x)', 7, {}),
    ("Upsample 9", 'y = Upsample<mode="linear">(x, s)', 9, {"s": _UP}),
    ("Resize 10 up", 'y = Resize<mode="nearest">(x, s)', 10, {"s": _UP}),
    ("Resize 10 linear", 'y = Resize<mode="linear">(x, s)', 10, {"s": _DOWN}),
    *[(f"{mode} {way} {scales}", f'y = Resize<mode="{mode}", coordinate_transformation_mode="{way}">(x, , s)', 13,
       {"s": scales}) for mode in ("nearest", "linear", "cubic")
      for way in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric") for scales in (_UP, _ODD, _DOWN)],
    *[(f"{rule} {scales}", f'y = Resize<nearest_mode="{rule}", coordinate_transformation_mode="asymmetric">(x, r, s)', 11,
       {"s": scales, "r": _f()}) for rule in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil") for scales in (_UP, _ODD)],
    ("sizes", 'y = Resize<mode="linear">(x, , , s)', 13, {"s": _i(2, 3, 13, 6)}),
    ("sizes from a shape", 's = Shape(x) b = Slice(s, z, t) c = Concat<axis=0>(b, m) y = Resize<mode="linear">(x, , , c)',
     13, {"z": _i(0), "t": _i(2), "m": _i(13, 6)}),
    ("axes", 'y = Resize<mode="linear", axes=[-1]>(x, , s)', 18, {"s": _f(1.5)}),
    ("cubic outside", 'y = Resize<mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5>(x, , s)', 13, {"s": _ODD}),
    ("symmetric", 'y = Resize<mode="linear", coordinate_transformation_mode="half_pixel_symmetric">(x, , s)', 19,
     {"s": _ODD}),
]  # fmt: skip
FIXED = {"sizes", "Squeeze all"}  # files that hold for two images alone
ALL = [*ONE, *CONVOLUTIONS, *POOLS, *BINARY, *LINEAR, *NORMS, *REDUCTIONS, *SHAPES, *RESIZES]


@pytest.mark.parametrize(("name", "nodes", "opset", "weights"), ALL, ids=[f"{a[0]}-{a[2]}" for a in ALL])
def test_answers_as_onnxruntime(made, asked, tmp_path, name, nodes, opset, weights):
    shape = (2 if name in FIXED else "N", 3, 9, 11)
    # A product with unequal weights behind the node keeps a closing softmax from being taken off.
    path = made(
        tmp_path / "m.onnx",
        nodes,
        opset=opset,
        weights=weights,
        shape=shape,
        end="f = Flatten(y) out = Mul(f, f)"
        if name.startswith(("Softmax", "LogSoftmax", "Sigmoid"))
        else "out = Flatten(y)",
    )
    found = read_onnx(path)
    generator = torch.Generator().manual_seed(3)
    for count in (2,) if name in FIXED else (4, 1):
        x = torch.randn(count, 3, 9, 11, generator=generator)
        ours, theirs = found.graph(x), asked(path, x)
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-5)
