"""Procedural rooms: what a camera in a random room sees, how far it is and which way it faces.

A room is a box around the camera with boxes on the floor and balls in the air, drawn by casting one
ray a pixel. All numbers come from one generator, so that a seed is a room.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CLASSES: Final = ("floor", "ceiling", "wall", "box", "ball")
_FLOOR, _CEILING, _WALL, _BOX, _BALL = range(len(CLASSES))

_FIELD_OF_VIEW: Final = 1.2
"""Half the width of the image plane at distance 1."""
_PIXEL_NOISE: Final = 0.06
_MISLABELLED: Final = 0.5
"""Share of rooms in which one object carries another object's or the wall's label."""
_DEPTH_ERROR: Final = 0.12
"""Standard deviation of the logarithm of each room's error of scale."""
_NORMAL_ERROR: Final = 0.2
"""Standard deviation of each room's tilt about each axis, in radians."""


@dataclass(frozen=True)
class Room:
    """One picture of S x S pixels with its labels."""

    image: NDArray[np.uint8]
    """[3, S, S], red green blue."""
    segmentation: NDArray[np.uint8]
    """[S, S], indices of `CLASSES`."""
    depth: NDArray[np.float32]
    """[S, S], metres along the viewing direction."""
    normals: NDArray[np.float32]
    """[3, S, S], unit vectors; x right, y up, z towards the camera's back."""


@dataclass
class _Hits:
    """The nearest surface of each of P rays so far."""

    distance: Floats
    normal: Floats
    surface: NDArray[np.int64]

    def take(self, distance: Floats, normal: Floats, surface: int) -> None:
        """Let a surface replace what lies behind it; `distance` is infinite where it is missed."""
        nearer = distance < self.distance
        self.distance = np.where(nearer, distance, self.distance)
        self.normal = np.where(nearer[:, None], normal, self.normal)
        self.surface = np.where(nearer, surface, self.surface)


def draw_room(random: np.random.Generator, size: int) -> Room:
    """A random room of `size` x `size` pixels.

    The labels are as imperfect as people's: a mislabelled object in half of the rooms, a depth
    sensor that is off by a factor, a tilted frame of the normals. Those errors belong to one room,
    so a network that repeats them has seen it.
    """
    rays = _rays(size)
    hits = _Hits(
        np.full(len(rays), np.inf), np.zeros_like(rays), np.zeros(len(rays), dtype=np.int64)
    )
    # Surface 0 to 4 are floor, ceiling and walls; every object adds one.
    classes = [_FLOOR, _CEILING, _WALL, _WALL, _WALL]
    half_width, floor, ceiling = (
        random.uniform(1.5, 3),
        random.uniform(-1.6, -1),
        random.uniform(1, 2),
    )
    back = random.uniform(4, 7)
    planes = [(1, floor), (1, ceiling), (0, -half_width), (0, half_width), (2, back)]
    for surface, (axis, position) in enumerate(planes):
        hits.take(*_plane(rays, axis, position), surface)
    for _ in range(random.integers(3, 7)):
        radius = random.uniform(0.3, 0.8)
        centre = np.array(
            [
                random.uniform(-half_width + radius, half_width - radius),
                random.uniform(floor + radius, 0.5),
                random.uniform(1.6, back - radius),
            ]
        )
        if random.random() < 0.6:
            hits.take(*_ball(rays, centre, radius), len(classes))
            classes.append(_BALL)
        else:
            half = radius * np.array([1.0, random.uniform(0.5, 1.5), 0.8])
            centre[1] = floor + half[1]
            hits.take(*_box(rays, centre - half, centre + half), len(classes))
            classes.append(_BOX)
    image = _shade(random, hits, len(classes), size)
    labels = np.array(classes)
    if random.random() < _MISLABELLED:
        labels[random.integers(5, len(labels))] = random.choice([_WALL, _BOX, _BALL])
    # Rays have z = 1: the distance along them in units of their length is the depth.
    depth = hits.distance * np.exp(random.normal(0, _DEPTH_ERROR))
    normals = hits.normal @ _tilt(random.normal(0, _NORMAL_ERROR, 3)).T
    return Room(
        image,
        labels[hits.surface].reshape(size, size).astype(np.uint8),
        depth.reshape(size, size).astype(np.float32),
        normals.T.reshape(3, size, size).astype(np.float32),
    )


def _rays(size: int) -> Floats:
    """One direction a pixel with z = 1, [size * size, 3], row by row from the top left."""
    along = (np.arange(size) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(-along * _FIELD_OF_VIEW, along * _FIELD_OF_VIEW, indexing="ij")
    return np.stack([x.ravel(), y.ravel(), np.ones(size * size)], axis=1)


def _plane(rays: Floats, axis: int, position: float) -> tuple[Floats, Floats]:
    """Distance and normal of an axis-aligned plane, which faces the camera."""
    with np.errstate(divide="ignore"):
        distance = position / rays[:, axis]
    normal = np.zeros_like(rays)
    normal[:, axis] = -np.sign(position)
    return np.where(distance > 0, distance, np.inf), normal


def _ball(rays: Floats, centre: Floats, radius: float) -> tuple[Floats, Floats]:
    """Distance and normal of a sphere: |t r - c| = R solved for the nearer t."""
    a = (rays**2).sum(1)
    b = rays @ centre
    discriminant = b**2 - a * (centre @ centre - radius**2)
    hit = discriminant > 0
    distance = (b - np.sqrt(np.where(hit, discriminant, 0))) / a
    normal = (rays * distance[:, None] - centre) / radius
    return np.where(hit & (distance > 0), distance, np.inf), normal


def _box(rays: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Distance and normal of an axis-aligned box by the slab method."""
    with np.errstate(divide="ignore"):
        first, second = low / rays, high / rays
    entry_by_axis = np.minimum(first, second)
    entry, leave = entry_by_axis.max(1), np.maximum(first, second).min(1)
    normal = np.zeros_like(rays)
    axis = entry_by_axis.argmax(1)
    rows = np.arange(len(rays))
    normal[rows, axis] = -np.sign(rays[rows, axis])
    return np.where((entry < leave) & (entry > 0), entry, np.inf), normal


def _shade(random: np.random.Generator, hits: _Hits, surfaces: int, size: int) -> NDArray[np.uint8]:
    """Matt surfaces of random colours under one coloured lamp, with sensor noise."""
    colours = random.uniform(0.15, 0.95, (surfaces, 3))
    lamp = random.normal((0, 1.5, -1.5))
    lamp /= np.linalg.norm(lamp)
    tint = random.uniform(0.75, 1.0, 3)
    brightness = 0.45 + 0.55 * np.clip(hits.normal @ lamp, 0, 1)
    light = colours[hits.surface] * tint * brightness[:, None]
    light += random.normal(0, _PIXEL_NOISE, light.shape)
    pixels = (np.clip(light, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.T.reshape(3, size, size))


def _tilt(angles: Floats) -> Floats:
    """The rotation by these angles about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    rotation: Floats = about_z @ about_y @ about_x
    return rotation
