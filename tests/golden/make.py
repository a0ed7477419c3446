#!/usr/bin/env python3
"""Writes PyTorch's outputs and gradients in f64 to a file of each family beside this one.

    pip install torch==2.15.0 numpy && python tests/golden/make.py

A case is an op with its parameters, inputs, outputs and gradients. Floats are decimal strings that give back the
same bits (`nan`, `inf` and `-inf` included), so that JSON readers cannot round them. Where `special` is true the
inputs are infinities, NaN, zeros and the kinks of the op.
"""
import json
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
HERE = pathlib.Path(__file__).parent
INF, NAN = float("inf"), float("nan")


def text(value):
    """`value` with floats as strings and tensors as flat lists."""
    if isinstance(value, torch.Tensor):
        return text(value.detach().reshape(-1).tolist())
    if isinstance(value, (list, tuple)):
        return [text(v) for v in value]
    if isinstance(value, dict):
        return {k: text(v) for k, v in value.items()}
    return repr(value) if isinstance(value, float) else value


def case(op, parameters, inputs, outputs, gradients=None, special=False):
    return text(dict(op=op, special=special, parameters=parameters, inputs=inputs, outputs=outputs,
                     gradients=gradients or {}))


def write(family, cases):
    lines = ",\n".join(json.dumps(c) for c in cases)
    header = json.dumps(dict(torch=torch.__version__.split("+")[0], family=family))[:-1]
    (HERE / f"{family}.json").write_text(f'{header}, "cases": [\n{lines}\n]}}\n')


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------ activations
ACTIVATIONS = [
    ("relu", {}, lambda x: F.relu(x)),
    ("relu6", {}, lambda x: F.relu6(x)),
    ("leaky_relu", dict(slope=0.01), lambda x, slope: F.leaky_relu(x, slope)),
    ("leaky_relu", dict(slope=-0.5), lambda x, slope: F.leaky_relu(x, slope)),
    ("rrelu", dict(lower=1 / 8, upper=1 / 3), lambda x, lower, upper: F.rrelu(x, lower, upper, training=False)),
    ("elu", dict(alpha=1.0), lambda x, alpha: F.elu(x, alpha)),
    ("elu", dict(alpha=0.3), lambda x, alpha: F.elu(x, alpha)),
    ("selu", {}, lambda x: F.selu(x)),
    ("celu", dict(alpha=1.0), lambda x, alpha: F.celu(x, alpha)),
    ("celu", dict(alpha=2.0), lambda x, alpha: F.celu(x, alpha)),
    ("gelu", {}, lambda x: F.gelu(x)),
    ("gelu_tanh", {}, lambda x: F.gelu(x, approximate="tanh")),
    ("silu", {}, lambda x: F.silu(x)),
    ("mish", {}, lambda x: F.mish(x)),
    ("softplus", dict(beta=1.0, threshold=20.0), lambda x, beta, threshold: F.softplus(x, beta, threshold)),
    ("softplus", dict(beta=2.0, threshold=5.0), lambda x, beta, threshold: F.softplus(x, beta, threshold)),
    ("softsign", {}, lambda x: F.softsign(x)),
    ("sigmoid", {}, lambda x: torch.sigmoid(x)),
    ("log_sigmoid", {}, lambda x: F.logsigmoid(x)),
    ("tanh", {}, lambda x: torch.tanh(x)),
    ("hard_tanh", dict(min=-1.0, max=1.0), lambda x, min, max: F.hardtanh(x, min, max)),
    ("hard_tanh", dict(min=-2.0, max=0.5), lambda x, min, max: F.hardtanh(x, min, max)),
    ("hard_sigmoid", {}, lambda x: F.hardsigmoid(x)),
    ("hard_swish", {}, lambda x: F.hardswish(x)),
    ("tanh_shrink", {}, lambda x: F.tanhshrink(x)),
]
SPECIAL = [INF, -INF, NAN, 0.0, -0.0, 1e-310, -1e-310, 0.5, 1.0, -1.0, -2.0, 2.5, 3.0, -3.0, 6.0, 20.0, 20.0001,
           40.0, -40.0, 750.0, -750.0, 1e30, -1e30]


def activation(name, parameters, f, x, dy, special):
    x = x.clone().requires_grad_()
    y = f(x, **parameters)
    (dx,) = torch.autograd.grad(y, x, dy)
    return case(name, parameters, dict(x=x, dy=dy), dict(y=y), dict(dx=dx), special)


def activations():
    ordinary, special = 3 * randn(19, seed=1), torch.tensor(SPECIAL)
    for name, parameters, f in ACTIVATIONS:
        yield activation(name, parameters, f, ordinary, randn(19, seed=2), False)
        yield activation(name, parameters, f, special, torch.full_like(special, 1.5), True)
    for shape, channels in (((7,), 1), ((2, 4, 3), 4), ((3, 2), 2)):
        x, slope = randn(*shape, seed=3).requires_grad_(), randn(channels, seed=4).requires_grad_()
        dy = randn(*shape, seed=5)
        y = F.prelu(x, slope)
        dx, dslope = torch.autograd.grad(y, (x, slope), dy)
        outer, inner = (1, shape[0]) if channels == 1 else (shape[0], shape[2] if len(shape) == 3 else 1)
        yield case("prelu", dict(outer=outer, channels=channels, inner=inner), dict(x=x, slope=slope, dy=dy),
                   dict(y=y), dict(dx=dx, dslope=dslope))
    x, slope = torch.tensor(SPECIAL).requires_grad_(), torch.tensor([0.25]).requires_grad_()
    dy = torch.full_like(x, 1.5)
    y = F.prelu(x, slope)
    dx, dslope = torch.autograd.grad(y, (x, slope), dy)
    yield case("prelu", dict(outer=1, channels=1, inner=len(SPECIAL)), dict(x=x, slope=slope, dy=dy),
               dict(y=y), dict(dx=dx, dslope=dslope), True)


