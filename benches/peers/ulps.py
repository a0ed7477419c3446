#!/usr/bin/env python3
"""Prints the largest errors of PyTorch's f32 gelu, tanh and sigmoid on [-9, 9], in units in the last place.

Needs torch and numpy. The exact values are PyTorch's own in f64, and erfc for gelu.
"""
import math

import numpy
import torch


def ulps(actual, exact):
    exponent = numpy.floor(numpy.log2(numpy.maximum(numpy.abs(exact), 2.0**-126)))
    return numpy.abs(actual.astype(numpy.float64) - exact) / 2.0 ** (exponent - 23)


torch.manual_seed(0)
x = torch.empty(400_000).uniform_(-9, 9)
wide = x.double()
for name, function, exact in (("gelu", torch.nn.functional.gelu, 0.5 * wide * torch.special.erfc(-wide / math.sqrt(2))),
                              ("tanh", torch.tanh, torch.tanh(wide)),
                              ("sigmoid", torch.sigmoid, torch.sigmoid(wide))):
    error = ulps(function(x).numpy(), exact.numpy())
    right = error[x.numpy() > -2].max()
    print(f"{name}: {error.max():.3g} ULP at {x[int(error.argmax())].item():.6g}; right of -2: {right:.3g} ULP")
