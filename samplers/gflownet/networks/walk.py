"""Rollouts of an MLP over a hypergrid as machine code: the walks of a batch are divided among threads, start to end.

With small batches a rollout in torch is a long row of tiny operations, and calling them costs more than the arithmetic.
Here one call walks all of it. The code is C with vector extensions (GCC or Clang), compiled for the CPU at hand once a
process, which takes about a second.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.errors import ConfigError, RunError
from samplers.environment.environment import Environment
from samplers.environment.hypergrid import HyperGrid, HyperGridState
from samplers.environment.rollout import Slices, Trajectories, drawn
from samplers.gflownet.networks.mlp import SLOPE, MLPPolicy
from samplers.gflownet.policy import Policy

PANEL = 32
"""columns of a weight that are computed together; widths are a multiple of it"""

SOURCE = r"""
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX512F__
#define LANES 16
#define ROWS 8
#else
#define LANES 8
#define ROWS 2
#endif
#define PANEL 32
#define PARTS (PANEL / LANES)
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int mask __attribute__((vector_size(4 * LANES)));
typedef unsigned char flag;

typedef struct {
    long n, steps, dimension, side, edge_ends, length, width, depth, threads;
    float slope;
    const float *first;   /* dimension * side rows: the first layer's weight, transposed */
    const float *told;    /* n rows: what the condition adds to the first layer, bias included */
    const float *weight;  /* depth - 1 layers of width / PANEL panels of width x PANEL */
    const float *bias;    /* depth - 1 rows */
    const float *scale, *shift;  /* n rows */
    const float *head, *offset;  /* actions rows; actions */
    const float *factor;  /* n: what logits are multiplied by, or null */
    const float *noise;   /* steps x n x actions: log of exponential noise */
    const flag *explores; /* steps x n, or null */
    long *position;       /* (steps + 1) x n x dimension */
    flag *stopped;        /* (steps + 1) x n */
    long *action;         /* steps x n */
    flag *allowed;        /* steps x n x actions */
    float *hidden;        /* depth x steps x n x width, or null */
    float *logits;        /* steps x n x actions */
    float *log_forward;   /* steps x n: log-probability of the action; 0 where only stopping is left */
    float *log_backward;  /* steps x n: under the uniform backward policy; padding has 0 */
    flag *moves;          /* steps x n: 0 for padding */
} walk;

static inline vec rectified(vec x, float slope) {
    mask is_high = x > 0;
    return (vec)((is_high & (mask)x) | (~is_high & (mask)(x * slope)));
}

/* the gradient before a rectifier, from the one after it and what it gave */
static inline vec through(vec g, vec h, float slope) {
    mask is_high = h > 0;
    return (vec)((is_high & (mask)g) | (~is_high & (mask)(g * slope)));
}

static inline void add(float *to, const float *x, long width) {
    for (long j = 0; j < width; j += LANES) *(vec *)(to + j) += *(const vec *)(x + j);
}

