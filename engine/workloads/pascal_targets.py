"""What PASCAL-Context's files hold, as tensors of one square size."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from scipy.ndimage import laplace
from torch import Tensor

from engine.errors import WorkloadError
from engine.workloads.dense_network import normalised
from engine.workloads.folder_instances import Files, unreadable
from engine.workloads.thinning import thin

CLASSES: Final = 21
"""PASCAL VOC's twenty and the background."""
HUMAN_PARTS: Final = 7
"""Background, head, torso, upper arms, lower arms, upper legs, lower legs."""
UNLABELLED: Final = 255

_PERSON: Final = 15
"""Of PASCAL VOC's classes."""
_PART_NAMES: Final = {
    1: ("hair", "head", "lear", "lebrow", "leye", "mouth", "nose", "rear", "rebrow", "reye"),
    2: ("neck", "torso"),
    3: ("luarm", "ruarm"),
    4: ("lhand", "llarm", "rhand", "rlarm"),
    5: ("luleg", "ruleg"),
    6: ("lfoot", "llleg", "rfoot", "rlleg"),
}
"""PASCAL-Part's names (l and r: left and right; u and l: upper and lower), by label."""
_PARTS: Final = {name: label for label, names in _PART_NAMES.items() for name in names}

_INDOORS: Final = np.array([
    3, 4, 6, 9, 10, 11, 13, 15, 17, 18, 22, 23, 29, 30, 33, 34, 36, 37, 38, 39, 41, 43, 46, 49,
    50, 51, 53, 55, 56, 59, 61, 62, 65, 66, 68, 69, 72, 73, 78, 83, 84, 85, 87, 88, 95, 96, 101,
    104, 105, 107, 111, 113, 115, 122, 124, 135, 141, 142, 143, 146, 150, 154, 157, 158, 159, 165,
    172, 174, 181, 183, 184, 191, 193, 195, 197, 199, 202, 213, 215, 216, 219, 220, 223, 225, 228,
    230, 232, 233, 238, 239, 242, 243, 246, 250, 251, 252, 255, 260, 261, 263, 269, 272, 273, 275,
    281, 283, 284, 285, 286, 287, 288, 290, 291, 292, 293, 295, 304, 307, 309, 310, 314, 315, 319,
    323, 329, 330, 331, 336, 342, 345, 349, 350, 351, 352, 355, 357, 368, 370, 371, 374, 379, 380,
    383, 384, 397, 401, 403, 405, 407, 408, 411, 412, 413, 414, 417, 419, 421, 423, 427, 429, 430,
    432, 440, 441, 442, 443, 444, 446, 454, 457,
])  # fmt: skip
"""PASCAL-Context's classes that NYU Depth v2 has by the same name, and the television."""


def read_image(files: Files, side: int) -> Tensor:
    """Float [3, side, side], normalised."""
    path = files["image"]
    try:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
            pixels = np.asarray(resized, dtype=np.float32) / 255
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise unreadable(path, error) from error
    return normalised(torch.from_numpy(pixels).movedim(2, 0))


def read_semseg(files: Files, side: int) -> Tensor:
    """Uint8 [side, side]: 0 .. 20, or 255."""
    labels = _read_png(files["semseg"], channels=None)
    wrong = labels[(labels >= CLASSES) & (labels != UNLABELLED)]
    if len(wrong):
        raise WorkloadError(f"{files['semseg']} has the label {wrong[0]}, beyond {CLASSES} classes")
    return torch.from_numpy(_nearest(labels, side))


def read_human_parts(files: Files, side: int) -> Tensor:
    """Uint8 [side, side]: 0 .. 6, all 255 where no part of a person is annotated."""
    path = files["human_parts"]
    target: NDArray[np.uint8] | None = None
    anno = _read_mat(path, "anno")
    try:
        for thing in anno[0, 0][1][0]:
            _, category, mask, parts = thing
            if int(category[0, 0]) != _PERSON or not parts.size:
                continue
            if target is None:
                target = np.zeros(mask.shape, np.uint8)
            for part, part_mask in parts[0]:
                target[part_mask.astype(np.bool_)] = _PARTS[str(part[0])]
    except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise WorkloadError(f"{path} is not an annotation of PASCAL-Part") from error
    if target is None or not target.any():
        return torch.full((side, side), UNLABELLED, dtype=torch.uint8)
    return torch.from_numpy(_nearest(target, side))


def read_saliency(files: Files, side: int) -> Tensor:
    """Uint8 [side, side]: 0 or 1."""
    return torch.from_numpy(
        _nearest((_read_png(files["saliency"], channels=None) > 127).astype(np.uint8), side)
    )


def read_edges(files: Files, side: int) -> Tensor:
    """Uint8 [side, side]: 1 on the thinned lines where the Laplacian of the label map is not 0."""
    labels = _read_label_map(files["context"]).astype(np.int64)
    edges = thin(laplace(labels, mode="mirror") != 0)
    return torch.from_numpy(_nearest(edges.astype(np.uint8), side))


def read_normals(files: Files, side: int) -> Tensor:
    """Float [3, side, side]: directions, 0 outside the classes known indoors."""
    known = np.isin(_read_label_map(files["context"]), _INDOORS).astype(np.uint8)
    colours = _nearest(_read_png(files["normals"], channels=3), side).astype(np.float32)
    directions = (2 * colours / 255 - 1) * _nearest(known, side)[:, :, None]
    return torch.from_numpy(directions).movedim(2, 0).contiguous()


def _read_label_map(path: Path) -> NDArray[Any]:
    labels = _read_mat(path, "LabelMap")
    if labels.ndim != 2 or labels.dtype.kind not in "fiu":
        raise WorkloadError(f"{path} has a LabelMap that is no map of labels")
    return labels


def _read_mat(path: Path, variable: str) -> NDArray[Any]:
    try:
        content = loadmat(path, variable_names=[variable])
    except (OSError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise unreadable(path, error) from error
    if variable not in content:
        raise WorkloadError(f"{path} has no variable {variable!r}")
    found: NDArray[Any] = content[variable]
    return found


def _read_png(path: Path, channels: int | None) -> NDArray[np.uint8]:
    """Bytes [H, W, channels] (`None`: [H, W], palette indices as they are)."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise unreadable(path, error) from error
    if pixels.dtype != np.uint8 or pixels.shape[2:] != (() if channels is None else (channels,)):
        raise WorkloadError(f"{path} must have {channels or 1} channel(s) of one byte")
    return pixels


def _nearest(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The nearest pixel of each: [H, W, ...] to [side, side, ...]."""
    return np.array(Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST))
