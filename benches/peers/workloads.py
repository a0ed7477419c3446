"""Which workloads a run measures, and to which family of the summary and which group of peers.py each belongs."""
import peers

# First word of a workload's name: its family, and its group in peers.py.
WORDS = {
    "act": ("activations", "a"), "softmax_ce": ("losses", "f"),
    "clip_norm": ("clipping", "b"), "clip_norm_under": ("clipping", "b"), "clip_value": ("clipping", "b"),
    "sgdm": ("optimizers", "b"), "adam": ("optimizers", "b"), "adamw": ("optimizers", "b"),
    "clip+sgdm": ("optimizers", "b"), "clip+adam": ("optimizers", "b"), "clip+adamw": ("optimizers", "b"),
    "bn": ("norms", "c"), "bn_relu": ("norms", "c"), "bn_add_relu": ("norms", "c"), "layer_norm": ("norms", "c"),
    "linear": ("products", "e"), "gemm": ("products", "e"),
    "lstm": ("recurrent", "d"), "gru": ("recurrent", "d"),
    "step": ("training steps", "h"), "rbm_pcd": ("pre-training", "i"),
}

QUICK = """
act/relu/n16 act/gelu/n16 act/relu/n4096 act/tanh/n4096 act/silu/n4096 act/relu/n262144 act/elu/n262144 act/tanh/n262144
act/gelu/n262144 act/mish/n262144 act/silu/n16777216 softmax_ce/64x1000 softmax_ce/700x10000 clip_norm/resnet50
clip_value/resnet50 sgdm/resnet50 clip+adamw/resnet50 clip+adamw/list10000x64 bn/256x1024 bn/32x64x56x56
bn_add_relu/32x64x56x56_cl layer_norm/4096x768 linear/M20N2600K650 linear/M512N2048K512 gemm/1024 lstm/T35B20I650H650
lstm/T256B1I128H128 gru/T128B64I256H256 step/mlp20_bn rbm_pcd/digits256_b100
""".split()

# What the crate's bench can tell of the machine.
LIMITS = [*(f"limit/{kind}/{size}KiB" for kind in ("read", "copy", "update") for size in (16, 256, 1024, 16384, 262144)),
          *(f"limit/product/{shape}" for shape in ("M84N32K48", "M42N64K256", "M84N256K256"))]


def full():
    """All that the crate and a peer both have."""
    sizes = lambda name: [n for n in peers.ACT_N if n > 16 or name in ("relu", "gelu")]
    lists = ["resnet50", "one64M", "list10000x64"]
    images = ["x".join(map(str, shape)) for shape in peers.BN_NCHW]
    norms = ["256x1024", *images, *(shape + "_cl" for shape in images)]
    return [*(f"act/{name}/n{n}" for name in peers.ACTS for n in sizes(name)),
            *(f"softmax_ce/{rows}x{classes}" for rows, classes in peers.CES),
            *(f"{op}/{name}" for op in ("clip_norm", "clip_norm_under", "clip_value") for name in lists),
            *(f"{clip}{op}/{name}" for clip in ("", "clip+") for op in ("sgdm", "adam", "adamw")
              for name in ("resnet50", "list10000x64")),
            *(f"{op}/{shape}" for op in ("bn", "bn_relu", "bn_add_relu") for shape in norms), "layer_norm/4096x768",
            *(f"linear/M{m}N{n}K{k}" for m, n, k in peers.LINEARS), "gemm/1024",
            *(f"lstm/{row[0]}" for row in peers.LSTMS), *(f"gru/{row[0]}" for row in peers.LSTMS[:2]),
            "step/mlp20_bn", "step/resmlp20", "step/charlstm", "rbm_pcd/digits256_b10", "rbm_pcd/digits256_b100"]


def word(workload):
    return workload.split("/")[0]


def family(workload):
    return WORDS[word(workload)][0]


def group(workload):
    return WORDS[word(workload)][1]


def peers_name(workload):
    """What peers call it. A norm under the limit costs them as much as one over it: they scale by 1."""
    return workload.replace("clip_norm_under", "clip_norm")


def peers_direction(direction):
    """What peers call a direction. Only the crate has weights packed before, or shows what packing them costs."""
    return direction.removesuffix("_unpacked").removesuffix("_packed")
