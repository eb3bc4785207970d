/* The blocks of the graph transformer and their gradients, sixteen graphs at a time.
 *
 * A graph is v nodes and p = v (v + 1) / 2 pairs i <= j, row by row; what is missing of a smaller one is computed like the
 * rest, and no node attends to it. A block has nine linear layers; their weights come as (in x out) rows and, for
 * gradients, as (out x in) rows. Its modulation is 4 d + 2 e numbers: scales and shifts of three normalised states.
 * Gradients need the states before every block; the rest of a block is computed again.
 */
#include "lanes.h"

enum { QKV, GATES, HEARD, ENDS, OUT, NODE_IN, NODE_OUT, EDGE_IN, EDGE_OUT, LAYERS };
typedef struct {
    int v, p, d, e, h, depth;
} shape;

static int inputs(const shape *s, int layer) {
    const int of[LAYERS] = {s->d, s->e, s->h, s->d, s->d, s->d, 2 * s->d, s->e, 2 * s->e};
    return of[layer];
}
static int outputs(const shape *s, int layer) {
    const int of[LAYERS] = {3 * s->d, 2 * s->h, s->e, s->e, s->d, 2 * s->d, s->d, 2 * s->e, s->e};
    return of[layer];
}
INLINE int is_of_pairs(int layer) { return layer == GATES || layer == HEARD || layer == EDGE_IN || layer == EDGE_OUT; }

#ifdef __AVX512F__
INLINE vec inverse(vec x) {
    vec y = (vec)_mm512_rcp14_ps((__m512)x);
    return y * (2.f - x * y);
}
#else
INLINE vec inverse(vec x) { return 1.f / x; }
#endif
INLINE vec sigmoid(vec x) { return inverse(1.f + power_of_two(least(all(HIGHEST), x * -LOG2E))); }

/* W (K x N) += A^T (K x M) G (M x N), and then b += the rows of G, by lane */
INLINE void lanes_tile(const int R, const int C, int M, const vec *A, int lda, const vec *G, int ldg, vec *W, int ldw) {
    vec sum[4][4];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) sum[r][c] = W[r * ldw + c];
    for (int m = 0; m < M; m++) {
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) {
            vec a = A[m * lda + r];
#pragma GCC unroll 4
            for (int c = 0; c < C; c++) sum[r][c] += a * G[m * ldg + c];
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) W[r * ldw + c] = sum[r][c];
}
INLINE void lanes_strip(const int R, int M, int N, const vec *A, int lda, const vec *G, int ldg, vec *W) {
    int n = 0;
    for (; n + 4 <= N; n += 4) lanes_tile(R, 4, M, A, lda, G + n, ldg, W + n, N);
    for (; n < N; n++) lanes_tile(R, 1, M, A, lda, G + n, ldg, W + n, N);
}
static void gradient_by_lane(int M, int N, int K, const vec *A, int lda, const vec *G, int ldg, vec *W) {
    int k = 0;
    for (; k + 4 <= K; k += 4) lanes_strip(4, M, N, A + k, lda, G, ldg, W + k * N);
    for (; k < K; k++) lanes_strip(1, M, N, A + k, lda, G, ldg, W + k * N);
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) W[K * N + n] += G[m * ldg + n];
}

/* rows of n numbers with mean 0 and variance 1, and by what they were multiplied */
static void normalised(int rows, int n, const vec *in, vec *hat, vec *by) {
    for (int m = 0; m < rows; m++, in += n, hat += n) {
        vec mean = {0}, square = {0};
        for (int k = 0; k < n; k++) mean += in[k];
        mean *= 1.f / n;
        for (int k = 0; k < n; k++) {
            hat[k] = in[k] - mean;
            square += hat[k] * hat[k];
        }
        square = square * (1.f / n) + 1e-5f;
        for (int l = 0; l < L; l++) square[l] = 1.f / sqrtf(square[l]);
        for (int k = 0; k < n; k++) hat[k] *= square;
        by[m] = square;
    }
}
static void modulated(int rows, int n, const vec *hat, const vec *scale, const vec *shift, vec *out) {
    for (int m = 0; m < rows; m++)
        for (int k = 0; k < n; k++) out[m * n + k] = hat[m * n + k] * (1.f + scale[k]) + shift[k];
}
/* adds to the gradients of what was normalised, of scales and of shifts */
static void modulated_back(int rows, int n, const vec *gradients, const vec *hat, const vec *by, const vec *scale, vec *of_scale,
                           vec *of_shift, vec *of_in) {
    for (int m = 0; m < rows; m++, gradients += n, hat += n, of_in += n) {
        vec one = {0}, two = {0};
        for (int k = 0; k < n; k++) {
            of_scale[k] += gradients[k] * hat[k];
            of_shift[k] += gradients[k];
            vec x = gradients[k] * (1.f + scale[k]);
            one += x;
            two += x * hat[k];
        }
        one *= 1.f / n;
        two *= 1.f / n;
        for (int k = 0; k < n; k++) of_in[k] += by[m] * (gradients[k] * (1.f + scale[k]) - one - hat[k] * two);
    }
}

