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
