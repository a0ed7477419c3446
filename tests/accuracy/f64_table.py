#!/usr/bin/env python3
"""Writes f64_table.bin beside this file: correctly rounded values of the f64 functions, from mpmath at 200 bits.

    python3 tests/accuracy/f64_table.py [points per function] [output] [seed]

Per function, in the order of FUNCTIONS: the number of points as a little-endian u32, then 18 bytes a point: the bits
of x, the bits of f(x) rounded to nearest even, and (|f(x)| − |rounded|) in units in the last place · 2^16 as an i16.
"""

import math
import pathlib
import random
import struct
import sys

import mpmath
from mpmath import mp, mpf

mp.prec = 200
LN2 = math.log(2.0)
INF = math.inf
NAN = math.nan
LEAST = 5e-324
MOST = sys.float_info.max
NORMAL = sys.float_info.min


def halves(first, last, step=1):
    """Where the exponent of the reduction changes: odd multiples of ½ ln 2."""
    return [(k + 0.5) * LN2 for k in range(first, last, step)]


def phi(x):
    return mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi)


# name: (f, interval of interest, tail, thresholds of reductions and of the range, values at −∞ and +∞)
FUNCTIONS = {
    "exp": (mpmath.exp, (-5, 5), (-746, 710), halves(-1075, 1024, 97) + [709.782712893384, -708.3964185322641, -745.1332191019412], (0.0, INF)),
    "expm1": (mpmath.expm1, (-2, 2), (-45, 710), halves(-4, 4) + [-37.42994775023705, -40.0, 709.4361393, 709.782712893384], (-1.0, INF)),
    "ln": (mpmath.log, (0.3, 3), (0, 1e6), [m * 2.0**k for m in (2 / 3, 1.0, 4 / 3) for k in (-1040, -1022, -3, -2, -1, 0, 1, 2, 1000)], (NAN, INF)),
    "ln_1p": (mpmath.log1p, (-0.9999, 2), (0, 1e6), [-1.0, -0.5, -1 / 3, 1 / 3, 1.0, 5 / 3, 2.0**52, 2.0**53, 2.0**54], (NAN, INF)),
    "tanh": (mpmath.tanh, (-1.5, 1.5), (-20, 20), [h / 2 for h in halves(-5, 5)] + [19.061547465398498, 22.0, -22.0], (-1.0, 1.0)),
    "sigmoid": (lambda x: 1 / (1 + mpmath.exp(-x)), (-5, 5), (-746, 40), halves(-5, 5) + [36.7, -708.3964185322641, -745.1332191019412], (0.0, 1.0)),
    "softplus": (lambda x: mpmath.log1p(mpmath.exp(x)), (-3, 3), (-746, 40), halves(-5, 5) + [LN2, -LN2, 36.7, -708.3964185322641, -745.1332191019412], (0.0, INF)),
    "log_sigmoid": (lambda x: -mpmath.log1p(mpmath.exp(-x)), (-3, 3), (-40, 746), halves(-5, 5) + [LN2, -LN2, -36.7, 708.3964185322641, 745.1332191019412], (-INF, -0.0)),
    "erf": (mpmath.erf, (-1.5, 1.5), (-6.1, 6.1), [1.0, -1.0, 5.863584748755168, 5.93, 6.0], (-1.0, 1.0)),
    "erfc": (mpmath.erfc, (-1, 3), (0, 27.3), [-5.863584748755168, 8 / 3, 26.543258454250903, 27.22601711110837, 27.25], (2.0, 0.0)),
    "normal_cdf": (lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2, (-4, 2), (-38.7, 9), [-4.0, 8.292361075813595, -37.51937934714, -38.4854081355553, -38.6], (0.0, 1.0)),
    "normal_pdf": (phi, (-4, 4), (-38.7, 38.7), [4.0, -37.6, -38.5665, 38.5665, 38.6], (0.0, 0.0)),
}


def rounded(value):
    """The nearest f64 and |value| − |nearest| in its unit in the last place."""
    if value == 0:
        return 0.0, 0.0
    sign = -1.0 if value < 0 else 1.0
    mantissa, exponent = abs(value).man_exp
    unit = max(exponent + int(mantissa).bit_length() - 53, -1074)
    scaled = mpmath.ldexp(abs(value), -unit)
    integer = int(mpmath.nint(scaled))
    if integer.bit_length() + unit > 1024:
        return sign * INF, 0.0
    return sign * math.ldexp(integer, unit), float(scaled - integer)


def points(rng, count, interval, tail, thresholds):
    """Where a function is judged: a share for each way of going wrong."""
    for _ in range(count * 4 // 10):
        yield rng.uniform(*interval)
    for _ in range(count * 2 // 10):
        yield rng.uniform(*tail)
    for _ in range(count * 2 // 10):
        yield rng.choice(thresholds) * (1 + rng.choice((-1, 1)) * 2.0 ** rng.uniform(-52, -2))
    for _ in range(count // 10):
        yield rng.choice((-1, 1)) * 2.0 ** rng.uniform(-60, 1)
    for _ in range(count // 10):
        yield rng.choice((-1, 1)) * rng.uniform(1, 2) * 2.0 ** rng.randrange(-1074, 1024)


def special(name, f, x, limits):
    """f at ±∞, ±0 and NaN, and where it is exact, NaN or infinite."""
    if math.isnan(x):
        return NAN
    if math.isinf(x):
        return limits[x > 0]
    if x == 0 and name in ("expm1", "ln_1p", "tanh", "erf"):
        return x
    edge = {"ln": 0.0, "ln_1p": -1.0}.get(name, -INF)
    if x <= edge:
        return -INF if x == edge else NAN
    return None


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1650
    output = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else pathlib.Path(__file__).with_name("f64_table.bin")
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    specials = [0.0, -0.0, INF, -INF, NAN, LEAST, -LEAST, NORMAL, -NORMAL, NORMAL - LEAST, MOST, -MOST, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0]
    with output.open("wb") as table:
        for name, (f, interval, tail, thresholds, limits) in FUNCTIONS.items():
            xs = specials + thresholds + list(points(rng, count, interval, tail, thresholds))
            table.write(struct.pack("<I", len(xs)))
            for x in xs:
                y, excess = special(name, f, x, limits), 0.0
                if y is None:
                    y, excess = rounded(f(mpf(x)))
                table.write(struct.pack("<ddh", x, y, min(round(excess * 65536), 32767)))


if __name__ == "__main__":
    main()
