"""Prints the polynomial coefficients of src/math/*.rs (weighted Remez exchange).

    python3 minimax.py        # needs mpmath

Coefficients are rounded to f32 one at a time, lowest power first, and the rest is
fitted again after each, so that the rounded polynomial stays near the minimax one.
"""
import struct
from mpmath import mp, mpf, matrix, lu_solve, exp, expm1, log, log1p, erf, erfc, sqrt, cos, pi

mp.dps = 40


def f32(x):
    return mpf(struct.unpack("f", struct.pack("f", float(x)))[0])


def remez(f, w, lo, hi, first, degree):
    """Minimises max |w(x)·(f(x) − Σ_{i=first..degree} c_i·x^i)|; returns (c, error)."""
    n = degree - first + 1
    xs = [(lo + hi) / 2 + (hi - lo) / 2 * cos(pi * (n - i) / n) for i in range(n + 1)]
    grid = [lo + (hi - lo) * i / mpf(1500) for i in range(1501)]
    fw = [(x, f(x), w(x)) for x in grid]
    for _ in range(12):
        a, b = matrix(n + 1, n + 1), matrix(n + 1, 1)
        for r, x in enumerate(xs):
            for c in range(n):
                a[r, c] = x ** (first + c)
            a[r, n] = (-1) ** r / w(x)
            b[r] = f(x)
        s = lu_solve(a, b)
        coeffs = [s[i] for i in range(n)]
        errors = [ww * (y - sum(c * x ** (first + i) for i, c in enumerate(coeffs))) for x, y, ww in fw]
        xs, best = exchange(grid, errors, n + 1)
        if best < abs(s[n]) * (1 + mpf(10) ** -3):
            break
    return coeffs, best


def exchange(grid, errors, want):
    """The largest error of each sign run, `want` of them."""
    peaks = []
    for x, e in zip(grid, errors):
        if peaks and (peaks[-1][1] > 0) == (e > 0):
            if abs(e) > abs(peaks[-1][1]):
                peaks[-1] = (x, e)
        else:
            peaks.append((x, e))
    while len(peaks) > want:
        peaks.pop(0 if abs(peaks[0][1]) < abs(peaks[-1][1]) else -1)
    assert len(peaks) == want, "too few alternations"
    return [x for x, _ in peaks], max(abs(e) for e in errors)


def fit(name, f, w, lo, hi, degree):
    lo, hi, fixed = mpf(lo), mpf(hi), []
    for first in range(degree + 1):
        rest = lambda x: f(x) - sum(c * x**i for i, c in enumerate(fixed))
        coeffs, error = remez(rest, w, lo, hi, first, degree)
        fixed.append(f32(coeffs[0]))
    grid = [lo + (hi - lo) * i / mpf(4000) for i in range(4001)]
    error = max(abs(w(x) * (f(x) - sum(c * x**i for i, c in enumerate(fixed)))) for x in grid)
    print(f"{name} degree {degree}: weighted error {float(error):.3g} (2^{float(log(error, 2)):.1f})")
    print("  ", ", ".join(f"{float(c):.9g}" for c in fixed))


def off_zero(f, at_zero):
    """`f`, which has a removable singularity at 0, with its limit there."""
    return lambda x: at_zero if abs(x) < mpf(10) ** -9 else f(x)


HALF_LN2 = log(mpf(2)) / 2 * mpf("1.002")
fit("expm1(r) = r + r²·P(r)", off_zero(lambda r: (expm1(r) - r) / r**2, mpf(1) / 2),
    off_zero(lambda r: abs(r**2 / expm1(r)), mpf(10) ** -9), -HALF_LN2, HALF_LN2, 4)
fit("log(1+f) = f − f²/2 + f³·P(f)", off_zero(lambda f: (log1p(f) - f + f * f / 2) / f**3, mpf(1) / 3),
    off_zero(lambda f: abs(f**3 / log1p(f)), mpf(10) ** -18), sqrt(mpf(2)) / 2 - 1, sqrt(mpf(2)) - 1, 8)
fit("erf(x) = x + x·P(x²), |x| < 0.95", off_zero(lambda s: erf(sqrt(s)) / sqrt(s) - 1, 2 / sqrt(pi) - 1),
    lambda s: mpf(1), 0, "0.91", 5)
fit("log(erfc(x)) = x·P(x), 0.94 < x < 4", lambda x: log(erfc(x)) / x,
    lambda x: x * erfc(x) / erf(x), "0.94", 4, 5)
fit("log(erfc(x/√2)/2) = P(x), 0 < x < 6", lambda x: log(erfc(x / sqrt(mpf(2))) / 2),
    lambda x: erfc(x / sqrt(mpf(2))) / 2, 0, 6, 7)