/* out[i][j][head] = factor a_i b_j, over the columns of a head */
INLINE void dot_tile(const int R, const int C, int v, int h, int columns, const vec *a, int lda, const vec *b, int ldb,
                     float factor, vec *out) {
    vec sum[2][4] = {0};
    for (int k = 0; k < columns; k++)
#pragma GCC unroll 2
        for (int r = 0; r < R; r++)
#pragma GCC unroll 4
            for (int c = 0; c < C; c++) sum[r][c] += a[r * lda + k] * b[c * ldb + k];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) out[(r * v + c) * h] = sum[r][c] * factor;
}
INLINE void dot_strip(const int R, int v, int h, int columns, const vec *a, int lda, const vec *b, int ldb, float factor,
                      vec *out) {
    int j = 0;
    for (; j + 4 <= v; j += 4) dot_tile(R, 4, v, h, columns, a, lda, b + j * ldb, ldb, factor, out + j * h);
    for (; j < v; j++) dot_tile(R, 1, v, h, columns, a, lda, b + j * ldb, ldb, factor, out + j * h);
}
static void dots(int v, int h, int columns, const vec *a, int lda, const vec *b, int ldb, float factor, vec *out) {
    for (int head = 0; head < h; head++) {
        const vec *one = a + head * columns, *two = b + head * columns;
        int i = 0;
        for (; i + 2 <= v; i += 2) dot_strip(2, v, h, columns, one + i * lda, lda, two, ldb, factor, out + i * v * h + head);
        for (; i < v; i++) dot_strip(1, v, h, columns, one + i * lda, lda, two, ldb, factor, out + i * v * h + head);
    }
}

/* out_i = factor sum_j w[i][j][head] x_j over the columns of a head; or w[j][i] where `across` */
INLINE void mix_tile(const int R, const int C, int v, const vec *w, int si, int sj, const vec *x, int ldx, float factor,
                     vec *out, int ldo) {
    vec sum[2][8] = {0};
    for (int j = 0; j < v; j++)
#pragma GCC unroll 2
        for (int r = 0; r < R; r++) {
            vec a = w[r * si + j * sj];
#pragma GCC unroll 8
            for (int c = 0; c < C; c++) sum[r][c] += a * x[j * ldx + c];
        }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) out[r * ldo + c] = sum[r][c] * factor;
}
INLINE void mix_strip(const int R, int v, int columns, const vec *w, int si, int sj, const vec *x, int ldx, float factor,
                      vec *out, int ldo) {
    int c = 0;
    for (; c + 8 <= columns; c += 8) mix_tile(R, 8, v, w, si, sj, x + c, ldx, factor, out + c, ldo);
    for (; c < columns; c++) mix_tile(R, 1, v, w, si, sj, x + c, ldx, factor, out + c, ldo);
}
static void mix(int v, int h, int columns, const vec *w, int across, const vec *x, int ldx, float factor, vec *out, int ldo) {
    const int si = across ? h : v * h, sj = across ? v * h : h;
    for (int head = 0; head < h; head++) {
        const vec *of = x + head * columns;
        vec *to = out + head * columns;
        int i = 0;
        for (; i + 2 <= v; i += 2) mix_strip(2, v, columns, w + head + i * si, si, sj, of, ldx, factor, to + i * ldo, ldo);
        for (; i < v; i++) mix_strip(1, v, columns, w + head + i * si, si, sj, of, ldx, factor, to + i * ldo, ldo);
    }
}