/* sum[r] += sum over k of in[r * row + k * next] * w[k], for ROWS rows and one panel w */
static inline void multiply(vec sum[ROWS][PARTS], const float *in, long row, long next, const float *w, long count) {
    for (long k = 0; k < count; k++, w += PANEL) {
        vec column[PARTS];
#pragma GCC unroll 4
        for (int p = 0; p < PARTS; p++) column[p] = *(const vec *)(w + p * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
            for (int p = 0; p < PARTS; p++) sum[r][p] += in[r * row + k * next] * column[p];
    }
}

/* out = leaky(in W + b) for ROWS rows; a slope of 1 leaves out the rectifier, a null bias the sum */
static void layer(const float *in, const float *weight, const float *bias, float *out, long width, float slope) {
    for (long panel = 0; panel < width; panel += PANEL) {
        vec sum[ROWS][PARTS];
        for (int r = 0; r < ROWS; r++)
            for (int p = 0; p < PARTS; p++)
                sum[r][p] = bias ? *(const vec *)(bias + panel + p * LANES) : (vec){0};
        multiply(sum, in, width, 1, weight + panel * width, width);
        for (int r = 0; r < ROWS; r++)
            for (int p = 0; p < PARTS; p++)
                *(vec *)(out + r * width + panel + p * LANES) = rectified(sum[r][p], slope);
    }
}

/* softmax over the allowed options, into p; returns log of the sum of the exponentials */
static float softmax(const float *logits, const flag *allowed, long actions, float *p) {
    float highest = -1e30f, sum = 0;
    for (long o = 0; o < actions; o++)
        if (allowed[o] && logits[o] > highest) highest = logits[o];
    for (long o = 0; o < actions; o++) sum += p[o] = allowed[o] ? expf(logits[o] - highest) : 0;
    for (long o = 0; o < actions; o++) p[o] /= sum;
    return highest + logf(sum);
}

/* -log of the number of backward actions of a place that a step has led to */
static float backward(const walk *a, const long *place, flag stopped) {
    long above = 0, edges = 0;
    if (stopped) return 0;
    for (long d = 0; d < a->dimension; d++) {
        above += place[d] > 0;
        edges += place[d] == a->side - 1;
    }
    return -logf(a->edge_ends && edges ? edges : above);
}

static int is_done(const walk *a, const long *place, flag stopped) {
    if (stopped) return 1;
    if (a->edge_ends)
        for (long d = 0; d < a->dimension; d++)
            if (place[d] == a->side - 1) return 1;
    return 0;
}

/* walks of up to ROWS rows; returns how many steps were taken until all had ended */
static long walk_rows(const walk *a, long start, long count, float *one, float *two) {
    long n = a->n, dimension = a->dimension, width = a->width, actions = dimension + 1;
    memset(one, 0, sizeof(float) * ROWS * width);
    for (long i = 0; i < count; i++) {
        memset(a->position + (start + i) * dimension, 0, sizeof(long) * dimension);
        a->stopped[start + i] = 0;
    }
    for (long t = 0; t < a->steps; t++) {
        const long *place = a->position + (t * n + start) * dimension;
        const flag *stopped = a->stopped + t * n + start;
        flag done[ROWS];
        long going = 0;
        for (long i = 0; i < count; i++) going += !(done[i] = is_done(a, place + i * dimension, stopped[i]));
        if (!going) return t;
        for (long i = 0; i < count; i++) {
            const float *told = a->told + (start + i) * width;
            for (long j = 0; j < width; j += LANES) {
                vec sum = *(const vec *)(told + j);
                for (long d = 0; d < dimension; d++)
                    sum += *(const vec *)(a->first + (d * a->side + place[i * dimension + d]) * width + j);
                *(vec *)(one + i * width + j) = rectified(sum, a->slope);
            }
        }
        if (a->hidden) memcpy(a->hidden + (t * n + start) * width, one, sizeof(float) * count * width);
        float *in = one, *out = two;
        for (long l = 1; l < a->depth; l++) {
            layer(in, a->weight + (l - 1) * width * width, a->bias + (l - 1) * width, out, width, a->slope);
            if (a->hidden)
                memcpy(a->hidden + ((l * a->steps + t) * n + start) * width, out, sizeof(float) * count * width);
            float *spare = in;
            in = out;
            out = spare;
        }
        for (long i = 0; i < count; i++) {
            long row = start + i, at = t * n + row, level = 0, best = -1;
            float shares[actions], by = a->factor ? a->factor[row] : 1;
            long *next = a->position + ((t + 1) * n + row) * dimension;
            float *logits = a->logits + at * actions, highest = 0;
            flag *allowed = a->allowed + at * actions;
            for (long d = 0; d < dimension; d++) level += place[i * dimension + d];
            for (long o = 0; o < actions; o++) {
                vec sum = {0};
                for (long j = 0; j < width; j += LANES) {
                    vec x = *(const vec *)(in + i * width + j) * *(const vec *)(a->scale + row * width + j)
                            + *(const vec *)(a->shift + row * width + j);
                    sum += x * *(const vec *)(a->head + o * width + j);
                }
                float logit = a->offset[o];
                for (int j = 0; j < LANES; j++) logit += sum[j];
                logits[o] = logit *= by;
                if (o < dimension) {
                    allowed[o] = !done[i] && place[i * dimension + o] < a->side - 1
                                 && (!a->length || level < a->length - 1);
                } else {
                    allowed[o] = !a->length || level == a->length - 1;
                }
                if (a->explores && a->explores[at]) logit = 0;
                float score = logit - a->noise[at * actions + o];
                if (allowed[o] && (best < 0 || score > highest)) {
                    highest = score;
                    best = o;
                }
            }
            a->action[at] = best;
            for (long d = 0; d < dimension; d++) next[d] = place[i * dimension + d] + (d == best);
            a->stopped[(t + 1) * n + row] = stopped[i] || (best == dimension && !done[i]);
            a->moves[at] = !done[i];
            a->log_backward[at] = done[i] ? 0 : backward(a, next, a->stopped[(t + 1) * n + row]);
            a->log_forward[at] = logits[best] - softmax(logits, allowed, actions, shares);
        }
        if (count < ROWS) memset(one + count * width, 0, sizeof(float) * (ROWS - count) * width);
    }
    return a->steps;
}

/* what follows the last step of some rows: they stay, and only stopping is allowed */
static void pad_rows(const walk *a, long start, long count, long from) {
    long n = a->n, dimension = a->dimension, actions = dimension + 1;
    for (long t = from; t < a->steps; t++)
        for (long row = start; row < start + count; row++) {
            long at = t * n + row;
            memcpy(a->position + (at + n) * dimension, a->position + at * dimension, sizeof(long) * dimension);
            a->stopped[at + n] = a->stopped[at];
            a->action[at] = dimension;
            a->moves[at] = 0;
            a->log_forward[at] = a->log_backward[at] = 0;
            for (long o = 0; o < actions; o++) a->allowed[at * actions + o] = o == dimension;
            /* what nobody computed must not spoil a gradient of 0 */
            memset(a->logits + at * actions, 0, sizeof(float) * actions);
            for (long l = 0; l < a->depth && a->hidden; l++)
                memset(a->hidden + (l * a->steps * n + at) * a->width, 0, sizeof(float) * a->width);
        }
}

long walk_all(const walk *a) {
    long blocks = (a->n + ROWS - 1) / ROWS, longest = 0;
#pragma omp parallel num_threads(a->threads) reduction(max : longest)
    {
        float *buffer = aligned_alloc(64, sizeof(float) * 2 * ROWS * a->width);
#pragma omp for schedule(static)
        for (long block = 0; block < blocks; block++) {
            long start = block * ROWS, count = a->n - start < ROWS ? a->n - start : ROWS;
            long taken = walk_rows(a, start, count, buffer, buffer + ROWS * a->width);
            pad_rows(a, start, count, taken);
            if (taken > longest) longest = taken;
        }
        free(buffer);
    }
    return longest;
}

#define STEPS 8 /* of ROWS walks, taken together */
#define DEEP (ROWS * STEPS)

typedef struct {
    long n, steps, dimension, side, width, depth, threads;
    float slope;
    const long *position;  /* steps x n x dimension: before every step */
    const float *hidden;   /* depth x steps x n x width, layers `stride` numbers apart */
    const float *scale, *shift;
    const float *head;
    const float *weight;   /* depth - 1 layers of width / PANEL panels, not transposed */
    const float *logits;   /* steps x n x actions */
    const flag *allowed;   /* steps x n x actions */
    const long *action;    /* steps x n */
    const float *upward;   /* steps x n: the gradient of the log-probabilities of actions */
    long stride;
    float *to_told, *to_scale, *to_shift; /* n x width, 0 at first */
    float *work;           /* threads x (as many as `shared`, and 3 x 64 x width) */
    float *shared;         /* of the first layer (as above), inner layers, their biases, head and offset */
} gradient;

/* the gradient of the head, the gate and the last rectifier: of one row, into g */
static void from_head(const gradient *a, long at, long row, float *head, float *offset, float *g) {
    long width = a->width, actions = a->dimension + 1;
    float up[actions];
    softmax(a->logits + at * actions, a->allowed + at * actions, actions, up);
    for (long o = 0; o < actions; o++) up[o] = a->upward[at] * ((o == a->action[at]) - up[o]);
    const float *h = a->hidden + (a->depth - 1) * a->stride + at * width;
    for (long o = 0; o < actions; o++) offset[o] += up[o];
    for (long j = 0; j < width; j += LANES) {
        vec x = *(const vec *)(h + j), by = *(const vec *)(a->scale + row * width + j), to_x = {0};
        vec gated = x * by + *(const vec *)(a->shift + row * width + j);
        for (long o = 0; o < actions; o++) {
            to_x += up[o] * *(const vec *)(a->head + o * width + j);
            *(vec *)(head + o * width + j) += up[o] * gated;
        }
        *(vec *)(a->to_scale + row * width + j) += to_x * x;
        *(vec *)(a->to_shift + row * width + j) += to_x;
        *(vec *)(g + j) = through(to_x * by, x, a->slope);
    }
}

/* total += g^T h, for `deep` rows of g (in tiles of ROWS columns: tiles x deep x ROWS) and of h */
static void outer(const float *tiles, const float *h, long stride, long count, long deep, float *total, long width) {
    float panel[DEEP * PANEL];
    for (long j = 0; j < width; j += PANEL) {
        for (long k = 0; k < deep; k++) {
            const float *from = h + (k / ROWS) * stride + (k % ROWS) * width + j;
            if (k % ROWS < count) memcpy(panel + k * PANEL, from, sizeof(float) * PANEL);
            else memset(panel + k * PANEL, 0, sizeof(float) * PANEL);
        }
        for (long o = 0; o < width; o += ROWS) {
            vec sum[ROWS][PARTS];
            float *to = total + o * width + j;
            for (int r = 0; r < ROWS; r++)
                for (int p = 0; p < PARTS; p++) sum[r][p] = *(vec *)(to + r * width + p * LANES);
            multiply(sum, tiles + o * deep, 1, ROWS, panel, deep);
            for (int r = 0; r < ROWS; r++)
                for (int p = 0; p < PARTS; p++) *(vec *)(to + r * width + p * LANES) = sum[r][p];
        }
    }
}

/* some steps of up to ROWS walks */
static void some_steps(const gradient *a, long start, long count, long from, long taken, float *own, float *work) {
    long width = a->width, dimension = a->dimension, n = a->n, deep = taken * ROWS, actions = dimension + 1;
    float *inner = own + dimension * a->side * width, *bias = inner + (a->depth - 1) * width * width;
    float *head = bias + (a->depth - 1) * width, *offset = head + actions * width;
    float *g = work, *below = g + DEEP * width, *tiles = below + DEEP * width;
    int is_empty = 1;
    for (long t = from; t < from + taken && is_empty; t++)
        for (long i = 0; i < count; i++)
            if (a->upward[t * n + start + i] != 0) is_empty = 0;
    if (is_empty) return;
    memset(g, 0, sizeof(float) * DEEP * width);
    for (long t = 0; t < taken; t++)
        for (long i = 0; i < count; i++)
            from_head(a, (from + t) * n + start + i, start + i, head, offset, g + (t * ROWS + i) * width);
    for (long l = a->depth - 1; l > 0; l--) {
        const float *h = a->hidden + (l - 1) * a->stride + (from * n + start) * width;
        for (long k = 0; k < deep; k++) {
            add(bias + (l - 1) * width, g + k * width, width);
            for (long o = 0; o < width; o += ROWS)
                memcpy(tiles + o * deep + k * ROWS, g + k * width + o, sizeof(float) * ROWS);
        }
        outer(tiles, h, n * width, count, deep, inner + (l - 1) * width * width, width);
        for (long t = 0; t < taken; t++) {
            layer(g + t * ROWS * width, a->weight + (l - 1) * width * width, 0, below + t * ROWS * width, width, 1);
            for (long i = 0; i < count; i++)
                for (long j = 0; j < width; j += LANES) {
                    vec *one = (vec *)(below + (t * ROWS + i) * width + j);
                    *one = through(*one, *(const vec *)(h + (t * n + i) * width + j), a->slope);
                }
        }
        float *spare = g;
        g = below;
        below = spare;
    }
    for (long t = 0; t < taken; t++)
        for (long i = 0; i < count; i++) {
            const long *place = a->position + ((from + t) * n + start + i) * dimension;
            const float *one = g + (t * ROWS + i) * width;
            add(a->to_told + (start + i) * width, one, width);
            for (long d = 0; d < dimension; d++) add(own + (d * a->side + place[d]) * width, one, width);
        }
}

void gradient_all(const gradient *a) {
    long width = a->width, actions = a->dimension + 1, blocks = (a->n + ROWS - 1) / ROWS;
    long size = (a->dimension * a->side + (a->depth - 1) * (width + 1) + actions) * width + actions;
    long share = size + 3 * 64 * width, used = 1;
#pragma omp parallel num_threads(a->threads)
    {
        float *own = a->work + omp_get_thread_num() * share;
        memset(own, 0, sizeof(float) * size);
#pragma omp single
        used = omp_get_num_threads();
#pragma omp for schedule(static)
        for (long block = 0; block < blocks; block++) {
            long start = block * ROWS, count = a->n - start < ROWS ? a->n - start : ROWS;
            for (long from = 0; from < a->steps; from += STEPS)
                some_steps(a, start, count, from, a->steps - from < STEPS ? a->steps - from : STEPS, own, own + size);
        }
        /* in the order of threads, so that the sum does not depend on who was first */
#pragma omp for schedule(static)
        for (long from = 0; from < size; from += 4096) {
            long count = size - from < 4096 ? size - from : 4096;
            memcpy(a->shared + from, a->work + from, sizeof(float) * count);
            for (long other = 1; other < used; other++)
                for (long i = from; i < from + count; i++) a->shared[i] += a->work[other * share + i];
        }
    }
}
"""


class _Walk(ctypes.Structure):
    """The C struct `walk`, field by field."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("n", "steps", "dimension", "side", "edge_ends", "length")),
        *((name, ctypes.c_long) for name in ("width", "depth", "threads")),
        ("slope", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("first", "told", "weight", "bias", "scale", "shift", "head", "offset")),
        *((name, ctypes.c_void_p) for name in ("factor", "noise", "explores", "position", "stopped", "action")),
        *((name, ctypes.c_void_p) for name in ("allowed", "hidden", "logits", "log_forward", "log_backward", "moves")),
    ]


