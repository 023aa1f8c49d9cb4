"""Draws one 60x60 colour picture of a mouth, smiling or neutral, from a seed.

Everything is painted with numpy as functions of the distance to a curve, so no font, line or polygon routine of a
library decides a pixel. The random numbers are raw outputs of PCG64, whose stream numpy promises to keep (NEP 19
promises nothing for the distributions above it). What may still differ between machines is the last bit of exp or
tanh, hence at most one grey level in a rare pixel.

What tells the classes apart is the bend of the mouth's line alone. Skin, light, lips, teeth, an open mouth, pose and
beard are drawn from the same ranges for both classes, and a nodding head (``nod``) bends nose, mouth and jaw together,
so that neither colours nor one row of pixels give the answer away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

SIZE = 60
OVERSAMPLING = 2  # thin strokes (the gaps between teeth) are drawn on a finer grid and averaged
NEUTRAL, SMILING = 0, 1

Image = np.ndarray  # float64, (height, width, 3), 0 to 1
Mask = np.ndarray  # float64, (height, width), 0 to 1

# Pale to dark skin, linear in between.
SKIN_TONES = np.array(
    [[0.97, 0.84, 0.77], [0.92, 0.74, 0.62], [0.80, 0.60, 0.46], [0.58, 0.40, 0.29], [0.36, 0.24, 0.18]]
)


class Dice:
    """Uniform random numbers from a seed; the same everywhere."""

    def __init__(self, seed: int | Sequence[int]) -> None:
        self._bits = np.random.PCG64(seed)

    def array(self, *shape: int) -> np.ndarray:
        """Numbers in [0, 1) with 53 random bits, float64."""
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape, dtype=np.int64))), dtype=np.uint64)
        return ((raw >> np.uint64(11)) * 2.0**-53).reshape(shape)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self.array(1)[0])

    def bell(self, low: float, high: float) -> float:
        """Between ``low`` and ``high``, mostly in the middle (the mean of three)."""
        return low + (high - low) * float(self.array(3).mean())

    def chance(self, probability: float) -> bool:
        return float(self.array(1)[0]) < probability


@dataclass(frozen=True)
class Mouth:
    """The lips in face coordinates: pixels from the middle of the mouth, y down, before the pose."""

    half_width: float
    bend: float  # how far the corners rise, in half widths; what makes a smile
    roundness: float  # exponent of the mouth's line: below 2 pointed, above 2 flat in the middle
    skew: float
    upper: float  # thickness of each lip in pixels
    lower: float
    cupid: float  # depth of the bow in the upper lip, as a part of its thickness
    gap: float  # how far the lips are apart in the middle, pixels; 0 is closed
    teeth: float  # height of the upper teeth, pixels; 0 shows none
    tooth_width: float
    lip_colour: np.ndarray = field(repr=False)


def choose_mouth(dice: Dice, label: int, skin: np.ndarray) -> Mouth:
    """A mouth of class ``label``; all but ``bend`` comes from the same ranges in both classes."""
    bend = dice.bell(0.17, 0.47) if label == SMILING else dice.bell(-0.20, 0.07)
    is_open = dice.chance(0.55)
    gap = dice.between(1.5, 7.0) if is_open else 0.0
    shows_teeth = is_open and dice.chance(0.7)
    redness = dice.between(0.1, 1.0) ** 2
    natural = skin * np.array([0.92, 0.68, 0.68])
    painted = np.array([dice.between(0.55, 0.85), dice.between(0.08, 0.3), dice.between(0.15, 0.4)])
    return Mouth(
        half_width=dice.bell(10.0, 18.0),
        bend=bend,
        roundness=dice.between(1.8, 2.8),
        skew=dice.bell(-0.12, 0.12),
        upper=dice.between(1.6, 4.2),
        lower=dice.between(2.2, 5.2),
        cupid=dice.between(0.1, 0.6),
        gap=gap,
        teeth=gap * dice.between(0.45, 1.0) if shows_teeth else 0.0,
        tooth_width=dice.between(2.4, 3.6),
        lip_colour=natural + (painted - natural) * redness * 0.8,
    )


def draw(seed: int | Sequence[int], label: int) -> np.ndarray:
    """The picture of ``seed``: uint8, (60, 60, 3), RGB. ``label`` is 0 (neutral) or 1 (smiling)."""
    dice = Dice(seed)
    tone = dice.between(0, len(SKIN_TONES) - 1.001)
    skin = SKIN_TONES[int(tone)] + (SKIN_TONES[int(tone) + 1] - SKIN_TONES[int(tone)]) * (tone % 1)
    skin = skin * np.array([1, dice.between(0.93, 1.05), dice.between(0.85, 1.1)])
    mouth = choose_mouth(dice, label, skin)

    x, y = face_coordinates(dice)
    image = skin * (1 + 0.10 * (smooth_noise(dice, x.shape, 6) - 0.5))[..., None]
    image = shade_face(image, x, y, dice)
    image = draw_nose(image, x, y, dice)
    image = draw_beard(image, x, y, mouth, dice)
    image = draw_mouth(image, x, y, mouth, dice)
    image = draw_background(image, x, y, dice)
    image = light(image, dice)
    image = image.reshape(SIZE, OVERSAMPLING, SIZE, OVERSAMPLING, 3).mean(axis=(1, 3))
    image = photograph(image, dice)
    return np.floor(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


# Geometry


def face_coordinates(dice: Dice) -> tuple[np.ndarray, np.ndarray]:
    """x and y of every (fine) pixel in the face's own coordinates: the pose, undone."""
    centres = (np.arange(SIZE * OVERSAMPLING) + 0.5) / OVERSAMPLING
    x, y = np.meshgrid(centres - dice.between(25, 35), centres - dice.between(30, 41))
    roll = dice.bell(-0.45, 0.45)
    x, y = np.cos(roll) * x + np.sin(roll) * y, np.cos(roll) * y - np.sin(roll) * x
    scale = dice.bell(0.75, 1.25)
    x, y = x / (scale * dice.bell(0.82, 1.12)), y / (scale * dice.bell(0.88, 1.12))
    depth = 1 + dice.bell(-0.009, 0.009) * x + dice.bell(-0.006, 0.006) * y
    x, y = x / depth, y / depth
    nod = dice.bell(-0.006, 0.006)
    return x, y + nod * x**2