/* what a block computes of sixteen graphs; the first row of names is of nodes and may be followed by those of more graphs */
typedef struct {
    vec *x, *z, *u, *bent, *mixed, *of_qkv, *of_ends, *of_out, *of_two, *of_u;
    vec *hat1, *by1, *hat2, *by2, *qkv, *ends, *one, *P, *A, *y, *gates;
    vec *of_P, *of_A, *of_gates, *of_y, *wide, *heard, *hidden, *of_hidden, *hats, *bys, *folded;
    int *first, *second;
} space;

/* attention of a block, and its perceptron of nodes up to the bend */
static void attend(const shape *s, const float **w, const vec *mod, const vec *mask, const vec *nodes, const vec *edges,
                   space *k) {
    const int v = s->v, p = s->p, d = s->d, e = s->e, h = s->h, columns = d / h;
    normalised(v, d, nodes, k->hat1, k->by1);
    modulated(v, d, k->hat1, mod, mod + d, k->x);
    linear(v, 3 * d, d, k->x, d, w[2 * QKV], w[2 * QKV + 1], k->qkv, 3 * d);
    linear(v, e, d, k->x, d, w[2 * ENDS], w[2 * ENDS + 1], k->ends, e);
    dots(v, h, columns, k->qkv, 3 * d, k->qkv + d, 3 * d, 1.f / sqrtf((float)columns), k->P);
    for (int m = 0; m < p; m += TILE) {
        const int rows = p - m < TILE ? p - m : TILE;
        normalised(rows, e, edges + m * e, k->hats, k->bys);
        modulated(rows, e, k->hats, mod + 4 * d, mod + 4 * d + e, k->y + m * e);
    }
    linear(p, 2 * h, e, k->y, e, w[2 * GATES], w[2 * GATES + 1], k->gates, 2 * h);
    for (int m = 0; m < p; m++) {
        const int i = k->first[m], j = k->second[m];
        for (int r = 0; r < h; r++) {
            const vec gate = 1.f + k->gates[m * 2 * h + r], bias = k->gates[m * 2 * h + h + r];
            const vec one = k->P[(i * v + j) * h + r] * gate + bias, two = k->P[(j * v + i) * h + r] * gate + bias;
            k->A[(i * v + j) * h + r] = one * mask[j] + (mask[j] - 1.f) * 1e4f;
            k->A[(j * v + i) * h + r] = two * mask[i] + (mask[i] - 1.f) * 1e4f;
        }
    }
    for (int i = 0; i < v; i++)
        for (int r = 0; r < h; r++) {
            vec *row = k->A + i * v * h + r, top = row[0], sum = {0};
            for (int j = 1; j < v; j++) top = most(top, row[j * h]);
            for (int j = 0; j < v; j++) sum += row[j * h] = power_of_two((row[j * h] - top) * LOG2E);
            sum = 1.f / sum;
            for (int j = 0; j < v; j++) row[j * h] *= sum;
        }
    mix(v, h, columns, k->A, 0, k->qkv + 2 * d, 3 * d, 1.f, k->mixed, d);
    memcpy(k->one, nodes, sizeof(vec) * v * d);
    linear_more(v, d, d, k->mixed, d, w[2 * OUT], w[2 * OUT + 1], k->one, d);
    normalised(v, d, k->one, k->hat2, k->by2);
    modulated(v, d, k->hat2, mod + 2 * d, mod + 3 * d, k->z);
    linear(v, 2 * d, d, k->z, d, w[2 * NODE_IN], w[2 * NODE_IN + 1], k->u, 2 * d);
}

/* rows of the perceptron of pairs from m on, up to the bend */
static int hear(const shape *s, const float **w, int m, space *k) {
    const int v = s->v, e = s->e, h = s->h, rows = s->p - m < TILE ? s->p - m : TILE;
    for (int r = 0; r < rows; r++) {
        const int i = k->first[m + r], j = k->second[m + r];
        for (int c = 0; c < h; c++) k->folded[r * h + c] = k->P[(i * v + j) * h + c] + k->P[(j * v + i) * h + c];
        for (int c = 0; c < e; c++) k->heard[r * e + c] = k->y[(m + r) * e + c] + k->ends[i * e + c] + k->ends[j * e + c];
    }
    linear_more(rows, e, h, k->folded, h, w[2 * HEARD], w[2 * HEARD + 1], k->heard, e);
    linear(rows, 2 * e, e, k->heard, e, w[2 * EDGE_IN], w[2 * EDGE_IN + 1], k->hidden, 2 * e);
    return rows;
}