class _Gradient(ctypes.Structure):
    """The C struct `gradient`, field by field."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("n", "steps", "dimension", "side", "width", "depth", "threads")),
        ("slope", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("position", "hidden", "scale", "shift", "head", "weight")),
        *((name, ctypes.c_void_p) for name in ("logits", "allowed", "action", "upward")),
        ("stride", ctypes.c_long),
        *((name, ctypes.c_void_p) for name in ("to_told", "to_scale", "to_shift", "work", "shared")),
    ]


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The compiled code; raises `RunError` where there is no C compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise RunError("expected a C compiler (cc, gcc, clang or $CC) for compile: true, found none")
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "walk.c", Path(folder) / "walk.so"
        source.write_text(SOURCE)
        # not -ffast-math: linked into a library, it would change how the whole process treats tiny numbers
        loose = ["-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"]
        options = ["-O3", "-march=native", *loose, "-fopenmp", "-shared", "-fPIC", "-w"]
        command = [compiler, *options, str(source), "-o", str(made), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RunError(f"expected {compiler} to compile the rollout, got: {done.stderr.strip()[:500]}")
        found = ctypes.CDLL(str(made))
    found.walk_all.restype = ctypes.c_long
    found.walk_all.argtypes = [ctypes.POINTER(_Walk)]
    found.gradient_all.restype = None
    found.gradient_all.argtypes = [ctypes.POINTER(_Gradient)]
    return found


@dataclass(frozen=True)
class Walked:
    """What an `MLPPolicy` computed on n walks of l steps, for its gradient."""

    grid: HyperGrid
    position: Int[Tensor, "l n d"]
    """before every step"""
    action: Int[Tensor, "l n"]
    allowed: Bool[Tensor, "l n a"]
    hidden: Float[Tensor, "k l n w"]
    """of all layers; steps beyond the longest walk are cut off, so that layers need not lie side by side"""
    logits: Float[Tensor, "l n a"]
    log_forward: Float[Tensor, "l n"]
    scale: Float[Tensor, "n w"]
    shift: Float[Tensor, "n w"]

    def log_probs(self, policy: MLPPolicy, condition: Float[Tensor, "n d"]) -> Float[Tensor, "n l"]:
        """Log-probabilities of the steps, with their gradient; for the very weights and conditions of the rollout."""
        gate = policy.gate
        parameters = [part for layer in policy.layers() for part in (layer.weight, layer.bias)]
        return _Recalled.apply(self, condition, policy.condition.weight, gate.weight, gate.bias, *parameters).T


class _Recalled(torch.autograd.Function):
    """Log-probabilities of steps that are known already, with their gradient (also that of `MLPPolicy.tell`)."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        walked: Walked,
        condition: Float[Tensor, "n d"],
        to_first: Float[Tensor, "w d"],
        gate: Float[Tensor, "v d"],
        offset: Float[Tensor, " v"],
        *parameters: Tensor,
    ) -> Float[Tensor, "l n"]:
        ctx.walked = walked
        ctx.save_for_backward(condition, *parameters[::2])
        return walked.log_forward.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upward: Float[Tensor, "l n"]) -> Any:  # type: ignore[override]
        walked: Walked = ctx.walked
        condition, _first, *inner, head = ctx.saved_tensors
        scale, shift = walked.scale, walked.shift
        (steps, n, dimension), (n, width), grid = walked.position.shape, scale.shape, walked.grid
        places, depth, actions = dimension * grid.side, 1 + len(inner), len(head)
        sizes = (places * width, len(inner) * width**2, len(inner) * width, actions * width, actions)
        outputs = {
            **{name: torch.zeros(n, width) for name in ("to_told", "to_scale", "to_shift")},
            "work": torch.empty(torch.get_num_threads(), sum(sizes) + 3 * 64 * width),
            "shared": torch.empty(sum(sizes)),
        }
        inputs = {
            "position": walked.position,
            "hidden": walked.hidden,
            "scale": scale,
            "shift": shift,
            "head": head,
            "weight": _together([_panels(weight.T) for weight in inner]),
            "logits": walked.logits,
            "allowed": walked.allowed,
            "action": walked.action,
            "upward": upward.contiguous(),
        }
        whole = {
            "n": n,
            "steps": steps,
            "dimension": dimension,
            "side": grid.side,
            "width": width,
            "depth": depth,
            "threads": torch.get_num_threads(),
            "slope": SLOPE,
            "stride": walked.hidden.stride(0),
        }
        library().gradient_all(ctypes.byref(_Gradient(**whole, **_pointers(inputs | outputs))))
        first, weights, biases, to_head, to_offset = outputs["shared"].split(sizes)
        to_told, to_gate = outputs["to_told"], torch.cat([outputs["to_scale"], outputs["to_shift"]], 1)
        layers: list[Tensor] = [to_told.T @ condition, to_gate.T @ condition, to_gate.sum(0)]
        layers += [first.view(places, width).T, to_told.sum(0)]
        for weight, bias in zip(weights.view(-1, width, width), biases.view(-1, width), strict=True):
            layers += [weight, bias]
        layers += [to_head.view(actions, width), to_offset]
        return None, None, *layers