# ----------------------------------------------------------------------------------------------------- losses
def softmaxes():
    special = torch.tensor([[0.0, -INF, 1.0], [INF, 0.0, 1.0], [NAN, 0.0, 1.0], [-INF, -INF, -INF],
                            [1000.0, 999.0, -1000.0]])
    for name, f in (("softmax", F.softmax), ("log_softmax", F.log_softmax)):
        for x, is_special in ((3 * randn(3, 5, seed=1), False), (randn(2, 17, seed=2), False), (special, True)):
            x = x.clone().requires_grad_()
            dy = randn(*x.shape, seed=3)
            y = f(x, dim=-1)
            (dx,) = torch.autograd.grad(y, x, dy)
            yield case(name, dict(rows=x.shape[0], cols=x.shape[1]), dict(x=x, dy=dy), dict(y=y), dict(dx=dx),
                       is_special)


def loss(op, f, parameters, x, special=False, **inputs):
    """A loss of every reduction that `f` knows, with the gradient of its first argument."""
    for reduction in parameters.pop("reductions", ("mean", "sum")):
        x = x.detach().clone().requires_grad_()
        value = f(x, reduction)
        (dx,) = torch.autograd.grad(value, x)
        if x.dim() == 2:
            parameters.update(rows=x.shape[0], cols=x.shape[1])
        yield case(op, dict(parameters, reduction=reduction), dict(x=x, **inputs), dict(loss=value), dict(dx=dx),
                   special)


def cross_entropies():
    rows, cols = 6, 5
    x = 2 * randn(rows, cols, seed=1)
    weights = torch.tensor([0.5, 2.0, 1.0, 0.25, 3.0])
    targets = torch.tensor([0, 4, 2, 2, 1, 3])
    some, none = torch.tensor([0, -100, 2, -100, 1, 3]), torch.full((rows,), -100)
    probabilities = F.softmax(randn(rows, cols, seed=2), dim=1)

    def indices(x, t, smoothing=0.0, weight=None, special=False):
        given = dict(targets=t, **({} if weight is None else dict(weights=weight)))
        return loss("cross_entropy", lambda x, r: F.cross_entropy(
            x, t, weight=weight, ignore_index=-100, label_smoothing=smoothing, reduction=r),
            dict(smoothing=smoothing), x, special, **given)

    def soft(x, p, smoothing=0.0, weight=None):
        given = dict(probabilities=p, **({} if weight is None else dict(weights=weight)))
        return loss("cross_entropy_soft", lambda x, r: F.cross_entropy(
            x, p, weight=weight, label_smoothing=smoothing, reduction=r), dict(smoothing=smoothing), x, **given)

    for t in (targets, some):
        for smoothing in (0.0, 0.1):
            for weight in (None, weights):
                yield from indices(x, t, smoothing, weight)
    for smoothing in (0.0, 0.1):
        for weight in (None, weights):
            yield from soft(x, probabilities, smoothing, weight)
    yield from indices(x, none, special=True)
    extreme = torch.tensor([[1000.0, 0.0, -1000.0], [0.0, 0.0, 0.0], [-INF, 0.0, 1.0]])
    yield from indices(extreme, torch.tensor([1, 0, 1]), special=True)
    yield from indices(torch.tensor([[NAN, 0.0, 1.0]]), torch.tensor([1]), special=True)
    yield from indices(torch.tensor([[INF, 0.0, 1.0]]), torch.tensor([1]), special=True)
    yield from indices(torch.tensor([[-INF, 0.0, 1.0]]), torch.tensor([0]), special=True)
    nll = F.log_softmax(x, dim=1)
    for t in (targets, some, none):
        for weight in (None, weights):
            yield from loss("nll", lambda x, r: F.nll_loss(x, t, weight=weight, ignore_index=-100, reduction=r), {},
                            nll, t is none, targets=t, **({} if weight is None else dict(weights=weight)))


def pointwise_losses():
    x, t = randn(13, seed=1), randn(13, seed=2)
    x[0], t[0] = 0.5, 0.5  # equal
    x[1], t[1] = 1.0, 0.0  # the kink of Huber and smooth L1 at 1
    x[2], t[2] = 0.0, 0.5  # and at ½
    special_x = torch.tensor([INF, -INF, NAN, 0.0, 0.0, 1e200, INF])
    special_t = torch.tensor([0.0, 0.0, 0.0, NAN, -0.0, -1e200, INF])
    pairs = ((x, t, False), *((a.reshape(1), b.reshape(1), True) for a, b in zip(special_x, special_t)))
    for x, t, special in pairs:
        yield from loss("mse", lambda x, r: F.mse_loss(x, t, reduction=r), {}, x, special, targets=t)
        yield from loss("l1", lambda x, r: F.l1_loss(x, t, reduction=r), {}, x, special, targets=t)
        for delta in (1.0, 0.5):
            yield from loss("huber", lambda x, r: F.huber_loss(x, t, delta=delta, reduction=r), dict(delta=delta),
                            x, special, targets=t)
        for beta in (1.0, 0.5, 0.0):
            yield from loss("smooth_l1", lambda x, r: F.smooth_l1_loss(x, t, beta=beta, reduction=r),
                            dict(beta=beta), x, special, targets=t)
    x, t = 3 * randn(11, seed=3), torch.rand(11, generator=torch.Generator().manual_seed(4))
    yield from loss("sigmoid_squared", lambda x, r: 0.5 * F.mse_loss(torch.sigmoid(x), t, reduction=r), {}, x,
                    targets=t)


def binary_losses():
    rows, cols = 4, 3
    x, t = 3 * randn(rows, cols, seed=1), torch.rand(rows, cols, generator=torch.Generator().manual_seed(2))
    t[0] = torch.tensor([0.0, 1.0, 0.5])
    pos = torch.tensor([0.5, 1.0, 4.0])
    f = F.binary_cross_entropy_with_logits
    yield from loss("bce_with_logits", lambda x, r: f(x, t, reduction=r), {}, x, targets=t)
    yield from loss("bce_with_logits", lambda x, r: f(x, t, pos_weight=pos, reduction=r), {}, x, targets=t,
                    pos_weight=pos)
    for a, b in ((1000.0, 0.0), (1000.0, 1.0), (-1000.0, 0.0), (-1000.0, 1.0), (0.0, 0.5), (INF, 0.0), (INF, 1.0),
                 (-INF, 0.0), (-INF, 1.0), (NAN, 1.0)):
        x, t = torch.tensor([[a]]), torch.tensor([[b]])
        yield from loss("bce_with_logits", lambda x, r: f(x, t, reduction=r), {}, x, True, targets=t)
    x, t = torch.sigmoid(randn(rows, cols, seed=3)), torch.rand(rows, cols, generator=torch.Generator().manual_seed(4))
    yield from loss("bce", lambda x, r: F.binary_cross_entropy(x, t, reduction=r), {}, x, targets=t)
    for a, b in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5), (1e-300, 1.0), (1.0, 0.25)):
        x, t = torch.tensor([[a]]), torch.tensor([[b]])
        yield from loss("bce", lambda x, r: F.binary_cross_entropy(x, t, reduction=r), {}, x, True, targets=t)