def smooth_step(distance: np.ndarray, softness: float = 0.6) -> Mask:
    """1 where ``distance`` (pixels) is well above 0, 0 where well below."""
    return 0.5 + 0.5 * np.tanh(distance / softness)


def spot(x: np.ndarray, y: np.ndarray, centre: tuple[float, float], radii: tuple[float, float]) -> Mask:
    """A soft-edged round spot, 1 in the middle."""
    return np.exp(-(((x - centre[0]) / radii[0]) ** 2) - ((y - centre[1]) / radii[1]) ** 2)


def smooth_noise(dice: Dice, shape: tuple[int, int], cells: int) -> Mask:
    """Blotches: a coarse grid of random values, interpolated smoothly."""
    grid = dice.array(cells + 1, cells + 1)
    position = np.linspace(0, cells - 1e-9, shape[0])
    cell = position.astype(int)
    part = position - cell
    part = part * part * (3 - 2 * part)
    rows = grid[cell] * (1 - part)[:, None] + grid[cell + 1] * part[:, None]
    return rows[:, cell] * (1 - part) + rows[:, cell + 1] * part


def blend(image: Image, colour: np.ndarray, mask: Mask) -> Image:
    return image + (colour - image) * mask[..., None]


def darken(image: Image, mask: Mask) -> Image:
    """Shadow on skin: blue and green go first."""
    return image * (1 - mask[..., None] * np.array([0.85, 1.0, 1.05]))


# The face around the mouth


def shade_face(image: Image, x: np.ndarray, y: np.ndarray, dice: Dice) -> Image:
    """Round cheeks, the chin's light, and the folds from nose to mouth."""
    image = darken(image, np.clip(dice.between(0.1, 0.3) * (x / 26) ** 2, 0, 0.5))
    image = darken(image, -dice.between(0.0, 0.10) * spot(x, y, (0, 17), (8, 5)))
    fold = dice.between(0, 0.22)
    spread, length = dice.between(15, 20), dice.between(0, 5)
    on_fold = 6.5 + (spread - 6.5) * np.clip((y + 18) / 20, 0, 1.3) ** 1.4
    across = np.exp(-(((np.abs(x) - on_fold) / 1.9) ** 2))
    return darken(image, fold * across * smooth_step(y + 17, 2) * smooth_step(length - y, 3))


def draw_nose(image: Image, x: np.ndarray, y: np.ndarray, dice: Dice) -> Image:
    """The tip of the nose, its nostrils and shadow, and the groove below."""
    tip, width = dice.between(-21, -17), dice.between(3.2, 4.6)
    image = darken(image, -dice.between(0.02, 0.12) * spot(x, y, (0, tip - 5), (3.5, 4)))
    image = darken(image, dice.between(0.08, 0.28) * spot(x, y, (0, tip + 2), (7, 2.2)))
    for side in (-1, 1):
        image = darken(image, dice.between(0.3, 0.75) * spot(x, y, (side * width, tip), (1.7, 1.0)))
        wing = np.hypot(x - side * (width + 1), y - tip + 2.5) - 4.2
        outside = smooth_step(side * x - width - 1.5, 1.5)
        image = darken(image, dice.between(0.1, 0.3) * np.exp(-(wing**2)) * outside)
    groove = spot(x, y, (0, tip + 9), (1.3, 4)) - spot(x, y, (2.4, tip + 9), (1.2, 4)) * 0.6
    return darken(image, dice.between(0, 0.14) * groove)