/* the states after a block in place of those before it */
static void block(const shape *s, const float **w, const vec *mod, const vec *mask, vec *nodes, vec *edges, space *k) {
    const int v = s->v, d = s->d, e = s->e;
    attend(s, w, mod, mask, nodes, edges, k);
    memcpy(nodes, k->one, sizeof(vec) * v * d);
    for (int c = 0; c < v * 2 * d; c++) k->u[c] *= sigmoid(k->u[c]);
    linear_more(v, d, 2 * d, k->u, 2 * d, w[2 * NODE_OUT], w[2 * NODE_OUT + 1], nodes, d);
    for (int m = 0; m < s->p; m += TILE) {
        const int rows = hear(s, w, m, k);
        for (int c = 0; c < rows * 2 * e; c++) k->hidden[c] *= sigmoid(k->hidden[c]);
        linear_more(rows, e, 2 * e, k->hidden, 2 * e, w[2 * EDGE_OUT], w[2 * EDGE_OUT + 1], edges + m * e, e);
    }
}

/* bent = u sigmoid(u); gradients of bent become those of u */
static void bent_back(int n, const vec *u, vec *bent, vec *gradients) {
    for (int c = 0; c < n; c++) {
        const vec x = u[c], share = sigmoid(x);
        bent[c] = x * share;
        gradients[c] *= share * (1.f + x * (1.f - share));
    }
}

/* after `attend`: gradients of the states after a block become those of the states before it; those of layers of pairs are
 * added to `lanes`, those of layers of nodes are for the caller */