def kl_divergences():
    x, t = F.log_softmax(randn(4, 5, seed=1), dim=1), F.softmax(randn(4, 5, seed=2), dim=1)
    t[0] = torch.tensor([0.0, 0.5, 0.5, 0.0, 0.0])
    for log_target in (False, True):
        # A log target of −∞ is exp(−∞)·(−∞) = NaN in PyTorch: a special case of its own.
        targets = F.log_softmax(randn(4, 5, seed=2), dim=1) if log_target else t
        yield from loss("kl_div", lambda x, r: F.kl_div(x, targets, log_target=log_target, reduction=r),
                        dict(log_target=log_target, reductions=("mean", "sum", "batchmean")), x, targets=targets)
    targets = torch.tensor([[-INF, 0.0]])
    yield from loss("kl_div", lambda x, r: F.kl_div(x, targets, log_target=True, reduction=r),
                    dict(log_target=True, reductions=("sum",)), torch.tensor([[-1.0, -2.0]]), True, targets=targets)
    targets = torch.tensor([[0.0, 1.0]])
    yield from loss("kl_div", lambda x, r: F.kl_div(x, targets, reduction=r),
                    dict(log_target=False, reductions=("sum",)), torch.tensor([[-INF, 0.0]]), True, targets=targets)


# ----------------------------------------------------------------------------------------------------- linear
def linears():
    for batch, inputs, outputs in ((1, 1, 1), (3, 5, 4), (1, 9, 17), (5, 19, 7), (2, 33, 18)):
        x, weight, bias = (randn(*s, seed=i).requires_grad_() for i, s in
                           enumerate(((batch, inputs), (outputs, inputs), (outputs,))))
        dy = randn(batch, outputs, seed=3)
        y = F.linear(x, weight, bias)
        dx, dweight, dbias = torch.autograd.grad(y, (x, weight, bias), dy)
        yield case("linear", dict(batch=batch, inputs=inputs, outputs=outputs),
                   dict(x=x, weight=weight, bias=bias, dy=dy), dict(y=y, y_without_bias=F.linear(x, weight)),
                   dict(dx=dx, dweight=dweight, dbias=dbias))


# ------------------------------------------------------------------------------------------------------- norm
def batch_norms():
    for size in ((4, 3), (2, 5, 7), (3, 2, 4, 5), (9, 20)):
        for momentum in (0.1, None):
            outer, channels = size[:2]
            inner = torch.Size(size[2:]).numel()
            norm = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}[len(size)](
                channels, eps=1e-3, momentum=momentum)
            norm.weight.data, norm.bias.data = randn(channels, seed=1), randn(channels, seed=2)
            xs = [2 * randn(*size, seed=10 + step) + 1 for step in range(3)]
            dy, residual = randn(*size, seed=3), randn(*size, seed=4)
            for step in range(2):
                norm(xs[step])
            x = xs[2].clone().requires_grad_()
            y = norm(x)
            dx, dgamma, dbeta = torch.autograd.grad(y, (x, norm.weight, norm.bias), dy)
            outputs = dict(y=y, running_mean=norm.running_mean, running_variance=norm.running_var)
            gradients = dict(dx=dx, dgamma=dgamma, dbeta=dbeta)
            # The activations fused behind the norm and an addition, with running statistics left alone.
            for name, f in (("relu", F.relu), ("tanh", torch.tanh), ("gelu", F.gelu)):
                x, r = xs[2].clone().requires_grad_(), residual.clone().requires_grad_()
                fused = f(F.batch_norm(x, None, None, norm.weight, norm.bias, True, 0.0, 1e-3) + r)
                results = torch.autograd.grad(fused, (x, r, norm.weight, norm.bias), dy)
                outputs[f"y_{name}"] = fused
                gradients.update(zip((f"{g}_{name}" for g in ("dx", "dresidual", "dgamma", "dbeta")), results))
            norm.eval()
            x = xs[2].clone().requires_grad_()
            y = norm(x)
            frozen = torch.autograd.grad(y, (x, norm.weight, norm.bias), dy)
            outputs["y_eval"] = y
            gradients.update(zip(("dx_eval", "dgamma_eval", "dbeta_eval"), frozen))
            yield case("batch_norm", dict(outer=outer, channels=channels, inner=inner, eps=1e-3,
                                          cumulative=momentum is None),
                       dict(xs=xs, dy=dy, residual=residual, gamma=norm.weight, beta=norm.bias), outputs, gradients)


# ------------------------------------------------------------------------------------------------------- clip
def clipped(grads, call):
    parameters = [torch.nn.Parameter(torch.zeros_like(g)) for g in grads]
    for p, g in zip(parameters, grads):
        p.grad = g.clone()
    result = call(parameters)
    return result, [p.grad for p in parameters]