def _pointers(tensors: Mapping[str, Tensor | None]) -> dict[str, int | None]:
    """Where contiguous tensors lie."""
    return {name: None if part is None else part.data_ptr() for name, part in tensors.items()}


class GridWalk:
    """The rollout of an MLP over a hypergrid in one call; the same walks as `rollout` from the same random numbers.

    (Up to rounding: sums are taken in another order.) What the layers gave is kept with the trajectories where it is
    asked for, so that the gradient need not compute it again.
    """

    def __init__(self, environment: Environment, policy: Policy) -> None:
        if not isinstance(environment, HyperGrid) or not isinstance(policy, MLPPolicy):
            raise ConfigError(
                f"expected an MLP over a HyperGrid for compile: true, got {type(policy).__name__} over "
                f"{type(environment).__name__}"
            )
        if policy.first.out_features % PANEL:
            raise ConfigError(
                f"expected a width that {PANEL} divides for compile: true, got {policy.first.out_features}"
            )
        self.grid, self.policy = environment, policy
        library()

    @property
    def suits(self) -> bool:
        """True while the weights can be read: float32, on the CPU."""
        weight = self.policy.first.weight
        return weight.dtype == torch.float32 and weight.device.type == "cpu"

    @torch.no_grad()
    def rollout(
        self,
        condition: Float[Tensor, "n d"],
        *,
        epsilon: float = 0.0,
        remembers: bool = False,
        generator: torch.Generator | None = None,
    ) -> Trajectories[HyperGridState]:
        """n walks under a condition each."""
        grid, policy = self.grid, self.policy
        first, *inner, head = policy.layers()
        n, steps, width, actions = len(condition), grid.max_steps, first.out_features, grid.sizes[0]
        noise, explores = zip(*drawn(n, grid.sizes, steps, epsilon=epsilon, generator=generator), strict=True)
        told, scale, shift = (part.contiguous() for part in policy.tell(condition))
        inputs = {
            "first": first.weight.T.contiguous(),
            "told": told + first.bias,
            "weight": _together([_panels(layer.weight) for layer in inner]),
            "bias": _together([layer.bias for layer in inner]),
            "scale": scale,
            "shift": shift,
            "head": head.weight,
            "offset": head.bias,
            "factor": None if policy.scale is None else policy.scale(condition),
            "noise": noise[0] if len(noise) == 1 else torch.cat(noise),
            "explores": torch.cat([*explores]) if epsilon > 0 else None,
        }
        made = {
            "position": torch.empty(steps + 1, n, grid.dimension, dtype=torch.long),
            "stopped": torch.empty(steps + 1, n, dtype=torch.bool),
            "action": torch.empty(steps, n, dtype=torch.long),
            "allowed": torch.empty(steps, n, actions, dtype=torch.bool),
            "logits": torch.empty(steps, n, actions),
            "log_forward": torch.empty(steps, n),
            "log_backward": torch.empty(steps, n),
            "moves": torch.empty(steps, n, dtype=torch.bool),
        }
        hidden = torch.empty(1 + len(inner), steps, n, width) if remembers else None
        whole = {
            "n": n,
            "steps": steps,
            "dimension": grid.dimension,
            "side": grid.side,
            "edge_ends": grid.edge_ends,
            "length": grid.length or 0,
            "width": width,
            "depth": 1 + len(inner),
            "threads": torch.get_num_threads(),
            "slope": SLOPE,
        }
        longest = library().walk_all(ctypes.byref(_Walk(**whole, **_pointers({**inputs, **made, "hidden": hidden}))))
        part = {name: value[:longest] for name, value in made.items()}
        kept = {name: part[name] for name in ("position", "action", "allowed", "logits", "log_forward")}
        kept |= {"scale": scale, "shift": shift}
        places = HyperGridState(made["position"][: longest + 1], made["stopped"][: longest + 1])
        return Trajectories(
            actions=part["action"].T[..., None],
            allowed=(part["allowed"].transpose(0, 1),),
            states=Slices(places),
            log_backward=part["log_backward"].T,
            log_symmetry=torch.zeros(n),
            moves=part["moves"].T,
            remembered=None if hidden is None else Walked(grid, hidden=hidden[:, :longest], **kept),
        )


def _together(parts: list[Tensor]) -> Tensor | None:
    """Tensors of one shape one after another; None where there is none."""
    return parts[0] if len(parts) == 1 else torch.cat(parts) if parts else None


def _panels(weight: Float[Tensor, "o i"]) -> Float[Tensor, "p i c"]:
    """A weight, transposed, as panels of `PANEL` columns."""
    return weight.reshape(-1, PANEL, weight.shape[1]).transpose(1, 2).contiguous()