def draw_beard(image: Image, x: np.ndarray, y: np.ndarray, mouth: Mouth, dice: Dice) -> Image:
    """Sometimes stubble, a moustache or a full beard; it follows the face, not the bend of the mouth."""
    kind = dice.between(0, 1)
    hair = np.array([0.16, 0.12, 0.10]) * dice.between(0.5, 2.2)
    grain = dice.array(*x.shape)
    above = smooth_step(mouth.half_width * 1.05 - np.abs(x), 2) * spot(x * 0, y, (0, -8.5), (1, 4.5))
    chin = smooth_step(y - 11, 2.5) * smooth_step(22 - np.abs(x), 4)
    cheeks = smooth_step(np.abs(x) - 19, 3) * smooth_step(y + 8, 4)
    if kind < 0.70:
        return image
    if kind < 0.84:
        return blend(image, hair, np.maximum(above, np.maximum(chin, cheeks)) * (0.15 + 0.35 * grain))
    if kind < 0.92:
        return blend(image, hair, above * (0.45 + 0.45 * grain))
    return blend(image, hair, np.maximum(above, np.maximum(chin, cheeks)) * (0.4 + 0.5 * grain))


def draw_background(image: Image, x: np.ndarray, y: np.ndarray, dice: Dice) -> Image:
    """What lies beyond the jaw: clothes, a wall, hair."""
    jaw = np.array([dice.between(26, 42), dice.between(32, 50)])
    beyond = np.hypot(x / jaw[0], np.maximum(y + 8, 0) / jaw[1]) - 1
    image = darken(image, 0.3 * np.clip(1 + beyond * 4, 0, 1))
    colour = (
        (0.25 + 0.5 * dice.array(3)) * dice.between(0.1, 1.4) * (0.8 + 0.4 * smooth_noise(dice, x.shape, 4))[..., None]
    )
    return blend(image, colour, smooth_step(beyond * jaw[0], dice.between(0.5, 1.5)))


# The mouth


def draw_mouth(image: Image, x: np.ndarray, y: np.ndarray, mouth: Mouth, dice: Dice) -> Image:
    """Lips, and between them the dark, the teeth and the tongue."""
    u = np.clip(x / mouth.half_width, -1, 1)
    arch = 1 - u**2
    line = -mouth.bend * mouth.half_width * (np.abs(u) ** mouth.roundness - 0.4) + mouth.skew * mouth.half_width * u
    line = line + 0.05 * mouth.half_width * np.exp(-((u / 0.3) ** 2))
    inner_top = line - 0.4 * mouth.gap * arch
    inner_bottom = line + 0.6 * mouth.gap * arch**0.8
    bow = 1 - mouth.cupid * np.exp(-((u / 0.16) ** 2)) + 0.25 * mouth.cupid * np.exp(-(((np.abs(u) - 0.33) / 0.2) ** 2))
    outer_top = inner_top - mouth.upper * arch**0.7 * bow
    outer_bottom = inner_bottom + mouth.lower * arch**0.75
    inside = smooth_step(mouth.half_width - np.abs(x))

    under = outer_bottom + dice.between(1.5, 3.0)
    image = darken(image, dice.between(0.05, 0.3) * np.exp(-(((y - under) / 1.8) ** 2)) * arch)
    for side in (-1, 1):
        corner_y = -mouth.bend * mouth.half_width * 0.6 + side * mouth.skew * mouth.half_width
        corner = spot(x, y, (side * (mouth.half_width + 0.3), corner_y), (1.8, 1.5))
        image = darken(image, dice.between(0.1, 0.45) * corner)

    lips = smooth_step(y - outer_top, 0.8) * smooth_step(outer_bottom - y, 0.8) * inside
    height = np.clip((y - outer_top) / (outer_bottom - outer_top + 1e-6), 0, 1)
    shading = np.where(y < line, dice.between(0.72, 0.95), 1.0) * (1.05 - 0.2 * (height - 0.6) ** 2)
    image = blend(image, mouth.lip_colour * shading[..., None], lips * dice.between(0.6, 1.0))
    gloss = np.exp(-(((y - 0.45 * inner_bottom - 0.55 * outer_bottom) / 0.9) ** 2)) * arch * lips
    image = darken(image, -dice.between(0.0, 0.35) * gloss)

    if mouth.gap == 0:
        seam = np.exp(-(((y - line) / dice.between(0.6, 1.0)) ** 2)) * inside
        return darken(image, dice.between(0.45, 0.85) * seam)
    opening = smooth_step(y - inner_top, 0.5) * smooth_step(inner_bottom - y, 0.5) * inside
    dark = np.array([0.22, 0.07, 0.07]) * dice.between(0.3, 1.4)
    image = blend(image, dark, opening)
    tongue = spot(x, y, (0, mouth.gap * 0.75), (mouth.half_width * 0.5, mouth.gap * 0.4 + 0.5))
    image = blend(image, np.array([0.65, 0.28, 0.28]), opening * tongue * dice.between(0, 0.8))
    if mouth.teeth:
        image = draw_teeth(image, x, y, opening, inner_top, mouth, dice)
    return image


