"""Charts as SVG text, without a library."""
import math
from html import escape

COLOURS = ["#1f6feb", "#e36209", "#2da44e", "#8250df", "#bf3989", "#57606a"]
TEXT = 'font-family="sans-serif" font-size="12" fill="#24292f"'


def svg(width, height, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="#ffffff"/>', *parts, "</svg>", ""])


def text(x, y, words, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {TEXT} {extra}>{escape(words)}</text>'


def line(x1, y1, x2, y2, colour="#d0d7de", width=1):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def legend(x, y, names):
    parts = []
    for at, name in enumerate(names):
        parts += [f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{COLOURS[at % len(COLOURS)]}"/>',
                  text(x + 15, y, name)]
        x += 30 + 7 * len(name)
    return parts


def ratios(title, groups, names):
    """Horizontal bars from 1.0 on a logarithmic axis: `groups` maps a label to one list of ratios for each of `names`.

    A bar ends at the geometric mean; a dot is one ratio."""
    left, right, top, bar = 130, 60, 52, 13
    width, row = 760, bar * len(names) + 12
    height = top + row * len(groups) + 30
    values = [value for lists in groups.values() for ratios in lists for value in ratios] or [1.0]
    low, high = min(0.5, *values), max(2.0, *values)
    x = lambda value: left + (width - left - right) * math.log(value / low) / math.log(high / low)
    parts = [text(12, 20, title, extra='font-weight="bold"'), *legend(left, 40, names)]
    steps = (1, 2, 5) if high / low < 100 else (1,)
    for tick in (step * 10.0**power for power in range(-3, 6) for step in steps):
        if low <= tick <= high:
            parts += [line(x(tick), top, x(tick), height - 26), text(x(tick), height - 10, f"{tick:g}x", "middle")]
    for at, (label, lists) in enumerate(groups.items()):
        y = top + 6 + row * at
        parts.append(text(left - 8, y + bar * len(names) / 2 + 4, label, "end"))
        for series, ratios in enumerate(lists):
            if not ratios:
                continue
            mean, colour = geometric_mean(ratios), COLOURS[series % len(COLOURS)]
            start, length = min(x(1), x(mean)), abs(x(mean) - x(1))
            middle = y + bar * series + bar / 2
            parts.append(f'<rect x="{start:.1f}" y="{y + bar * series + 1:.1f}" width="{length:.1f}" '
                         f'height="{bar - 2}" fill="{colour}" fill-opacity="0.55"/>')
            parts += [f'<circle cx="{x(value):.1f}" cy="{middle:.1f}" r="1.8" fill="{colour}"/>' for value in ratios]
            parts.append(text(width - right + 8, middle + 4, f"{mean:.2f}x"))
    parts.append(line(x(1), top, x(1), height - 26, "#24292f", 1.5))
    return svg(width, height, parts)


def curves(title, series, across, up, marked=()):
    """Lines on two logarithmic axes: `series` maps a name to its (x, y) points; `marked` are points to circle."""
    left, right, top, bottom, width, height = 64, 20, 52, 44, 760, 360
    points = [point for line_ in series.values() for point in line_]
    (x0, x1), (y0, y1) = ((min(v), max(v)) for v in zip(*points))
    y0, y1 = y0 / 1.2, y1 * 1.2
    x = lambda value: left + (width - left - right) * math.log(value / x0) / math.log(max(x1 / x0, 1.01))
    y = lambda value: height - bottom - (height - top - bottom) * math.log(value / y0) / math.log(y1 / y0)
    parts = [text(12, 20, title, extra='font-weight="bold"'), *legend(left, 40, list(series))]
    for power in range(math.ceil(math.log2(x0)), math.floor(math.log2(x1)) + 1):
        if power % 2 == 0 or x1 / x0 < 300:
            parts += [line(x(2**power), top, x(2**power), height - bottom),
                      text(x(2**power), height - bottom + 16, f"{2**power}" if power < 14 else f"2^{power}", "middle")]
    for tick in (m * 10.0**e for e in range(-4, 10) for m in (1, 2, 5)):
        if y0 <= tick <= y1:
            parts += [line(left, y(tick), width - right, y(tick)), text(left - 6, y(tick) + 4, f"{tick:g}", "end")]
    parts += [text((left + width) / 2, height - 8, across, "middle"),
              text(width - right, 40, up, "end")]
    for at, line_ in enumerate(series.values()):
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line_)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[at % len(COLOURS)]}" stroke-width="1.6"/>')
    parts += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="6" fill="none" stroke="#cf222e" stroke-width="2"/>'
              for a, b in marked]
    return svg(width, height, parts)


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))
