"""Features of segments as a search over pixels, compiled: what the bench compares ours with.

*Our own re-implementation*, written from a description of the released code of Chan et al. 2021,
not the code itself: naive maps with a sort, then a walk over all pixels; each pixel of the mask
that no segment has yet grows one, pixel by pixel, and sums what the 2q + 37 columns need in single
precision, E[x^2] - E[x]^2 for the variances, neighbours counted once for each contact.  Whatever
else the released code spends its time on is not copied: a ratio to this is no ratio to that.

It needs a C compiler (`cc`), at the time of measuring only.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SUMS = 16
"""Sums of a segment before those of the classes, see `_SOURCE`."""
_SOURCE = r"""
/* p (h, w, q), maps (3, h, w), mask and id (h, w), stack (2 h w), sums (k, 16 + 2 q); returns k.
   A row of sums: pixels, inside, row, column, then for E, V, M: sum and sum of squares over the
   inside, the same over the boundary; then class probabilities; then contacts by class. */
int search(const float *p, const float *maps, const unsigned char *mask, const int *best,
           int h, int w, int q, int *id, int *stack, float *sums, int most)
{
    int found = 0, width = 16 + 2 * q;
    for (int start = 0; start < h * w; start++) {
        if (!mask[start] || id[start]) continue;
        if (++found > most) return -1;
        int filled = 0;
        float *s = sums + (long)(found - 1) * width;
        stack[filled++] = start;
        id[start] = found;
        while (filled) {
            int at = stack[--filled], row = at / w, col = at % w, inside = 1;
            for (int dr = -1; dr <= 1; dr++)
                for (int dc = -1; dc <= 1; dc++) {
                    int r = row + dr, c = col + dc, other = r * w + c;
                    if (r < 0 || c < 0 || r >= h || c >= w) { inside = 0; continue; }
                    if (mask[other]) {
                        if (!id[other]) { id[other] = found; stack[filled++] = other; }
                    } else {
                        inside = 0;
                        s[16 + q + best[other]] += 1;
                    }
                }
            s[0] += 1; s[1] += inside; s[2] += row; s[3] += col;
            for (int m = 0; m < 3; m++) {
                float x = maps[(long)m * h * w + at];
                float *of = s + 4 + 4 * m + (inside ? 0 : 2);
                of[0] += x; of[1] += x * x;
            }
            for (int j = 0; j < q; j++) s[16 + j] += p[(long)at * q + j];
        }
    }
    return found;
}
"""


def compiler() -> str | None:
    """Return the path of the C compiler, None where there is none."""
    return shutil.which("cc")


@functools.cache
def _library() -> ctypes.CDLL:
    """Compile the search with -O3 and load it."""
    found = compiler()
    if found is None:
        raise ValueError("the compiled search needs a C compiler named cc, and there is none")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "search.c", Path(folder) / "search.so"
        source.write_text(_SOURCE, encoding="utf-8")
        command = [found, "-O3", "-shared", "-fPIC", str(source), "-o", str(target)]
        subprocess.run(command, check=True, capture_output=True)
        return ctypes.CDLL(str(target))


def naive_maps(p: Floats) -> tuple[Floats, NDArray[np.int32]]:
    """Return E, V and M of p (h, w, q) with a sort, (3, h, w), and the likeliest class (h, w)."""
    tiny = np.finfo(np.float32).eps
    entropy = np.sum(p * np.log(p + tiny), axis=-1) / np.log(1 / p.shape[-1])
    order = np.sort(p, axis=-1)
    variation = 1 - order[..., -1]
    maps = np.stack([entropy, variation, variation + order[..., -2]]).astype(np.float32)
    return maps, p.argmax(axis=-1).astype(np.int32)


def search_features(p: Floats, threshold: float) -> NDArray[np.float64]:
    """Find the segments of the entropy and return their 2q + 37 features.

    Parameters
    ----------
    p : ndarray of float32, shape (h, w, q)
        Softmax probabilities, pixel by pixel in memory.
    threshold : float
        Segments are where the entropy over log q is at least this.

    Returns
    -------
    ndarray of float64, shape (k, 2q + 37)
        In the columns of ``feature_names(q, extended=True)``.

    Raises
    ------
    ValueError
        If there is no C compiler.
    """
    library = _library()
    height, width, q = p.shape
    maps, best = naive_maps(p)
    mask = (maps[0] >= threshold).astype(np.uint8)
    ids = np.zeros((height, width), np.int32)
    stack = np.empty(height * width, np.int32)
    sums = np.zeros((1 + int(mask.sum()), SUMS + 2 * q), np.float32)
    arrays: list[Any] = [np.ascontiguousarray(p), maps, mask, best]
    found = library.search(
        *(a.ctypes.data_as(ctypes.c_void_p) for a in arrays), height, width, q,
        *(a.ctypes.data_as(ctypes.c_void_p) for a in (ids, stack, sums)), len(sums),
    )  # fmt: skip
    return _table(sums[:found].astype(np.float64), q)


def _table(sums: NDArray[np.float64], q: int) -> NDArray[np.float64]:
    """Return the columns from the sums of all segments."""
    size, inside = sums[:, 0], sums[:, 1]
    edge = size - inside
    ratios = (size / edge, inside / edge)
    columns: list[NDArray[np.float64]] = []
    for m in range(3):
        parts = sums[:, 4 + 4 * m : 8 + 4 * m]
        whole = (parts[:, :2] + parts[:, 2:]) / size[:, None]
        core, rim = parts[:, :2] / np.maximum(inside, 1)[:, None], parts[:, 2:] / edge[:, None]
        for of in ((whole[:, 0], core[:, 0], rim[:, 0]), tuple(map(_variance, (whole, core, rim)))):
            columns += [*of, of[0] * ratios[0], of[1] * ratios[1]]
    near = sums[:, SUMS + q :]
    shares = near / np.maximum(near.sum(axis=1), 1)[:, None]
    columns += [size, inside, edge, *ratios, *(sums[:, SUMS : SUMS + q] / size[:, None]).T]
    return np.stack([*columns, *shares.T, sums[:, 2] / size, sums[:, 3] / size], axis=1)


def _variance(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return E[x^2] - E[x]^2 from (k, 2)."""
    return np.asarray(moments[:, 1] - moments[:, 0] ** 2)
