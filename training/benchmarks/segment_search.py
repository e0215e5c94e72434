"""Segment features by a compiled search over pixels: a baseline for the benchmark.

This is *our re-implementation* from a description of the released code of Chan et al. 2021, not the
code itself.  It computes naive maps with a sort, then visits all pixels.  Each unvisited pixel of
the mask starts a segment that grows pixel by pixel and sums the terms of the 2q + 37 columns in
single precision.  Variances are E[x^2] - E[x]^2, and neighbours count once for each contact.  The
released code does more work that is not copied here, so ratios to this baseline are not ratios to
that code.

The benchmark needs a C compiler (`cc`) at run time.
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
"""Number of sums of a segment that precede the sums of the classes, see `_SOURCE`."""
_SOURCE = r"""
/* p (h, w, q), maps (3, h, w), mask and id (h, w), stack (2 h w), sums (k, 16 + 2 q); returns k.
   A row of sums: pixels, inside, row, column; then for E, V, M the sum and the sum of squares over
   the inside, and both over the boundary; then class probabilities; then contacts by class. */
int search(const float *p, const float *maps, const unsigned char *mask, const int *best,
           int h, int w, int q, int *id, int *stack, float *sums, int most)
{
    int count = 0, width = 16 + 2 * q;
    for (int start = 0; start < h * w; start++) {
        if (!mask[start] || id[start]) continue;
        if (++count > most) return -1;
        int filled = 0;
        float *s = sums + (long)(count - 1) * width;
        stack[filled++] = start;
        id[start] = count;
        while (filled) {
            int at = stack[--filled], row = at / w, col = at % w, inside = 1;
            for (int dr = -1; dr <= 1; dr++)
                for (int dc = -1; dc <= 1; dc++) {
                    int r = row + dr, c = col + dc, other = r * w + c;
                    if (r < 0 || c < 0 || r >= h || c >= w) { inside = 0; continue; }
                    if (mask[other]) {
                        if (!id[other]) { id[other] = count; stack[filled++] = other; }
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
    return count;
}
"""


def compiler() -> str | None:
    """Return the path of the C compiler, or None."""
    return shutil.which("cc")


@functools.cache
def _library() -> ctypes.CDLL:
    """Compile the search with -O3 and load it."""
    path = compiler()
    if path is None:
        raise ValueError("the compiled search found no C compiler named cc; install one")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "search.c", Path(folder) / "search.so"
        source.write_text(_SOURCE, encoding="utf-8")
        command = [path, "-O3", "-shared", "-fPIC", str(source), "-o", str(target)]
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
    """Return the 2q + 37 features of the segments of the entropy map.

    Parameters
    ----------
    p : ndarray of float32, shape (h, w, q)
        Softmax probabilities; the classes of a pixel are adjacent in memory.
    threshold : float
        Lowest entropy over log q in a segment.

    Returns
    -------
    ndarray of float64, shape (k, 2q + 37)
        The columns are ``feature_names(q, extended=True)``.

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
    count = library.search(
        *(a.ctypes.data_as(ctypes.c_void_p) for a in arrays), height, width, q,
        *(a.ctypes.data_as(ctypes.c_void_p) for a in (ids, stack, sums)), len(sums),
    )  # fmt: skip
    return _table(sums[:count].astype(np.float64), q)


def _table(sums: NDArray[np.float64], q: int) -> NDArray[np.float64]:
    """Return the feature columns from the sums of all segments."""
    size, inside = sums[:, 0], sums[:, 1]
    edge = size - inside
    ratios = (size / edge, inside / edge)
    columns: list[NDArray[np.float64]] = []
    for m in range(3):
        both = sums[:, 4 + 4 * m : 8 + 4 * m]
        whole = (both[:, :2] + both[:, 2:]) / size[:, None]
        core, rim = both[:, :2] / np.maximum(inside, 1)[:, None], both[:, 2:] / edge[:, None]
        for of in ((whole[:, 0], core[:, 0], rim[:, 0]), tuple(map(_variance, (whole, core, rim)))):
            columns += [*of, of[0] * ratios[0], of[1] * ratios[1]]
    near = sums[:, SUMS + q :]
    shares = near / np.maximum(near.sum(axis=1), 1)[:, None]
    columns += [size, inside, edge, *ratios, *(sums[:, SUMS : SUMS + q] / size[:, None]).T]
    return np.stack([*columns, *shares.T, sums[:, 2] / size, sums[:, 3] / size], axis=1)


def _variance(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return E[x^2] - E[x]^2 from (k, 2)."""
    return np.asarray(moments[:, 1] - moments[:, 0] ** 2)
