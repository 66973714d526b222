# SPDX-License-Identifier: Apache-2.0
"""Defences side by side: what each brings, what it costs, attack by attack, as tables, a picture and sentences."""

from html import escape
from pathlib import Path

from radproof.assess.result import Cell, Gain
from radproof.core.files import write_text
from radproof.core.records import Estimate
from radproof.reports.charts import TONES, linear, tidy
from radproof.reports.reading import BARE, Budget, Reading, about, still_right
from radproof.reports.tables import HEADLINE, Box, Row, Table
from radproof.reports.words import NOTHING, count, listed, sentence, show

WIDTH, EDGE, ROW, HEAD = 340, 10, 27, 30
FEW = 2  # with fewer contenders the tables of defences say it all


def contender_tables(reading: Reading) -> list[Table]:
    """What each brings and costs, the price class by class, and each budget attack by attack."""
    if not reading.defenses:
        return []
    grids = [_grid(reading, rung) for rung in reading.budgets] if len(reading.defenses) >= FEW else []
    return [_gains(reading), _price(reading), *grids]


def contender_words(reading: Reading) -> str:
    """Which defence helps, by how much, at what price: a sentence for each group."""
    rung = reading.reference
    if rung is None or not reading.defenses:
        return ""
    found = [(name, gain) for name in reading.defenses if (gain := _gain(reading, name, rung)) is not None]
    if not found:
        return ""
    doubted = [name for name, _ in found if _doubted(reading, name, rung)]
    helps = [pair for pair in found if pair[0] not in doubted and (pair[1].robust.low or 0) > 0]
    rest = [pair for pair in found if pair[0] not in doubted and pair[0] not in dict(helps)]
    idle = [name for name, gain in rest if (gain.robust.value or 0) <= 0]
    close = [name for name, _ in rest if name not in idle]
    said: list[str] = []
    if helps:
        helps.sort(key=lambda pair: -(pair[1].robust.value or 0))
        told = [
            f"{name} ({_points(gain.robust)} under attack, {_points(gain.clean)} on clean images)"
            for name, gain in helps
        ]
        said.append(f"Against the worst attack at {rung.label}, {listed(told)} keep more images right than no defence.")
    if idle:
        none = "Not so with" if helps else f"Against the worst attack at {rung.label}, no more images stay right with"
        said.append(f"{none} {listed(idle, 'or')}.")
    if close:
        said.append(f"Too close to tell from {count(_images(reading), 'image')}: {listed(close)}.")
    if doubted:
        said.append(f"Not established, because a serious doubt stands about it: {listed(doubted)}.")
    if reading.serious():
        said.append("A serious doubt concerns every figure here: all of this was measured, none of it is established.")
    return " ".join(said)


def write_figure(path: Path, reading: Reading) -> None:
    """The figure as a file of its own, on white, where there is something to compare."""
    drawn = contender_figure(reading)
    if drawn:
        start = drawn.index(">") + 1
        write_text(path, f'{drawn[:start]}<rect width="100%" height="100%" fill="#ffffff"/>{drawn[start:]}')


def contender_figure(reading: Reading) -> str:
    """An SVG: for each contender clean accuracy, what oblivious attacks leave, and what the worst attack leaves."""
    rung = reading.reference
    if rung is None or len(reading.defenses) < FEW:
        return ""
    names = [BARE, *sorted(reading.defenses, key=lambda name: -(_value(_headline(reading, name, rung)) or 0))]
    x = linear(0, 1, EDGE, WIDTH - EDGE)
    height = HEAD + ROW * len(names) + 22
    drawn = [_legend(), *(_guide(x(share), height, f"{100 * share:.0f} %") for share in (0, 0.25, 0.5, 0.75, 1))]
    for number, name in enumerate(names):
        top = HEAD + ROW * number
        clean, headline = _right(reading.clean(name)), _headline(reading, name, rung)
        oblivious = _right(reading.column(name, "oblivious", reading.goal, rung.eps))
        label = "no defence" if name == BARE else name
        drawn.append(f'<text x="{EDGE}" y="{top + 10}" fill="#556070">{escape(label)}</text>')
        drawn.append(f'<path d="M{EDGE} {top + 18}H{WIDTH - EDGE}" stroke="#d9dee6" class="grid"/>')
        if headline and headline.low is not None and headline.high is not None:
            bar = f"M{tidy(x(headline.low))} {top + 18}H{tidy(x(headline.high))}"
            drawn.append(f'<path d="{bar}" stroke="{TONES[1]}" stroke-width="5" stroke-opacity=".35" class="s1"/>')
        for share, shape in ((clean, _ring), (oblivious, _diamond), (headline, _disc)):
            value = _value(share)
            if value is not None:
                drawn.append(shape(tidy(x(value)), top + 18))
    alt = f"Images still right at {rung.label}, worst per image: " + "; ".join(
        f"{'no defence' if name == BARE else name} {sentence(_headline(reading, name, rung))}" for name in names
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(alt)}" '
        f'font-family="sans-serif" font-size="11">{"".join(drawn)}</svg>'
    )