def draw_teeth(
    image: Image, x: np.ndarray, y: np.ndarray, opening: Mask, inner_top: np.ndarray, mouth: Mouth, dice: Dice
) -> Image:
    """The upper row, darker towards the corners, with a thin gap between any two."""
    row = opening * smooth_step(inner_top + mouth.teeth - y, 0.5)
    ivory = np.array([0.97, 0.93, 0.86]) * dice.between(0.75, 1.0)
    corners = 1 - dice.between(0.2, 0.7) * (x / mouth.half_width) ** 2
    image = blend(image, ivory * np.clip(corners, 0, 1)[..., None], row)
    to_gap = np.abs((x / mouth.tooth_width) % 1 - 0.5) * mouth.tooth_width
    return darken(image, dice.between(0.1, 0.45) * row * np.exp(-((to_gap / 0.35) ** 2)))


# Light and camera


def light(image: Image, dice: Dice) -> Image:
    """Light from a side, its colour, and sometimes the edge of a shadow across the picture."""
    rows, columns = np.meshgrid(*[np.linspace(-1, 1, image.shape[0])] * 2, indexing="ij")
    angle = dice.between(0, 2 * np.pi)
    along = np.cos(angle) * columns + np.sin(angle) * rows
    image = image * (1 + dice.between(0, 0.4) * along)[..., None]
    if dice.chance(0.25):
        angle = dice.between(0, 2 * np.pi)
        edge = np.cos(angle) * columns + np.sin(angle) * rows - dice.between(0.0, 0.8)
        image = darken(image, dice.between(0.15, 0.45) * smooth_step(edge, dice.between(0.05, 0.3)))
    tint = 1 + 0.12 * (dice.array(3) - 0.5) * 2
    return image * tint * dice.between(0.75, 1.2)


def photograph(image: Image, dice: Dice) -> Image:
    """Blur, contrast, noise and, in some, the 8x8 blocks of a hard compression."""
    image = np.clip(image, 0, 1) ** dice.between(0.75, 1.3)
    image = blur(image, dice.between(0.35, 1.3))
    strength = dice.between(0.0, 0.045)
    image = image + strength * (dice.array(*image.shape) + dice.array(*image.shape) - 1)
    image = image + strength * (dice.array(*image.shape[:2], 1) + dice.array(*image.shape[:2], 1) - 1)
    if dice.chance(0.35):
        image = coarsen_blocks(image, dice.between(0.01, 0.05))
    return image


def blur(image: Image, sigma: float) -> Image:
    """Gaussian blur; ``sigma`` in pixels, the border repeated."""
    reach = 4
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padding = [(reach, reach) if axis == i else (0, 0) for i in range(3)]
        padded = np.pad(image, padding, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=axis)
        image = (windows * kernel).sum(axis=-1)
    return image


def coarsen_blocks(image: Image, step: float) -> Image:
    """Rounds the cosine coefficients of 8x8 blocks to a step growing with frequency, as a JPEG of low quality."""
    frequency, position = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    transform = np.cos((2 * position + 1) * frequency * np.pi / 16) * np.where(frequency == 0, 8**-0.5, 0.5)
    steps = step * (1 + frequency + position)[..., None]
    whole = -(-SIZE // 8) * 8
    padded = np.pad(image, ((0, whole - SIZE), (0, whole - SIZE), (0, 0)), mode="edge")
    blocks = padded.reshape(whole // 8, 8, whole // 8, 8, 3)
    spectrum = np.einsum("fi,gj,aibjc->afbgc", transform, transform, blocks)
    rounded = np.round(spectrum / steps[:, None]) * steps[:, None]
    blocks = np.einsum("fi,gj,afbgc->aibjc", transform, transform, rounded)
    return blocks.reshape(whole, whole, 3)[:SIZE, :SIZE]