def clips():
    ordinary = [randn(n, seed=n) for n in (1, 7, 19, 4)]
    lists = [(ordinary, False), ([randn(5, seed=9)], False), ([torch.zeros(3), torch.zeros(2)], True), ([], True),
             ([torch.tensor([3e200, 4e200]), torch.ones(1)], True),
             ([torch.tensor([1.0, INF]), torch.ones(2)], True), ([torch.ones(2), torch.tensor([NAN, 1.0])], True)]
    for grads, special in lists:
        for p, limits in ((1.0, (0.5, 100.0, 0.0)), (2.0, (0.5, 100.0, 0.0)), (INF, (0.5, 100.0, 0.0)),
                          (0.5, (0.5, 1e4)), (3.0, (0.5, 100.0))):
            for max_norm in limits:
                norm, after = clipped(grads, lambda ps: torch.nn.utils.clip_grad_norm_(ps, max_norm, norm_type=p))
                yield case("clip_norm", dict(max_norm=max_norm, p=p, torch_eps=1e-6), dict(grads=grads),
                           dict(norm=norm.double(), grads=after), special=special)
    for p in (0.5, 2.0, 3.0):
        pairs = [clipped([grad], lambda ps: torch.nn.utils.clip_grad_norm_(ps, 2.0, norm_type=p)) for grad in ordinary]
        yield case("clip_each", dict(max_norm=2.0, p=p, torch_eps=1e-6), dict(grads=ordinary),
                   dict(norm=max(norm for norm, _ in pairs), grads=[after[0] for _, after in pairs]))
    special = [torch.tensor([INF, -INF, NAN, 0.0, -0.0, 0.5, -0.5])]
    for grads, is_special in ((ordinary, False), (special, True)):
        for limit in (0.5, 0.0, INF):
            _, after = clipped(grads, lambda ps: torch.nn.utils.clip_grad_value_(ps, limit))
            yield case("clip_value", dict(limit=limit), dict(grads=grads), dict(grads=after), special=is_special)


# ------------------------------------------------------------------------------------------------------ optim
def long_gradient(step, n):
    """The gradient of a step: binary fractions, so that f32 holds them; `tests/golden/optim.rs` computes the same."""
    return torch.tensor([((37 * step + 101 * i) % 97 - 40) / 64 for i in range(n)])


# ---------------------------------------------------------------------------------------------------- row norms
def row_norm(op, f, parameters, x, gamma, beta, dy, special=False):
    given = {k: v.clone().requires_grad_() for k, v in dict(x=x, gamma=gamma, beta=beta).items() if v is not None}
    y = f(given["x"], given.get("gamma"), given.get("beta"))
    gradients = torch.autograd.grad(y, list(given.values()), dy)
    return case(op, parameters, dict(given, dy=dy), dict(y=y), {"d" + k: g for k, g in zip(given, gradients)}, special)


def layer_norms():
    for rows, cols, eps in ((1, 2, 1e-5), (3, 5, 1e-5), (6, 19, 0.25), (2, 33, 0.0)):
        x, dy = 2 * randn(rows, cols, seed=1) + 0.5, randn(rows, cols, seed=2)
        gamma, beta = randn(cols, seed=3), randn(cols, seed=4)
        sizes = dict(rows=rows, cols=cols, eps=eps)
        for g, b in ((None, None), (gamma, None), (gamma, beta)):
            yield row_norm("layer_norm", lambda x, g, b: F.layer_norm(x, (cols,), g, b, eps), sizes, x, g, b, dy)
        for g in (None, gamma):
            yield row_norm("rms_norm", lambda x, g, _: F.rms_norm(x, (cols,), g, eps), sizes, x, g, None, dy)
    for outer, channels, inner, groups in ((3, 6, 5, 3), (2, 8, 1, 2), (1, 4, 33, 1), (3, 3, 7, 3)):
        x, dy = 2 * randn(outer, channels, inner, seed=6) + 0.5, randn(outer, channels, inner, seed=7)
        gamma, beta = randn(channels, seed=8), randn(channels, seed=9)
        sizes = dict(outer=outer, channels=channels, inner=inner, eps=1e-3)
        for g, b in ((None, None), (gamma, None), (gamma, beta)):
            of_groups = lambda x, g, b: F.group_norm(x, groups, g, b, 1e-3)
            yield row_norm("group_norm", of_groups, dict(sizes, groups=groups), x, g, b, dy)
            if inner > 1:
                of_channels = lambda x, g, b: F.instance_norm(x, weight=g, bias=b, eps=1e-3)
                yield row_norm("instance_norm", of_channels, sizes, x, g, b, dy)
    x = (1e6 + 0.1 * randn(2, 64, seed=5)).float().double()
    _, mean, rstd = torch.native_layer_norm(x, (64,), None, None, 0.0)
    yield case("layer_norm_far", dict(rows=2, cols=64, eps=0.0), dict(x=x), dict(mean=mean, rstd=rstd), special=True)


# ------------------------------------------------------------------------------------------------ weight norms
def weight_norms():
    """The parametrizations of a dense layer's weights, with one access a step."""
    parametrize = torch.nn.utils.parametrizations
    for rows, cols in ((1, 1), (3, 5), (6, 19), (2, 40)):
        weights, dw = randn(rows, cols, seed=1), randn(rows, cols, seed=2)
        gain = randn(rows, 1, seed=3)
        sizes = dict(rows=rows, cols=cols)

        layer = parametrize.weight_norm(torch.nn.Linear(cols, rows, bias=False), dim=0)
        learned = layer.parametrizations.weight
        learned.original0.data, learned.original1.data = gain.clone(), weights.clone()
        w = layer.weight
        dgain, dv = torch.autograd.grad(w, (learned.original0, learned.original1), dw)
        yield case("weight_norm", sizes, dict(v=weights, gain=gain, dw=dw), dict(w=w), dict(dv=dv, dgain=dgain))

        v, g = weights.clone().requires_grad_(), gain.clone().requires_grad_()
        variance, mean = torch.var_mean(v, dim=1, correction=0, keepdim=True)
        w = g * (v - mean) * (variance + 1e-3).rsqrt()
        dv, dgain = torch.autograd.grad(w, (v, g), dw)
        yield case("weight_standardization", dict(sizes, eps=1e-3), dict(v=weights, gain=gain, dw=dw), dict(w=w),
                   dict(dv=dv, dgain=dgain))

        for iterations in (1, 4):
            layer = torch.nn.Linear(cols, rows, bias=False)
            layer = parametrize.spectral_norm(layer, n_power_iterations=iterations, eps=1e-12)
            learned = layer.parametrizations.weight
            learned.original.data = weights.clone()
            state = learned[0]
            u, v = F.normalize(randn(rows, seed=4), dim=0), F.normalize(randn(cols, seed=5), dim=0)
            state._u.copy_(u), state._v.copy_(v)
            w = layer.weight
            dweights, = torch.autograd.grad(w, learned.original, dw)
            sigma = torch.vdot(state._u, weights @ state._v)
            layer.eval()
            assert torch.equal(layer.weight, w)
            yield case("spectral_norm", dict(sizes, iterations=iterations, eps=1e-12),
                       dict(weights=weights, u=u, v=v, dw=dw),
                       dict(w=w, u_after=state._u, v_after=state._v, sigma=sigma), dict(dweights=dweights))