def _gains(reading: Reading) -> Table:
    rows: list[Row] = []
    for name in (BARE, *reading.defenses):
        boxes = [_box(_right(reading.clean(name)))]
        for rung in reading.budgets:
            cell = reading.headline(name, reading.goal, rung.eps)
            gain = _gain(reading, name, rung)
            more = (show(gain.robust, "points", label="change"),) if gain else ()
            shown = (show(still_right(cell), strip=True), *more) if cell else ()
            doubted = name != BARE and (_doubted(reading, name, rung) or bool(reading.serious()))
            boxes.append(
                Box(shown, "" if cell else NOTHING, "not established" if doubted else "", reading.marks(*about(cell)))
            )
        cost = next((g for g in reading.result.gains if g.defense == name), None)
        price = Box((show(cost.clean, "points"),)) if cost else Box(text=NOTHING)
        rows.append(Row(_head(name), (boxes[0], price, *boxes[1:]), "headline" if name == BARE else ""))
    return Table(
        "What each defence brings and what it costs",
        ("Defence", "Clean", "Change on clean images", *(f"{HEADLINE}, {rung.label}" for rung in reading.budgets)),
        tuple(rows),
        "Changes are against no defence, in points, paired image by image. The headline counts an image as right only "
        "if no attack fooled this defence on it: those made without knowing it, and those made against it.",
    )


def _price(reading: Reading) -> Table:
    """Recall of each class on clean images, and how much a defence changes the picture."""
    clean = {name: cell for name in (BARE, *reading.defenses) if (cell := reading.clean(name))}
    labels = [one.label for one in next(iter(clean.values())).scores.per_class]
    rows: list[Row] = []
    for name, cell in clean.items():
        recalls = {one.label: one.recall for one in cell.scores.per_class}
        similarity = Box((show(cell.ssim, "score"),)) if cell.ssim else Box(text=NOTHING)
        noise = Box((show(cell.psnr, "decibel"),)) if cell.psnr else Box(text=NOTHING)
        rows.append(Row(_head(name), (*(_box(recalls[label]) for label in labels), similarity, noise)))
    return Table(
        "What each defence does to clean images",
        ("Defence", *(f"{label} recognised" for label in labels), "SSIM", "PSNR"),
        tuple(rows),
        "SSIM and PSNR compare the picture that a defence hands to the network with the original; a dash: the picture "
        "is not changed.",
    )


def _grid(reading: Reading, rung: Budget) -> Table:
    attacks = [(attack, made_on) for attack, made_on in reading.attacks if made_on == "model"]
    rows: list[Row] = []
    for name in (BARE, *reading.defenses):
        cells = {c.attack: c for c in reading.cells(name, ["oblivious"], reading.goal, rung.eps)}
        boxes = [_box(_right(cells.get(attack))) for attack, _ in attacks]
        adaptive = reading.column(name, "adaptive", reading.goal, rung.eps)
        own = Box(text=NOTHING, small="the model's own attacks") if name == BARE else _box(_right(adaptive))
        rows.append(Row(_head(name), (*boxes, own), "headline" if name == BARE else ""))
    return Table(
        f"Defence by attack at {rung.label}, images still right",
        ("Defence", *(attack for attack, _ in attacks), "adaptive"),
        tuple(rows),
        "Attacks by name were made on the bare model, without knowing of the defence; adaptive: the per-image worst of "
        "the attacks made against the defence itself.",
    )


def _head(name: str) -> Box:
    return Box(text="no defence" if name == BARE else name)


def _box(estimate: Estimate | None) -> Box:
    return Box(text=NOTHING, small="not run") if estimate is None else Box((show(estimate, strip=True),))


def _gain(reading: Reading, name: str, rung: Budget) -> Gain | None:
    found = (g for g in reading.result.gains if (g.defense, g.goal, g.eps) == (name, reading.goal, rung.eps))
    return next(found, None)


def _doubted(reading: Reading, name: str, rung: Budget) -> bool:
    names = {f"defense:{name}"}
    for column in ("oblivious", "transfer", "adaptive", "headline"):
        names.update(cell.key for cell in reading.cells(name, [column], reading.goal, rung.eps))
    about_all = set(reading.serious())
    return bool(set(reading.serious(*names)) - about_all)


def _images(reading: Reading) -> int:
    clean = reading.clean()
    return clean.scores.accuracy.n if clean else 0


def _points(estimate: Estimate) -> str:
    text = str(show(estimate, "points"))
    return text if (estimate.value or 0) < 0 else f"+{text}"


def _right(cell: Cell | None) -> Estimate | None:
    if cell is None:
        return None
    return cell.scores.accuracy if cell.column == "clean" else still_right(cell)


def _headline(reading: Reading, name: str, rung: Budget) -> Estimate | None:
    return still_right(reading.headline(name, reading.goal, rung.eps))


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _legend() -> str:
    words = ((_ring, "clean", EDGE + 5), (_diamond, "oblivious attacks", 62), (_disc, "worst per image", 176))
    return "".join(
        f'{shape(at, 10)}<text x="{at + 9}" y="14" fill="#556070">{text}</text>' for shape, text, at in words
    )


def _guide(at: float, height: int, label: str) -> str:
    anchor = "start" if at < WIDTH / 4 else "end" if at > 3 * WIDTH / 4 else "middle"
    line = f'<path d="M{tidy(at)} {HEAD}V{height - 18}" stroke="#d9dee6" class="grid"/>'
    return f'{line}<text x="{tidy(at)}" y="{height - 4}" text-anchor="{anchor}" fill="#556070">{label}</text>'


def _ring(x: float, y: float) -> str:
    return f'<circle cx="{x}" cy="{y}" r="4" fill="#ffffff" stroke="{TONES[0]}" stroke-width="1.5" class="o s0"/>'


def _diamond(x: float, y: float) -> str:
    return f'<path transform="translate({x} {y})" d="M0-5L5 0L0 5L-5 0z" fill="{TONES[2]}" class="f2"/>'


def _disc(x: float, y: float) -> str:
    return f'<circle cx="{x}" cy="{y}" r="4" fill="{TONES[1]}" class="f1"/>'