static void block_back(const shape *s, const float **w, const float **t, const vec *mod, const vec *mask, const vec *edges,
                       vec *of_nodes, vec *of_edges, vec *of_mod, vec **lanes, space *k) {
    const int v = s->v, p = s->p, d = s->d, e = s->e, h = s->h, columns = d / h;
    memcpy(k->of_two, of_nodes, sizeof(vec) * v * d);
    linear(v, 2 * d, d, of_nodes, d, t[NODE_OUT], NULL, k->of_u, 2 * d);
    bent_back(v * 2 * d, k->u, k->bent, k->of_u);
    linear(v, d, 2 * d, k->of_u, 2 * d, t[NODE_IN], NULL, k->wide, d);
    modulated_back(v, d, k->wide, k->hat2, k->by2, mod + 2 * d, of_mod + 2 * d, of_mod + 3 * d, of_nodes);
    memcpy(k->of_out, of_nodes, sizeof(vec) * v * d);
    linear(v, d, d, of_nodes, d, t[OUT], NULL, k->wide, d);

    memset(k->of_P, 0, sizeof(vec) * v * v * h);
    memset(k->of_ends, 0, sizeof(vec) * v * e);
    for (int m = 0; m < p; m += TILE) {
        const int rows = hear(s, w, m, k);
        vec *of_out = of_edges + m * e, *of_heard = k->of_y + m * e;
        linear(rows, 2 * e, e, of_out, e, t[EDGE_OUT], NULL, k->of_hidden, 2 * e);
        bent_back(rows * 2 * e, k->hidden, k->hidden, k->of_hidden);
        gradient_by_lane(rows, e, 2 * e, k->hidden, 2 * e, of_out, e, lanes[EDGE_OUT]);
        gradient_by_lane(rows, 2 * e, e, k->heard, e, k->of_hidden, 2 * e, lanes[EDGE_IN]);
        linear(rows, e, 2 * e, k->of_hidden, 2 * e, t[EDGE_IN], NULL, of_heard, e);
        gradient_by_lane(rows, e, h, k->folded, h, of_heard, e, lanes[HEARD]);
        linear(rows, h, e, of_heard, e, t[HEARD], NULL, k->folded, h);
        for (int r = 0; r < rows; r++) {
            const int i = k->first[m + r], j = k->second[m + r];
            for (int c = 0; c < h; c++) {
                k->of_P[(i * v + j) * h + c] += k->folded[r * h + c];
                k->of_P[(j * v + i) * h + c] += k->folded[r * h + c];
            }
            for (int c = 0; c < e; c++) {
                k->of_ends[i * e + c] += of_heard[r * e + c];
                k->of_ends[j * e + c] += of_heard[r * e + c];
            }
        }
    }

    dots(v, h, columns, k->wide, d, k->qkv + 2 * d, 3 * d, 1.f, k->of_A);
    mix(v, h, columns, k->A, 1, k->wide, d, 1.f, k->of_qkv + 2 * d, 3 * d);
    for (int i = 0; i < v; i++)
        for (int r = 0; r < h; r++) {
            const vec *row = k->A + i * v * h + r;
            vec *of_row = k->of_A + i * v * h + r, mean = {0};
            for (int j = 0; j < v; j++) mean += row[j * h] * of_row[j * h];
            for (int j = 0; j < v; j++) of_row[j * h] = row[j * h] * (of_row[j * h] - mean) * mask[j];
        }
    for (int m = 0; m < p; m++) {
        const int i = k->first[m], j = k->second[m];
        for (int r = 0; r < h; r++) {
            const int there = (i * v + j) * h + r, back = (j * v + i) * h + r;
            const vec gate = 1.f + k->gates[m * 2 * h + r];
            vec of_gate = k->of_A[there] * k->P[there], of_bias = k->of_A[there];
            k->of_P[there] += k->of_A[there] * gate;
            if (i != j) {
                of_gate += k->of_A[back] * k->P[back];
                of_bias += k->of_A[back];
                k->of_P[back] += k->of_A[back] * gate;
            }
            k->of_gates[m * 2 * h + r] = of_gate;
            k->of_gates[m * 2 * h + h + r] = of_bias;
        }
    }
    const float factor = 1.f / sqrtf((float)columns);
    mix(v, h, columns, k->of_P, 0, k->qkv + d, 3 * d, factor, k->of_qkv, 3 * d);
    mix(v, h, columns, k->of_P, 1, k->qkv, 3 * d, factor, k->of_qkv + d, 3 * d);

    for (int m = 0; m < p; m += TILE) {
        const int rows = p - m < TILE ? p - m : TILE;
        gradient_by_lane(rows, 2 * h, e, k->y + m * e, e, k->of_gates + m * 2 * h, 2 * h, lanes[GATES]);
        linear_more(rows, e, 2 * h, k->of_gates + m * 2 * h, 2 * h, t[GATES], NULL, k->of_y + m * e, e);
        normalised(rows, e, edges + m * e, k->hats, k->bys);
        modulated_back(rows, e, k->of_y + m * e, k->hats, k->bys, mod + 4 * d, of_mod + 4 * d, of_mod + 4 * d + e,
                       of_edges + m * e);
    }
    linear(v, d, 3 * d, k->of_qkv, 3 * d, t[QKV], NULL, k->wide, d);
    linear_more(v, d, e, k->of_ends, e, t[ENDS], NULL, k->wide, d);
    modulated_back(v, d, k->wide, k->hat1, k->by1, mod, of_mod, of_mod + d, of_nodes);
}

/* room for blocks of sixteen graphs; nodes of `chunk` times as many where gradients are wanted */
static size_t divided(const shape *s, int chunk, int has_gradients, vec *from, space *k) {
    const int v = s->v, p = s->p, d = s->d, e = s->e, h = s->h, n = v * d;
    vec *work = from;
    k->hat1 = SHARE(n), k->hat2 = SHARE(n), k->by1 = SHARE(v), k->by2 = SHARE(v), k->one = SHARE(n);
    k->qkv = SHARE(3 * n), k->ends = SHARE(v * e), k->P = SHARE(v * v * h), k->A = SHARE(v * v * h);
    k->y = SHARE(p * e), k->gates = SHARE(2 * p * h), k->hats = SHARE(TILE * e), k->bys = SHARE(TILE);
    k->heard = SHARE(TILE * e), k->hidden = SHARE(2 * TILE * e), k->folded = SHARE(TILE * h);
    k->first = (int *)SHARE(p / L + 1), k->second = (int *)SHARE(p / L + 1);
    k->x = SHARE(chunk * n), k->z = SHARE(chunk * n), k->u = SHARE(2 * n), k->mixed = SHARE(chunk * n);
    if (has_gradients) {
        k->bent = SHARE(2 * chunk * n), k->of_u = SHARE(2 * chunk * n), k->of_qkv = SHARE(3 * chunk * n);
        k->of_out = SHARE(chunk * n), k->of_two = SHARE(chunk * n), k->of_ends = SHARE(chunk * v * e);
        k->of_P = SHARE(v * v * h), k->of_A = SHARE(v * v * h), k->of_gates = SHARE(2 * p * h);
        k->of_y = SHARE(p * e), k->wide = SHARE(n), k->of_hidden = SHARE(2 * TILE * e);
    }
    if (from)
        for (int i = 0, m = 0; i < v; i++)
            for (int j = i; j < v; j++, m++) k->first[m] = i, k->second[m] = j;
    return work - from;
}

