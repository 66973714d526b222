# SPDX-License-Identifier: Apache-2.0
"""The front of clean against adaptive accuracy, as a picture and as text."""

from html import escape

import yaml

from radproof.assess.tune import Alarm, Candidate, Tuned
from radproof.reports.charts import TONES, linear, tidy
from radproof.reports.markdown import table
from radproof.reports.words import sentence

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 320, 52, 440, 16, 270


def front_svg(found: Tuned) -> str:
    """Every candidate by its clean and its adaptive accuracy; those on the front are filled and joined."""
    numbered = enumerate(found.candidates, 1)  # as in the table
    shown = [(n, c) for n, c in numbered if c.clean.value is not None and c.robust.value is not None]
    x, y = linear(0, 1, LEFT, RIGHT), linear(0, 1, BOTTOM, TOP)
    parts = [
        f'<path d="M{LEFT} {tidy(y(s))}H{RIGHT}M{tidy(x(s))} {TOP}V{BOTTOM}" stroke="#d9dee6"/>'
        f'<text x="{LEFT - 6}" y="{tidy(y(s)) + 4}" text-anchor="end" fill="#556070">{100 * s:.0f} %</text>'
        f'<text x="{tidy(x(s))}" y="{BOTTOM + 16}" text-anchor="middle" fill="#556070">{100 * s:.0f} %</text>'
        for s in (0, 0.25, 0.5, 0.75, 1)
    ]
    best = sorted((c for _, c in shown if c.front), key=lambda c: c.clean.value or 0)
    joined = "L".join(f"{tidy(x(c.clean.value or 0))} {tidy(y(c.robust.value or 0))}" for c in best)
    if joined:
        parts.append(f'<path d="M{joined}" fill="none" stroke="{TONES[1]}" stroke-width="1.5"/>')
    for number, c in shown:
        at = f'cx="{tidy(x(c.clean.value or 0))}" cy="{tidy(y(c.robust.value or 0))}"'
        fill = TONES[1] if c.front else "#ffffff"
        low, high = tidy(y(c.robust.low or 0)), tidy(y(c.robust.high or 0))
        column = tidy(x(c.clean.value or 0))
        parts.append(f'<path d="M{column} {low}V{high}" stroke="{TONES[0]}" stroke-opacity=".35"/>')
        parts.append(f'<circle {at} r="4" fill="{fill}" stroke="{TONES[1]}"><title>{escape(c.name)}</title></circle>')
        parts.append(f'<text x="{column + 6}" y="{tidy(y(c.robust.value or 0)) - 5}" fill="#334">{number}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="11" role="img" aria-label="Clean against adaptive accuracy at {found.budget}">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>{"".join(parts)}'
        f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 36}" text-anchor="middle" fill="#556070">right on clean images'
        f'</text><text x="12" y="{(TOP + BOTTOM) / 2}" fill="#556070" text-anchor="middle" '
        f'transform="rotate(-90 12 {(TOP + BOTTOM) / 2})">right under the worst attack, {found.budget}</text></svg>'
    )


def tuning_markdown(found: Tuned) -> str:
    """The table of candidates, detectors' alarms, and what to write into a plan for those on the front."""
    lines = [
        f"# Search on {found.images} validation images of {found.patients} patients, {found.budget}",
        "",
        "Chosen on these patients, figures are a little too good: assess the choice on the test fold before any claim.",
        "",
        "![Clean against adaptive accuracy](front.svg)",
        "",
        table([_row(number, c) for number, c in enumerate(found.candidates, 1)]),
    ]
    if found.alarms:
        lines += ["", table([_alarm(alarm) for alarm in found.alarms])]
    chosen = [c for c in found.candidates if c.front and c.chosen]
    if chosen:
        lines += ["", "On the front, as a plan says it:", ""]
        for c in chosen:
            lines += ["```yaml", yaml.safe_dump(c.chosen, sort_keys=False).strip(), "```"]
    return "\n".join(lines) + "\n"


def tuning_rows(found: Tuned) -> list[dict[str, str]]:
    """The table that the command prints."""
    return [
        {
            "": str(number),
            "candidate": "no defence" if c.name == "none" else c.name,
            "clean": sentence(c.clean),
            "worst attack": sentence(c.robust),
            "front": "yes" if c.front else "",
        }
        for number, c in enumerate(found.candidates, 1)
    ]


def _row(number: int, c: Candidate) -> dict[str, str]:
    return {
        "": str(number),
        "candidate": "no defence" if c.name == "none" else c.name,
        "right on clean images": sentence(c.clean),
        "right under the worst attack": sentence(c.robust),
        "front": "yes" if c.front else "",
    }


def _alarm(a: Alarm) -> dict[str, str]:
    return {
        "detector": a.detector,
        "false alarms": f"{100 * a.rate:g} %",
        "attack": a.attack,
        "budget": a.budget,
        "detected": f"{100 * a.detected:.0f} %",
    }
