#!/usr/bin/env python3
"""Derives every polynomial of src/math: weighted minimax (Remez), coefficients rounded one at a time.

    python3 tests/accuracy/remez.py [NAME ...]        needs mpmath; gmpy2 makes it faster

For each polynomial of TABLE it prints the Rust constant, lowest power first, with the largest weighted error of the
rounded polynomial. After a coefficient is rounded, the ones that follow are fitted again to what remains, so that the
rounding of the first ones costs nothing.
"""

import sys

import mpmath
from mpmath import mp, mpf

mp.prec = 120


def solve(table, powers):
    """Coefficients with the least max |w·(y − Σ c·xᵏ)| over the points (x, y, w) of a dense grid; and that maximum."""
    count = len(powers)
    if count == 0:
        return [], max(abs(w * y) for _, y, w in table)
    # Errors alternate in sign only over functions without a common zero: a lowest power is divided out first.
    lowest = powers[0]
    table = [(x, y / x**lowest, abs(w * x**lowest)) for x, y, w in table]
    powers = [k - lowest for k in powers]
    monomials = [[x**k for k in powers] for x, _, _ in table]
    last = len(table) - 1
    # Chebyshev nodes: the grid itself is dense at its ends.
    nodes = [last * i // count for i in range(count + 1)]
    answer = None
    for _ in range(20):
        matrix, right = mpmath.matrix(count + 1, count + 1), mpmath.matrix(count + 1, 1)
        for row, node in enumerate(nodes):
            _, y, w = table[node]
            for column in range(count):
                matrix[row, column] = w * monomials[node][column]
            matrix[row, count] = (-1) ** row
            right[row] = w * y
        solution = mpmath.lu_solve(matrix, right)
        coefficients, levelled = [solution[i] for i in range(count)], abs(solution[count])
        errors = [
            w * (y - sum(c * m for c, m in zip(coefficients, row))) for (_, y, w), row in zip(table, monomials)
        ]
        # The largest error of each run of one sign.
        extrema, best = [], 0
        for i in range(1, len(errors)):
            if errors[i] * errors[best] < 0:
                extrema.append(best)
                best = i
            elif abs(errors[i]) > abs(errors[best]):
                best = i
        extrema.append(best)
        while len(extrema) > count + 1:
            if len(extrema) == count + 2:
                extrema.pop(0 if abs(errors[extrema[0]]) < abs(errors[extrema[-1]]) else -1)
            else:
                weakest = min(
                    range(len(extrema) - 1),
                    key=lambda i: max(abs(errors[extrema[i]]), abs(errors[extrema[i + 1]])),
                )
                del extrema[weakest : weakest + 2]
        largest = max(abs(e) for e in errors)
        # The exchange may leave the optimum again, where rounding has fixed the error at a common zero.
        if answer is None or largest < answer[1]:
            answer = coefficients, largest
        if len(extrema) < count + 1 or largest < levelled * mpf("1.03"):
            break
        nodes = extrema
    return answer


def rounded_to(value, bits):
    """The nearest number with `bits` bits of mantissa."""
    if value == 0:
        return mpf(0)
    with mp.workprec(bits):
        return +mpf(value)


def minimax(f, interval, powers, weight=lambda x: 1, bits=53, density=30):
    """Rounded coefficients of Σ c·xᵏ ≈ f on the interval and the largest |weight·error|.

    `bits` is 24, 53, or None for no rounding.
    """
    low, high = mpf(interval[0]), mpf(interval[1])
    points = density * (len(powers) + 2)
    grid = [(low + high) / 2 - (high - low) / 2 * mpmath.cos(mpmath.pi * (i + mpf(1) / 2) / points) for i in range(points)]
    table = []
    for x in grid:
        y = f(x)
        table.append((x, y, abs(weight(x))))
    powers, done = list(powers), []
    coefficients, error = solve(table, powers)
    if bits is None:
        return coefficients, error
    while powers:
        c = rounded_to(coefficients[0], bits)
        done.append(c)
        table = [(x, y - c * x ** powers[0], w) for x, y, w in table]
        powers.pop(0)
        coefficients, error = solve(table, powers)
    return done, error


def literal(value, bits):
    """The shortest decimal that reads back as the same f32 or f64, with digits grouped as clippy wants."""
    value = mpf(value)
    for digits in range(1, 20):
        text = mpmath.nstr(value, digits, strip_zeros=True)
        if rounded_to(mpf(text), bits) == value:
            break
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "_".join(fraction[i : i + 3] for i in range(0, len(fraction), 3)) or "0"
    return f"{whole}.{fraction}" + (f"e{int(exponent)}" if exponent else "")


def emit(name, bits, coefficients, error):
    print(f"/// Weighted error 2^{float(mpmath.log(error, 2)):.1f}.")
    print(f"const {name}: [f{'32' if bits == 24 else '64'}; {len(coefficients)}] =")
    print("    [" + ", ".join(literal(rounded_to(c, bits), bits) for c in coefficients) + "];")
    sys.stdout.flush()


LN_2 = mpmath.log(2)
# Rounding of the quotient lets the reduced argument pass ½ ln 2 by a little.
HALF_LN_2 = LN_2 / 2 * mpf("1.0003")


def root(f):
    """f(√z): for polynomials in the square of their variable."""
    return lambda z: f(mpmath.sqrt(z))


def normal_tail(a):
    """e^(a²/2) · Φ(−a)"""
    return mpmath.erfc(a / mpmath.sqrt(2)) / 2 * mpmath.exp(a * a / 2)


def erfc_tail(a):
    """e^(a²) · erfc(a)"""
    return mpmath.erfc(a) * mpmath.exp(a * a)


def gelu_gradient(a):
    """e^(a²/2) · (Φ(−a) − a·φ(a))"""
    return normal_tail(a) - a / mpmath.sqrt(2 * mpmath.pi)


# name: (f, interval, powers, weight); the weight "relative" is 1/f.
F32 = {
    "EXP": (lambda r: (mpmath.expm1(r) - r) / r**2, (-HALF_LN_2, HALF_LN_2), range(5), lambda r: r**2 / mpmath.exp(r)),
    "POWER": (lambda f: mpf(2) ** f, (-0.5, 0.5), range(7), "relative"),
    "TANH": (
        root(lambda x: (mpmath.tanh(x) / x - 1) / x**2),
        (0, mpf("0.3025")),
        range(5),
        root(lambda x: x**3 / mpmath.tanh(x)),
    ),
    "LN": (
        lambda f: (mpmath.log1p(f) - f + f * f / 2) / f**3,
        (-mpf(1) / 3, mpf(1) / 3),
        range(8),
        lambda f: f**3 / mpmath.log1p(f),
    ),
    "LN_1P_UNIT": (
        lambda t: (mpmath.log1p(t) - t + t * t / 2) / t**3,
        (0, 1),
        range(9),
        lambda t: t**3 / mpmath.log1p(t),
    ),
    "ERF": (
        root(lambda x: mpmath.erf(x) / x - 1),
        (0, mpf("1.21")),
        range(7),
        root(lambda x: x / mpmath.erf(x)),
    ),
    "ERFC_MIDDLE": (
        lambda t: mpmath.erfc(t + mpf("2.5")),
        (mpf("-1.4"), mpf("1.43")),
        range(14),
        lambda t: 1,
    ),
}


# src/math/f32/pieces.rs: eight polynomials of degree 7 each. name: (f, end, rate, the magnitude that errors are relative to at least).
PIECES = {
    "ERFC": (erfc_tail, mpf("10.25"), 1, 0),
    "NORMAL": (normal_tail, mpf("14.5"), mpf("0.5"), 0),
    "GELU_GRADIENT": (gelu_gradient, mpf("14.5"), mpf("0.5"), mpf("0.1")),
}
# OCTAVES of src/math/f32/erf.rs.
OCTAVES = mpf("2.5"), mpf("4.84")
DEGREE = 7


def piece(f, low, high, floor):
    """A center about the middle whose f(center) is nearly a number of 24 bits, the coefficients about it, and the error."""
    middle, width = (low + high) / 2, high - low
    centers = [rounded_to(middle + width * mpf(step) / 4096, 13) for step in range(-60, 61)]
    center = min(centers, key=lambda c: abs(rounded_to(f(c), 24) / f(c) - 1))
    # Neighbours overlap, for a level without FMA rounds the octave in another way.
    slack = width / 2**18
    interval = max(low - slack, 0) - center, high + slack - center
    weight = lambda t: 1 / max(abs(f(center + t)), floor)
    return center, *minimax(lambda t: f(center + t), interval, range(DEGREE + 1), weight, 24, density=12)


def emit_pieces(name, f, end, rate, floor):
    knots = [mpmath.sqrt((mpf(2) ** (i + 1) - OCTAVES[0]) / (OCTAVES[1] * rate)) for i in range(1, 8)]
    pieces = [piece(f, low, high, floor) for low, high in zip([mpf(0)] + knots, knots + [end])]
    row = lambda values: "[" + ", ".join(literal(value, 24) for value in values) + "]"
    print(f"/// Weighted error 2^{float(mpmath.log(max(error for *_, error in pieces), 2)):.1f}.")
    print(f"const {name}: Pieces = Pieces {{\n    centers: {row(center for center, *_ in pieces)},\n    coefficients: [")
    for k in range(DEGREE + 1):
        print(f"        {row(coefficients[k] for _, coefficients, _ in pieces)},")
    print("    ],\n};", flush=True)


def main():
    names = sys.argv[1:]
    for name, of in PIECES.items():
        if not names or name in names:
            emit_pieces(name, *of)
    for bits, polynomials in ((24, F32),):
        for name, (f, interval, powers, weight) in polynomials.items():
            if names and name not in names:
                continue
            if weight == "relative":
                weight = lambda x, f=f: 1 / f(x)
            emit(name, bits, *minimax(f, interval, powers, weight, bits))


if __name__ == "__main__":
    main()