/* b graphs: nodes (b x v x d), edges (b x p x e) and mask (b x v) through all blocks, in place; modulation (b x depth x
 * (4 d + 2 e)); weights: W (in x out) and b of every layer of every block. The states before every block are written to
 * `kept`, where there is one: sixteen graphs after each other, block by block, nodes, then pairs. */
int blocks(int b, int v, int d, int e, int h, int depth, const float **weights, const float *modulation, const float *mask,
           float *nodes, float *edges, float *kept) {
    const shape s = {v, v * (v + 1) / 2, d, e, h, depth};
    const int width = 4 * d + 2 * e, states = v * d + s.p * e;
    space k = {0};
    void *held;
    const size_t size = divided(&s, 1, 0, NULL, &k);
    vec *base = room(size + (size_t)depth * width + v + states, &held);
    if (!base) return 1;
    const unsigned mode = hurry();
    divided(&s, 1, 0, base, &k);
    vec *mod = base + size, *exists = mod + (size_t)depth * width, *x = exists + v, *y = x + v * d;
    for (int g = 0; g < b; g += L) {
        const int graphs = b - g < L ? b - g : L;
        bring(graphs, depth * width, modulation + (size_t)g * depth * width, mod);
        bring(graphs, v, mask + (size_t)g * v, exists);
        bring(graphs, v * d, nodes + (size_t)g * v * d, x);
        bring(graphs, s.p * e, edges + (size_t)g * s.p * e, y);
        for (int n = 0; n < depth; n++) {
            if (kept) memcpy(kept + ((size_t)(g / L) * depth + n) * states * L, x, sizeof(vec) * states);
            block(&s, weights + 2 * LAYERS * n, mod + n * width, exists, x, y, &k);
        }
        take(graphs, v * d, x, nodes + (size_t)g * v * d);
        take(graphs, s.p * e, y, edges + (size_t)g * s.p * e);
    }
    rest(mode);
    free(held);
    return 0;
}

/* gradients of the states after all blocks become those of the states before them, in place; `of_modulation` is written, and
 * `of_weights` (every W, then b, of every layer of every block) added to. Further weights: every W as (out x in). */