def optimizer(op, make, given, state=(), max_norm=None):
    """Weights after 1, 10 and 1000 steps, and the state after the last."""
    n, after = 11, []
    weight = torch.nn.Parameter(randn(n, seed=1))
    start, opt = weight.detach().clone(), make([weight], **given)
    for step in range(1, 1001):
        weight.grad = long_gradient(step, n)
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_([weight], max_norm)
        opt.step()
        if step in (1, 10, 1000):
            after.append(weight.detach().clone())
    parameters = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
    clip = {} if max_norm is None else dict(max_norm=max_norm, torch_eps=1e-6)
    last = {name: opt.state[weight][key] for name, key in state}
    return case(op, parameters | clip, dict(weights=start), dict(weights=after, **last))


def optimizers():
    O = torch.optim
    no = dict(weight_decay=0.0)
    buffer, moments = [("buffer", "momentum_buffer")], [("first", "exp_avg"), ("second", "exp_avg_sq")]
    base = dict(lr=0.01, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0)
    for given in (dict(), dict(momentum=0.9), dict(momentum=0.9, dampening=0.3), dict(momentum=0.9, nesterov=True),
                  dict(weight_decay=0.1), dict(momentum=0.9, weight_decay=0.1),
                  dict(momentum=0.5, dampening=0.5, weight_decay=0.01),
                  dict(momentum=0.9, nesterov=True, weight_decay=0.1)):
        yield optimizer("sgd", O.SGD, base | given, buffer if "momentum" in given else ())
    yield optimizer("sgd", O.SGD, base | dict(momentum=0.9), buffer, max_norm=0.5)

    base = dict(lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False)
    largest = [*moments, ("max_second", "max_exp_avg_sq")]
    for amsgrad in (False, True):
        state = largest if amsgrad else moments
        for given in (dict(), dict(betas=(0.8, 0.95), eps=1e-3), dict(weight_decay=0.1)):
            yield optimizer("adam", O.Adam, base | given | dict(amsgrad=amsgrad), state)
        yield optimizer("adam", O.Adam, base | dict(weight_decay=0.1, amsgrad=amsgrad), state, max_norm=0.5)
        yield optimizer("adamw", O.AdamW, base | dict(weight_decay=0.1, amsgrad=amsgrad), state)
        yield optimizer("adamw", O.AdamW, base | dict(weight_decay=0.1, amsgrad=amsgrad), state, max_norm=0.5)

    base = dict(lr=0.01, betas=(0.9, 0.999), eps=1e-8, decoupled_weight_decay=False)
    for given in (no, dict(weight_decay=0.1), dict(weight_decay=0.1, decoupled_weight_decay=True)):
        yield optimizer("nadam", O.NAdam, base | given | dict(momentum_decay=4e-3), moments)
        yield optimizer("radam", O.RAdam, base | given, moments)
        if given["weight_decay"]:
            yield optimizer("nadam", O.NAdam, base | given | dict(momentum_decay=4e-3), moments, max_norm=0.5)
            yield optimizer("radam", O.RAdam, base | given, moments, max_norm=0.5)
    yield optimizer("nadam", O.NAdam, base | no | dict(betas=(0.5, 0.99), momentum_decay=0.1), moments, max_norm=0.5)
    yield optimizer("radam", O.RAdam, base | no | dict(betas=(0.5, 0.99)), moments, max_norm=0.5)

    for centered in (False, True):
        for momentum in (0.0, 0.9):
            state = [("square", "square_avg")] + [("mean", "grad_avg")] * centered + buffer * (momentum > 0)
            given = dict(lr=0.001, alpha=0.99, eps=1e-8, centered=centered, momentum=momentum)
            yield optimizer("rms_prop", O.RMSprop, given | no, state)
            yield optimizer("rms_prop", O.RMSprop, given | dict(weight_decay=0.1), state, max_norm=0.5)
    for lr_decay in (0.0, 0.01):
        for decay in (0.0, 0.1):
            given = dict(lr=0.01, lr_decay=lr_decay, eps=1e-10, weight_decay=decay)
            yield optimizer("adagrad", O.Adagrad, given, [("sum", "sum")], max_norm=0.5 if decay else None)
    for decay in (0.0, 0.1):
        given = dict(lr=1.0, rho=0.9, eps=1e-6, weight_decay=decay)
        state = [("square", "square_avg"), ("delta", "acc_delta")]
        yield optimizer("adadelta", O.Adadelta, given, state, max_norm=0.5 if decay else None)

    for decoupled in (False, True):
        for decay, max_norm in ((0.0, None), (0.1, None), (0.1, 0.5)):
            # A binary fraction: a thousand equal steps add up what f32 rounds of any other.
            given = dict(lr=1 / 1024, betas=(0.9, 0.99), weight_decay=decay, decoupled_weight_decay=decoupled)
            yield optimizer("lion", Lion, given, [("mean", "mean")], max_norm)
    for decay, max_norm in ((0.0, None), (0.1, None), (0.1, 0.5)):
        given = dict(lr=1.0, momentum=0.9, trust=0.001, weight_decay=decay)
        yield optimizer("lars", Lars, given, [("velocity", "velocity")], max_norm)
        given = dict(lr=0.01, betas=(0.9, 0.999), eps=1e-6, weight_decay=decay)
        yield optimizer("lamb", Lamb, given, [("first", "first"), ("second", "second")], max_norm)


