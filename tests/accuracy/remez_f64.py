#!/usr/bin/env python3
"""Derives the polynomials of src/math/f64: weighted minimax by Remez' exchange, coefficients rounded to f64.

    python3 tests/accuracy/remez_f64.py [NAME ...]        needs mpmath; gmpy2 makes it faster

For each polynomial it prints the Rust constant, lowest power first, and the largest weighted error of the rounded
polynomial (but for the rounding of the first coefficient, where the code adds a LOW part).
"""

import sys

import mpmath
from mpmath import erf, erfc, exp, log, mp, mpf, sqrt

mp.prec = 220
HALF_LN_2 = log(2) / 2 * mpf("1.0001")  # what is reduced with a rounded log2(e) lies a little outside
# The weight is raised to these powers in turn, each fit starting where the last one ended: a weight that spans many
# orders of magnitude leads an exchange that starts from Chebyshev nodes astray.
GENTLY = [mpf(k) / 10 for k in range(1, 11)]


def exchange(f, low, high, powers, weight, nodes=None):
    """Coefficients of Σ c·xᵏ with the least max |weight·(f − Σ)| on [low, high], and the nodes that show it."""
    count, width = len(powers), high - low
    margin = width * mpf(2) ** -40  # the ends may be removable singularities
    chebyshev = lambda m: [(low + high) / 2 - (width / 2 - margin) * mpmath.cos(mpmath.pi * i / m) for i in range(m + 1)]
    nodes = nodes or chebyshev(count)
    # A node at an inner 0, where some weights vanish, would make the system singular.
    nodes = [x if low >= 0 or abs(x) > width / 1000 else width / (8 * count) for x in nodes]
    grid = [x if abs(x) > margin / 2 else margin for x in chebyshev(24 * (count + 1))]
    table = [(x, f(x), weight(x)) for x in grid]
    for _ in range(14):
        matrix, right = mpmath.matrix(count + 1, count + 1), mpmath.matrix(count + 1, 1)
        for row, x in enumerate(nodes):
            for column, power in enumerate(powers):
                matrix[row, column] = weight(x) * x**power
            matrix[row, count] = (-1) ** row
            right[row] = weight(x) * f(x)
        solution = mpmath.lu_solve(matrix, right)
        coefficients, levelled = list(solution[:count]), abs(solution[count])
        errors = [w * (y - sum(c * x**k for c, k in zip(coefficients, powers))) for x, y, w in table]
        # The largest error of each run of one sign.
        extrema, best = [], 0
        for i in range(1, len(errors)):
            if errors[i] * errors[best] <= 0:
                extrema.append(best)
                best = i
            elif abs(errors[i]) > abs(errors[best]):
                best = i
        extrema.append(best)
        size = lambda i: abs(errors[extrema[i]])
        while len(extrema) > count + 1:
            if len(extrema) == count + 2:
                extrema.pop(0 if size(0) < size(-1) else -1)
            else:
                weakest = min(range(len(extrema) - 1), key=lambda i: max(size(i), size(i + 1)))
                del extrema[weakest : weakest + 2]
        if len(extrema) < count + 1:
            break
        nodes = [grid[i] for i in extrema]
        if max(map(abs, errors)) < levelled * mpf("1.02"):
            break
    return coefficients, nodes


def minimax(f, low, high, powers, weight, path=(mpf(1),)):
    nodes = None
    for power in path:
        coefficients, nodes = exchange(f, low, high, powers, lambda x: weight(x) ** power, nodes)
    return coefficients


def rounded(f, low, high, count, weight, path):
    """Minimax, then each coefficient rounded; the first are fitted around, where the powers that are left can."""
    low, high, done, powers = mpf(low), mpf(high), [], list(range(count))
    left = f
    coefficients = minimax(left, low, high, powers, weight, path)
    # Powers from x up are no Chebyshev system on an interval around 0.
    refitted = 2 * count // 5 if low >= 0 else 0
    for k in powers:
        c = coefficients[0] if k < refitted else coefficients[k - min(k, refitted)]
        done.append(float(c))
        left = (lambda left, c, k: lambda x: left(x) - c * x**k)(left, mpf(done[-1]), k)
        if k < refitted:
            coefficients = minimax(left, low, high, powers[k + 1 :], weight, path)
    return done, left


def artanh_beyond_linear(z):
    s = sqrt(z)
    return (2 * mpmath.atanh(s) - 2 * s) / (s * z)


def tail(scale, scaled_complement):
    """The function of t = 1 − 8 / (scale·x + 4) that `scaled_complement` in the Rust code evaluates."""

    def f(t):
        denominator = 8 / (1 - t)
        return denominator * scaled_complement((denominator - 4) / scale)

    return f


def end(scale, x):
    return 1 - 8 / (scale * mpf(x) + 4)


ERFC_SCALE, NORMAL_SCALE = mpf("1.9375"), mpf("1.40625")
ERFC = tail(ERFC_SCALE, lambda x: exp(x * x) * erfc(x))
NORMAL = tail(NORMAL_SCALE, lambda x: exp(x * x / 2) * erfc(x / sqrt(2)) / 2)
# name: (f, low, high, coefficients, weight, given first coefficient, whether a LOW part follows, path)
TABLE = {
    "EXP": (lambda r: (exp(r) - 1 - r - r * r / 2) / r**3, -HALF_LN_2, HALF_LN_2, 9, lambda r: abs(r) ** 3 / exp(r), [0.5], False, [1]),
    "LN": (artanh_beyond_linear, 0, mpf("0.04001"), 7, lambda z: z / (2 + z * artanh_beyond_linear(z)), [], False, [1]),
    "ERF_SMALL": (lambda z: erf(sqrt(z)) / sqrt(z) - 1, 0, 1, 12, lambda z: sqrt(z) / erf(sqrt(z)), [], False, [1]),
    "ERF_LARGE": (lambda x: log(erfc(x)), 1, mpf("5.93"), 18, lambda x: erfc(x) / erf(x), [], False, GENTLY),
    "ERFC": (ERFC, -1, end(ERFC_SCALE, "27.25"), 26, lambda t: 1 / ERFC(t), [], True, [1]),
    "NORMAL": (NORMAL, -1, end(NORMAL_SCALE, "38.6"), 26, lambda t: 1 / NORMAL(t), [], True, [1]),
}


def main():
    for name in sys.argv[1:] or TABLE:
        f, low, high, count, weight, given, has_low, path = TABLE[name]
        coefficients, left = rounded(f, low, high, count, weight, path)
        lost = left(mpf(0)) if has_low else mpf(0)
        points = [low + (high - low) * (i + mpf("0.37")) / 1000 for i in range(1000)]
        error = max(abs(weight(x) * (left(x) - lost)) for x in points)
        print(f"/// Weighted error 2^{float(log(error, 2)):.1f}.")
        print(f"const {name}: [f64; {count + len(given)}] = [")
        for c in given + coefficients:
            print(f"    {c!r},")
        print("];")
        if has_low:
            print(f"const {name}_LOW: f64 = {float(lost)!r};")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