int blocks_back(int b, int v, int d, int e, int h, int depth, const float **weights, const float **turned,
                const float *modulation, const float *mask, const float *kept, float *of_nodes, float *of_edges,
                float *of_modulation, float *of_weights) {
    const shape s = {v, v * (v + 1) / 2, d, e, h, depth};
    const int width = 4 * d + 2 * e, states = v * d + s.p * e, chunk = v >= 40 ? 1 : 40 / v, groups = (b + L - 1) / L;
    size_t of_pairs = 0;
    for (int l = 0; l < LAYERS; l++)
        if (is_of_pairs(l)) of_pairs += (size_t)(inputs(&s, l) + 1) * outputs(&s, l);
    space k = {0};
    void *held;
    const size_t size = divided(&s, chunk, 1, NULL, &k);
    vec *base = room(size + (size_t)chunk * (2 * depth * width + v + states) + depth * of_pairs, &held);
    if (!base) return 1;
    const unsigned mode = hurry();
    divided(&s, chunk, 1, base, &k);
    vec *mod = base + size, *of_mod = mod + (size_t)chunk * depth * width, *exists = of_mod + (size_t)chunk * depth * width;
    vec *of_x = exists + chunk * v, *of_y = of_x + chunk * v * d, *lanes = of_y + (size_t)chunk * s.p * e;
    memset(lanes, 0, sizeof(vec) * depth * of_pairs);
    for (int from = 0; from < groups; from += chunk) {
        const int here = groups - from < chunk ? groups - from : chunk;
        for (int c = 0; c < here; c++) {
            const int g = (from + c) * L, graphs = b - g < L ? b - g : L;
            bring(graphs, depth * width, modulation + (size_t)g * depth * width, mod + (size_t)c * depth * width);
            bring(graphs, v, mask + (size_t)g * v, exists + c * v);
            bring(graphs, v * d, of_nodes + (size_t)g * v * d, of_x + c * v * d);
            bring(graphs, s.p * e, of_edges + (size_t)g * s.p * e, of_y + (size_t)c * s.p * e);
        }
        memset(of_mod, 0, sizeof(vec) * chunk * depth * width);
        float *of_block = of_weights;
        for (int n = 0; n < depth; n++)
            for (int l = 0; l < LAYERS; l++) of_block += (inputs(&s, l) + 1) * outputs(&s, l);
        for (int n = depth - 1; n >= 0; n--) {
            const float **w = weights + 2 * LAYERS * n, **t = turned + LAYERS * n;
            vec *of[LAYERS], *at = lanes + n * of_pairs;
            float *to[LAYERS];
            for (int l = LAYERS - 1; l >= 0; l--) to[l] = of_block -= (inputs(&s, l) + 1) * outputs(&s, l);
            for (int l = 0; l < LAYERS; l++) {
                of[l] = at;
                if (is_of_pairs(l)) at += (inputs(&s, l) + 1) * outputs(&s, l);
            }
            for (int c = 0; c < here; c++) {
                space one = k;
                const int rows = c * v;
                one.x += rows * d, one.z += rows * d, one.mixed += rows * d, one.of_out += rows * d, one.of_two += rows * d;
                one.bent += 2 * rows * d, one.of_u += 2 * rows * d, one.of_qkv += 3 * rows * d, one.of_ends += rows * e;
                const vec *x = (const vec *)kept + ((size_t)(from + c) * depth + n) * states;
                const vec *m = mod + (size_t)(c * depth + n) * width, *who = exists + rows;
                attend(&s, w, m, who, x, x + v * d, &one);
                block_back(&s, w, t, m, who, x + v * d, of_x + rows * d, of_y + (size_t)c * s.p * e,
                           of_mod + (size_t)(c * depth + n) * width, of, &one);
            }
            const int rows = here * v;
            weight_gradient(rows, 3 * d, d, k.x, d, k.of_qkv, 3 * d, to[QKV], to[QKV] + d * 3 * d);
            weight_gradient(rows, e, d, k.x, d, k.of_ends, e, to[ENDS], to[ENDS] + d * e);
            weight_gradient(rows, d, d, k.mixed, d, k.of_out, d, to[OUT], to[OUT] + d * d);
            weight_gradient(rows, 2 * d, d, k.z, d, k.of_u, 2 * d, to[NODE_IN], to[NODE_IN] + d * 2 * d);
            weight_gradient(rows, d, 2 * d, k.bent, 2 * d, k.of_two, d, to[NODE_OUT], to[NODE_OUT] + 2 * d * d);
        }
        for (int c = 0; c < here; c++) {
            const int g = (from + c) * L, graphs = b - g < L ? b - g : L;
            take(graphs, depth * width, of_mod + (size_t)c * depth * width, of_modulation + (size_t)g * depth * width);
            take(graphs, v * d, of_x + c * v * d, of_nodes + (size_t)g * v * d);
            take(graphs, s.p * e, of_y + (size_t)c * s.p * e, of_edges + (size_t)g * s.p * e);
        }
    }
    const vec *at = lanes;
    for (int n = 0; n < depth; n++)
        for (int l = 0; l < LAYERS; l++) {
            const int count = (inputs(&s, l) + 1) * outputs(&s, l);
            if (is_of_pairs(l)) {
                for (int c = 0; c < count; c++, at++)
                    for (int k = 0; k < L; k++) of_weights[c] += (*at)[k];
            }
            of_weights += count;
        }
    rest(mode);
    free(held);
    return 0;
}
