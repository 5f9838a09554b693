"""What recorded torch calls mean, by their short names."""

from __future__ import annotations

# Layers: one row of the weight makes one unit.
AFFINE = {"linear", "addmm", "conv1d", "conv2d", "conv3d"}
# Axes of what a convolution gives for a batch.
CONV_RANKS = {"conv1d": 3, "conv2d": 4, "conv3d": 5}
# Layers of other kinds, which end a block.
FOREIGN = {f"conv_transpose{n}d" for n in (1, 2, 3)} | {"lstm", "gru", "rnn_tanh", "rnn_relu"}
FOREIGN |= {f"{kind}_cell" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu")}

# Products that models write by hand; grouped ones are over all experts of a mixture at once.
GROUPED_PRODUCTS = {"_grouped_mm", "grouped_mm"}
LEFT_PRODUCTS = {"matmul", "__matmul__", "mm", "bmm"}
PRODUCTS = LEFT_PRODUCTS | GROUPED_PRODUCTS
PRODUCTS |= {"__rmatmul__", "baddbmm", "einsum", "tensordot", "bilinear", "cdist"}
# Those of them by which attention is written: queries by keys, and attention weights by values.
ATTENTION_PRODUCTS = {"matmul", "__matmul__", "bmm", "baddbmm", "einsum"}

FACTORS = {"mul", "mul_", "__mul__", "__imul__", "__rmul__", "div", "__truediv__"}
ADDITIONS = {"add", "add_", "__add__", "__iadd__", "__radd__"}

# Calls that change the shape around units only, or nothing at all outside training.
SHAPES = {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "view_as"}
IDENTITIES = {"dropout", "dropout1d", "alpha_dropout", "to", "type", "type_as", "float", "half", "bfloat16"}
# Calls after which a unit's values are what they were; "passed" marks a step that a replay leaves out.
PASSED = SHAPES | IDENTITIES | {"double", "clone", "cpu", "cuda", "passed"}
# Calls that give axes another order, and those that split an axis.
MOVES = {"transpose", "permute", "swapaxes", "swapdims", "movedim", "__get__"}
SPLITS = {"view", "reshape", "unflatten"}
# Calls that gather a channel's values over positions, and channels to one row of numbers.
POOLS = {f"{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)}
POOLS |= {"dropout2d", "dropout3d", "feature_dropout", "pad", "interpolate"}
GATHERS = SHAPES | {"mean"}
# Calls that take a part of an axis, and those that cut units into parts or join them with others.
SLICES = {"__getitem__", "narrow", "index_select"}
CUTS = {"chunk", "split", "tensor_split", "unbind", "glu", "cat", "concat", "concatenate"}

# Calls that return a part of a tensor, or the same numbers in another order or dtype.
SAME_NUMBERS = {"view", "reshape", "transpose", "t", "permute", "__get__", "__getitem__", "to", "type_as"}
SAME_NUMBERS |= {"expand", "contiguous", "squeeze", "unsqueeze", "flatten", "unflatten", "chunk", "split"}
SAME_NUMBERS |= {"unbind", "narrow", "select", "index_select", "swapaxes", "movedim", "float", "double"}
SAME_NUMBERS |= {"half", "bfloat16"}
# Calls that return no tensor but read the values of one.
VALUE_READS = {
    "tolist",
    "numpy",
    "item",
    "equal",
    "allclose",
    "__bool__",
    "__float__",
    "__int__",
    "__array__",
}