# Optimizers that PyTorch lacks, as their papers write them.
class Paper(torch.optim.Optimizer):
    """One tensor; `steps` counts from 1, and every state begins with zeros."""
    def __init__(self, params, **given):
        super().__init__(params, given)
        self.steps = 0

    @torch.no_grad()
    def step(self):
        self.steps += 1
        (group,) = self.param_groups
        (weight,) = group["params"]
        state = self.state[weight]
        for name in self.names:
            state.setdefault(name, torch.zeros_like(weight))
        self.update(weight, weight.grad, state, group)


class Lion(Paper):
    """Chen et al. 2023, algorithm 2; coupled decay as PyTorch's SGD has it."""
    names = ["mean"]

    def update(self, weight, g, state, given):
        (beta1, beta2), lr, decay, m = given["betas"], given["lr"], given["weight_decay"], state["mean"]
        if not given["decoupled_weight_decay"]:
            g, decay = g + decay * weight, 0.0
        direction = torch.sign(beta1 * m + (1 - beta1) * g)
        weight -= lr * (direction + decay * weight)
        m.copy_(beta2 * m + (1 - beta2) * g)


class Lars(Paper):
    """You, Gitman & Ginsburg 2017, algorithm 1."""
    names = ["velocity"]

    def update(self, weight, g, state, given):
        decay, velocity = given["weight_decay"], state["velocity"]
        local = given["trust"] * weight.norm() / (g.norm() + decay * weight.norm())
        velocity.copy_(given["momentum"] * velocity + given["lr"] * local * (g + decay * weight))
        weight -= velocity


class Lamb(Paper):
    """You et al. 2020, algorithm 2, where φ is the identity."""
    names = ["first", "second"]

    def update(self, weight, g, state, given):
        (beta1, beta2), m, v = given["betas"], state["first"], state["second"]
        m.copy_(beta1 * m + (1 - beta1) * g)
        v.copy_(beta2 * v + (1 - beta2) * g * g)
        r = (m / (1 - beta1**self.steps)) / (torch.sqrt(v / (1 - beta2**self.steps)) + given["eps"])
        update = r + given["weight_decay"] * weight
        weight -= given["lr"] * weight.norm() / update.norm() * update


# --------------------------------------------------------------------------------------------------- schedules
def rates(op, steps, make, parameters):
    """The learning rate of each step, where step 1 is before the first call of `scheduler.step`."""
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=parameters.get("lr", 1.0))
    scheduler, rates = make(opt), []
    for step in range(1, steps + 1):
        rates.append(float(opt.param_groups[0]["lr"]))
        if step < steps:
            opt.step()
            scheduler.step()
    return case(op, parameters, {}, dict(lr=rates))


