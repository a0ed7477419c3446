#!/usr/bin/env python3
"""Writes what scikit-learn's BernoulliRBM learns from the digits and computes, and PyTorch's gradients of autoencoders, to
pretrain.json beside this.

    pip install scikit-learn==1.9.1 torch==2.15.0 && python tests/golden/make_pretrain.py

The file has the form that make.py describes. A pseudo-likelihood is the sum over all pixels, of which scikit-learn's
score_samples draws one: the expectation of its score.
"""
import json
import pathlib

import numpy as np
import sklearn
import torch
import torch.nn.functional as F
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.neural_network import BernoulliRBM

HERE = pathlib.Path(__file__).parent
DIGITS = load_digits().data / 16.0


def text(value):
    if isinstance(value, torch.Tensor):
        return text(value.detach().numpy())
    if isinstance(value, np.ndarray):
        return text(value.reshape(-1).tolist())
    if isinstance(value, dict):
        return {k: text(v) for k, v in value.items()}
    if isinstance(value, list):
        return [text(v) for v in value]
    return repr(float(value)) if isinstance(value, float) else value


def case(op, parameters, inputs, outputs, gradients=None):
    return text(dict(op=op, special=False, parameters=parameters, inputs=inputs, outputs=outputs,
                     gradients=gradients or {}))


def pseudo_likelihood(rbm, x):
    energy, total = rbm._free_energy(x), 0.0
    for pixel in range(x.shape[1]):
        flipped = x.copy()
        flipped[:, pixel] = 1.0 - flipped[:, pixel]
        total = total + np.log(expit(rbm._free_energy(flipped) - energy))
    return total


def learning(hidden, batch, rate, epochs):
    runs = []
    for seed in range(3):
        rbm = BernoulliRBM(n_components=hidden, batch_size=batch, n_iter=epochs, learning_rate=rate, random_state=seed)
        runs.append(float(pseudo_likelihood(rbm.fit(DIGITS), DIGITS).mean()))
    return case("rbm_learning", dict(hidden=hidden, batch=batch, rate=rate, epochs=epochs), {},
                dict(pseudo_likelihood=runs))


def values():
    rbm = BernoulliRBM(n_components=20, batch_size=10, n_iter=3, learning_rate=0.1, random_state=0).fit(DIGITS)
    x = DIGITS[::300]
    inputs = dict(v=x, weights=rbm.components_, visible_bias=rbm.intercept_visible_,
                  hidden_bias=rbm.intercept_hidden_)
    outputs = dict(means=rbm.transform(x), energies=rbm._free_energy(x), pseudo_likelihood=pseudo_likelihood(rbm, x))
    return case("rbm_values", dict(batch=len(x), visible=64, hidden=20), inputs, outputs)


ACTIVATIONS = dict(sigmoid=torch.sigmoid, tanh=torch.tanh, relu=torch.relu, identity=lambda z: z)


def autoencoder(activation, output, tied, contraction):
    """`output` is `logits` for the cross-entropy, or the activation of the squared error."""
    batch, inputs, hidden = 5, 9, 7
    rng = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64) * 0.5
    x = torch.rand(batch, inputs, generator=rng, dtype=torch.float64)
    w, b, c, d = (t.requires_grad_() for t in (draw(hidden, inputs), draw(hidden), draw(inputs), draw(inputs, hidden)))
    encode = lambda row: ACTIVATIONS[activation](row @ w.T + b)
    y = encode(x) @ (w if tied else d.T) + c
    if output == "logits":
        error = F.binary_cross_entropy_with_logits(y, x, reduction="sum")
    else:
        error = ((ACTIVATIONS[output](y) - x) ** 2).sum()
    jacobians = [torch.autograd.functional.jacobian(encode, row, create_graph=True) for row in x]
    loss = (error + contraction * sum((jacobian ** 2).sum() for jacobian in jacobians)) / batch
    loss.backward()
    inputs_ = dict(x=x, weights=w, hidden_bias=b, output_bias=c) | ({} if tied else dict(decoder=d))
    gradients = dict(dweights=w.grad, dhidden_bias=b.grad, doutput_bias=c.grad) | ({} if tied else dict(ddecoder=d.grad))
    return case("autoencoder", dict(batch=batch, inputs=inputs, hidden=hidden, activation=activation, output=output,
                                    contraction=contraction), inputs_, dict(loss=loss.item()), gradients)


autoencoders = [autoencoder(*options) for options in [
    ("sigmoid", "logits", True, 0.0), ("sigmoid", "logits", False, 0.0), ("sigmoid", "logits", True, 0.3),
    ("sigmoid", "sigmoid", False, 0.3), ("tanh", "identity", True, 0.0), ("relu", "identity", False, 0.0)]]
cases = autoencoders + [values(), learning(256, 10, 0.01, 5), learning(256, 100, 0.01, 5), learning(64, 10, 0.1, 10)]
header = json.dumps(dict(sklearn=sklearn.__version__, torch=torch.__version__.split("+")[0], family="pretrain"))[:-1]
(HERE / "pretrain.json").write_text(f'{header}, "cases": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]}\n")