def schedules():
    S = torch.optim.lr_scheduler
    yield rates("constant", 5, lambda opt: S.LambdaLR(opt, lambda _: 1.0), dict(lr=0.1))
    for start, end, steps in ((0.25, 1.0, 7), (1.0, 0.0, 10), (1 / 3, 1.0, 1)):
        yield rates("linear", 14, lambda opt: S.LinearLR(opt, start, end, steps),
                    dict(lr=0.1, start_factor=start, end_factor=end, steps=steps))
    for floor, steps in ((0.0, 12), (0.01, 5), (0.05, 1)):
        yield rates("cosine", 30, lambda opt: S.CosineAnnealingLR(opt, steps, floor), dict(lr=0.1, floor=floor, steps=steps))
    for gamma in (0.9, 1.0, 1.1):
        yield rates("exponential", 20, lambda opt: S.ExponentialLR(opt, gamma), dict(lr=0.1, gamma=gamma))
    for every in (1, 3, 30):
        yield rates("step_decay", 20, lambda opt: S.StepLR(opt, every, 0.5), dict(lr=0.1, gamma=0.5, every=every))
    for steps in (1, 2, 10, 33):
        for rise in (0.0, 0.3, 0.5, 1.0):
            for anneal in ("cos", "linear"):
                for three in (False, True):
                    given = dict(max_lr=0.5, steps=steps, rise=rise, div_factor=20.0, final_div_factor=100.0)
                    if steps * rise == 1.0:
                        continue  # PyTorch divides by zero.
                    make = lambda opt: S.OneCycleLR(opt, 0.5, steps, pct_start=rise, anneal_strategy=anneal,
                                                    cycle_momentum=False, div_factor=20.0, final_div_factor=100.0,
                                                    three_phase=three)
                    yield rates("one_cycle", steps, make, given | dict(anneal=anneal, three_phase=three))
    warm_up = lambda opt: S.SequentialLR(opt, [S.LinearLR(opt, 0.25, 1.0, 4), S.CosineAnnealingLR(opt, 10, 0.01)], [4])
    yield rates("warm_up_cosine", 14, warm_up,
                dict(lr=0.1, start_factor=0.25, end_factor=1.0, warm_up=4, floor=0.01, steps=10))

    metrics = [3.0, 2.0, 2.0, 1.99999, 2.5, 2.0, 1.5, NAN, 1.6, 1.5, 1.5, 1.4999, 0.0, 0.0, -1.0, -1.00001, -1.5, INF, 2.0,
               2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    for mode in ("min", "max"):
        for threshold_mode, threshold in (("rel", 1e-3), ("abs", 0.05), ("rel", 0.0)):
            for patience, cooldown in ((0, 0), (2, 0), (1, 3)):
                given = dict(lr=1.0, factor=0.25, threshold=threshold, min_lr=0.01, eps=0.02)
                opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
                plateau = S.ReduceLROnPlateau(opt, mode, 0.25, patience, threshold, threshold_mode, cooldown, 0.01, 0.02)
                after = []
                for metric in metrics:
                    plateau.step(metric)
                    after.append(float(opt.param_groups[0]["lr"]))
                yield case("plateau", given | dict(mode=mode, threshold_mode=threshold_mode, patience=patience,
                                                   cooldown=cooldown), dict(metrics=metrics), dict(lr=after))


# ------------------------------------------------------------------------------------------------ recurrent layers
def recurrents():
    """One layer of each cell, both directions: outputs, final state and all gradients."""
    cells = [("lstm", torch.nn.LSTM, {}), ("gru", torch.nn.GRU, {}), ("rnn", torch.nn.RNN, dict(nonlinearity="tanh")),
             ("rnn", torch.nn.RNN, dict(nonlinearity="relu"))]
    names = ["input", "recurrent", "input_bias", "recurrent_bias"]
    for seed, (op, module, given) in enumerate(cells):
        for bias in (True, False):
            steps, batch, inputs, hidden = 3, 2, 3, 4
            torch.manual_seed(seed)
            both = module(inputs, hidden, bias=bias, bidirectional=True, **given)
            x = randn(steps, batch, inputs, seed=seed + 1).requires_grad_()
            initial = [randn(2, batch, hidden, seed=seed + 2 + i).requires_grad_() for i in range(2 if op == "lstm" else 1)]
            y, final = both(x, tuple(initial) if op == "lstm" else initial[0])
            final = list(final) if op == "lstm" else [final]
            dy, dfinal = randn(*y.shape, seed=seed + 5), [randn(*f.shape, seed=seed + 6 + i) for i, f in enumerate(final)]
            torch.autograd.backward([y, *final], [dy, *dfinal])
            for direction, suffix in enumerate(("", "_reverse")):
                half = slice(direction * hidden, (direction + 1) * hidden)
                stems = ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * bias
                weights = {name: getattr(both, f"{stem}_l0{suffix}") for name, stem in zip(names, stems)}
                state = lambda tensors, of: {f"{of}{i}": t[direction] for i, t in enumerate(tensors)}
                parameters = dict(steps=steps, batch=batch, inputs=inputs, hidden=hidden, backward=bool(direction), bias=bias, **given)
                yield case(op, parameters,
                           dict(x=x, dy=dy[..., half], **weights, **state(initial, "state"), **state(dfinal, "dstate")),
                           dict(y=y[..., half], **state(final, "state")),
                           dict(**{name: weight.grad for name, weight in weights.items()},
                                **state([t.grad for t in initial], "dstate")))


def recurrent_stacks():
    """Layers in both directions, packed sequences and projections: outputs, final states and all gradients."""
    stacks = [("lstm", torch.nn.LSTM, 2, True, None, 0), ("gru", torch.nn.GRU, 2, True, None, 0),
              ("rnn", torch.nn.RNN, 3, False, None, 0), ("lstm", torch.nn.LSTM, 2, True, [2, 4, 1], 0),
              ("gru", torch.nn.GRU, 2, True, [3, 1, 4], 0), ("rnn", torch.nn.RNN, 1, True, [4, 1, 3], 0),
              ("lstm", torch.nn.LSTM, 2, True, None, 2), ("lstm", torch.nn.LSTM, 1, False, [3, 4, 2], 2)]
    for seed, (op, module, layers, both, lengths, projection) in enumerate(stacks):
        steps, batch, inputs, hidden = 4, 3, 2, 3
        outputs, halves = projection or hidden, 1 + both
        torch.manual_seed(seed)
        stack = module(inputs, hidden, layers, bidirectional=both, **(dict(proj_size=projection) if projection else {}))
        x = randn(steps, batch, inputs, seed=seed + 1).requires_grad_()
        widths = [outputs, hidden] if op == "lstm" else [hidden]
        initial = [randn(layers * halves, batch, w, seed=seed + 2 + i).requires_grad_() for i, w in enumerate(widths)]
        given = x
        if lengths:
            given = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
        y, final = stack(given, tuple(initial) if op == "lstm" else initial[0])
        if lengths:
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=steps)
        final = list(final) if op == "lstm" else [final]
        dy, dfinal = randn(*y.shape, seed=seed + 5), [randn(*f.shape, seed=seed + 6 + i) for i, f in enumerate(final)]
        torch.autograd.backward([y, *final], [dy, *dfinal])
        stems = dict(weight_ih="input", weight_hh="recurrent", bias_ih="input_bias", bias_hh="recurrent_bias",
                     weight_hr="projection")
        weights, gradients = {}, {}
        for name, weight in stack.named_parameters():
            stem, place = name.rsplit("_l", 1)
            at = int(place.split("_")[0]) * halves + ("reverse" in place)
            weights[f"{stems[stem]}{at}"], gradients[f"{stems[stem]}{at}"] = weight, weight.grad
        state = lambda tensors, of: {f"{of}{i}": t for i, t in enumerate(tensors)}
        yield case(f"{op}_stack", dict(steps=steps, batch=batch, inputs=inputs, hidden=hidden, layers=layers, both=both,
                                       projection=projection),
                   dict(x=x, dy=dy, **(dict(lengths=lengths) if lengths else {}), **weights, **state(initial, "state"),
                        **state(dfinal, "dstate")),
                   dict(y=y, **state(final, "state")),
                   dict(x=x.grad, **gradients, **state([t.grad for t in initial], "dstate")))


def layer_norm_lstms():
    """Layer-normalised LSTMs out of PyTorch's layer norm, as Ba, Kiros and Hinton have them, by its autograd."""
    def layer(x, h, c, w, eps, order):
        width, hidden, rows = len(w["input"]), h.shape[-1], [None] * len(x)
        of_input, of_recurrent, of_cell, cell_bias = w["norm"].split([width, width, hidden, hidden])
        for t in order:
            sums = (F.layer_norm(x[t] @ w["input"].T, (width,), of_input, w["input_bias"], eps)
                    + F.layer_norm(h @ w["recurrent"].T, (width,), of_recurrent, w["recurrent_bias"], eps))
            i, f, g, o = sums.chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            rows[t] = h = o.sigmoid() * F.layer_norm(c, (hidden,), of_cell, cell_bias, eps).tanh()
        return torch.stack(rows), h, c

    for seed, (layers, both, eps) in enumerate([(1, False, 1e-5), (2, True, 1e-5), (2, False, 1e-2)]):
        steps, batch, inputs, hidden, halves = 4, 3, 2, 5, 1 + both
        x = randn(steps, batch, inputs, seed=seed + 1).requires_grad_()
        initial = [randn(layers * halves, batch, hidden, seed=seed + 2 + i).requires_grad_() for i in range(2)]
        weights, finals, y = [], [], x
        for index in range(layers):
            lens = dict(input=(4 * hidden, y.shape[-1]), recurrent=(4 * hidden, hidden), input_bias=(4 * hidden,),
                        recurrent_bias=(4 * hidden,), norm=(10 * hidden,))
            outputs = []
            for half in range(halves):
                at = len(weights)
                weights.append({name: (0.5 * randn(*shape, seed=20 * at + 10 + i)).requires_grad_()
                                for i, (name, shape) in enumerate(lens.items())})
                order = range(steps - 1, -1, -1) if half else range(steps)
                out, *final = layer(y, initial[0][at], initial[1][at], weights[at], eps, order)
                outputs.append(out)
                finals.append(final)
            y = torch.cat(outputs, -1)
        final = [torch.stack(f) for f in zip(*finals)]
        dy, dfinal = randn(*y.shape, seed=seed + 5), [randn(*f.shape, seed=seed + 6 + i) for i, f in enumerate(final)]
        torch.autograd.backward([y, *final], [dy, *dfinal])
        all_of = lambda pick: {f"{name}{at}": pick(w) for at, each in enumerate(weights) for name, w in each.items()}
        state = lambda tensors, of: {f"{of}{i}": t for i, t in enumerate(tensors)}
        yield case("layer_norm_lstm_stack",
                   dict(steps=steps, batch=batch, inputs=inputs, hidden=hidden, layers=layers, both=both, projection=0, eps=eps),
                   dict(x=x, dy=dy, **all_of(lambda w: w), **state(initial, "state"), **state(dfinal, "dstate")),
                   dict(y=y, **state(final, "state")),
                   dict(x=x.grad, **all_of(lambda w: w.grad), **state([t.grad for t in initial], "dstate")))


# --------------------------------------------------------------------------------------------- regularize, residual
def regularizers():
    # Masks differ, so only what becomes of a kept and of a dropped element is PyTorch's.
    for op, f in (("dropout", F.dropout), ("alpha_dropout", F.alpha_dropout)):
        for p in (0.1, 0.5, 0.75):
            torch.manual_seed(0)
            x = torch.full((256,), 2.0).requires_grad_()
            y = f(x, p, True)
            (dx,) = torch.autograd.grad(y.sum(), x)
            kept, dropped = int(dx.argmax()), int(dx.argmin())
            assert dx[dropped] == 0 < dx[kept]
            yield case(op, dict(p=p), dict(x=x[:1]), dict(kept=y[kept], dropped=y[dropped]), dict(dkept=dx[kept]))
    for l1, l2 in ((0.5, 0.0), (0.0, 0.25), (0.5, 0.25)):
        w = torch.cat((randn(11, seed=1), torch.zeros(1))).requires_grad_()
        value = l1 * w.abs().sum() + 0.5 * l2 * (w * w).sum()
        (dw,) = torch.autograd.grad(value, w)
        yield case("elastic_net", dict(l1=l1, l2=l2), dict(w=w), dict(value=value), dict(dw=dw))
        threshold = 0.5 * l1
        if l1 > 0:
            yield case("proximal", dict(l1=l1, l2=l2, step=0.5), dict(w=w),
                       dict(next=F.softshrink(w, threshold) / (1 + 0.5 * l2)))
    for rows, cols in ((3, 5), (5, 3), (4, 4)):
        w = randn(rows, cols, seed=2).requires_grad_()
        value = 0.5 * w.norm(dim=1).sum()
        yield case("group_lasso", dict(rows=rows, cols=cols, value=0.5), dict(w=w), dict(value=value),
                   dict(dw=torch.autograd.grad(value, w)[0]))
        gram = w @ w.T if rows <= cols else w.T @ w
        value = 0.125 * (gram - torch.eye(len(gram))).square().sum()
        yield case("orthogonality", dict(rows=rows, cols=cols, value=0.125), dict(w=w), dict(value=value),
                   dict(dw=torch.autograd.grad(value, w)[0]))
        norm = w.norm(dim=1, keepdim=True)
        yield case("max_norm", dict(rows=rows, cols=cols, value=1.5), dict(w=w),
                   dict(next=torch.where(norm > 1.5, w * (1.5 / norm), w)))


def residuals():
    n = 19
    x, f, z, dy = (randn(n, seed=s) for s in range(4))
    for op, g in (("identity", lambda s: s), ("relu", F.relu), ("tanh", torch.tanh), ("gelu", F.gelu)):
        a, b = x.clone().requires_grad_(), f.clone().requires_grad_()
        y = g(a + b)
        yield case("add", dict(activation=op), dict(x=x, f=f, dy=dy), dict(y=y),
                   dict(dsum=torch.autograd.grad(y, a, dy)[0]))
    for outer, channels, inner in ((1, 1, 19), (4, 5, 1), (2, 3, 4)):
        shape = (outer, channels, inner)
        a, b, d = (randn(*shape, seed=s) for s in (4, 5, 6))
        b, scale = b.requires_grad_(), randn(channels, seed=7).requires_grad_()
        y = a + scale[None, :, None] * b
        df, dscale = torch.autograd.grad(y, (b, scale), d)
        yield case("scaled", dict(outer=outer, channels=channels, inner=inner),
                   dict(x=a, f=b, scale=scale, dy=d), dict(y=y), dict(df=df, dscale=dscale))
    inputs = [t.clone().requires_grad_() for t in (x, f, z)]
    t = torch.sigmoid(inputs[2])
    y = t * inputs[1] + (1 - t) * inputs[0]
    dx, dh, dz = torch.autograd.grad(y, inputs, dy)
    yield case("highway", {}, dict(x=x, h=f, z=z, dy=dy), dict(y=y), dict(dx=dx, dh=dh, dz=dz))


write("activation", activations())
write("loss", [*softmaxes(), *cross_entropies(), *pointwise_losses(), *binary_losses(), *kl_divergences()])
write("linear", linears())
write("norm", batch_norms())
write("clip", clips())
write("optim", optimizers())
write("schedule", schedules())
write("row_norm", layer_norms())
write("weight_norm", weight_norms())
write("recurrent", recurrents())
write("recurrent_stack", [*recurrent_stacks(), *layer_norm_lstms()])
write("regularize", regularizers())
write("residual", residuals())
