/* Numbers of sixteen graphs at a time: every `vec` holds the same number of sixteen graphs. Weights are (in x out) rows of
 * floats. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

/* From `hurry` to `rest` numbers below 1e-38 are nothing: gradients of trained networks hold many, and a processor takes
 * a hundred times longer for each. */
#ifdef __SSE__
#include <xmmintrin.h>
static unsigned hurry(void) {
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
}
static void rest(unsigned before) { _mm_setcsr(before); }
#else
static unsigned hurry(void) { return 0; }
static void rest(unsigned before) { (void)before; }
#endif

#define L 16
typedef float vec __attribute__((vector_size(4 * L)));
typedef int32_t ivec __attribute__((vector_size(4 * L)));
#define INLINE static inline __attribute__((always_inline))

INLINE vec all(float x) { return x - (vec){0}; }
/* both say their second operand where one is no number, so that bounds stand first */
#ifdef __AVX512F__
INLINE vec least(vec x, vec y) { return (vec)_mm512_min_ps((__m512)x, (__m512)y); }
INLINE vec most(vec x, vec y) { return (vec)_mm512_max_ps((__m512)x, (__m512)y); }
INLINE vec positive(vec x, vec yes, vec no) {
    return (vec)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)x, _mm512_setzero_ps(), _CMP_GT_OQ), (__m512)no, (__m512)yes);
}
INLINE vec whole(vec x) { return (vec)_mm512_roundscale_ps((__m512)x, 8); }
INLINE vec times_power(vec x, vec n) { return (vec)_mm512_scalef_ps((__m512)x, (__m512)n); }
#else
INLINE vec pick(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }
INLINE vec least(vec x, vec y) { return pick(x < y, x, y); }
INLINE vec most(vec x, vec y) { return pick(x > y, x, y); }
INLINE vec positive(vec x, vec yes, vec no) { return pick(x > all(0.f), yes, no); }
INLINE vec whole(vec x) { return least(most(x, all(-126.f)), all(127.f)) + 12582912.f - 12582912.f; }
INLINE vec times_power(vec x, vec n) { return x * (vec)((__builtin_convertvector(n, ivec) + 127) << 23); }
#endif

/* 2^x: a polynomial on [-1/2, 1/2] times a power of two; far below, nothing */
INLINE vec power_of_two(vec x) {
    vec n = whole(x), r = most(all(-.5f), x - n);
    vec y = r * 1.3264727e-3f + 9.6715126e-3f;
    y = y * r + 5.5507337e-2f;
    y = y * r + 2.4022242e-1f;
    y = y * r + 6.9314698e-1f;
    y = y * r + 1.f;
    return times_power(y, n);
}
#define LOG2E 1.44269504f
#define HIGHEST 28.f /* 1 + 2^28 is 2^28, and four of them can be multiplied */
INLINE vec velu(vec x) { return positive(x, x, power_of_two(x * LOG2E) - 1.f); }
INLINE vec vtanh(vec x) { return 1.f - 2.f / (1.f + power_of_two(least(all(HIGHEST), x * (2 * LOG2E)))); }
static vec inverse_root(vec x) {
    x = most(all(1.f), x);
    for (int l = 0; l < L; l++) x[l] = 1.f / sqrtf(x[l]);
    return x;
}

enum { KEEP, ELU, TANH, MORE };

/* R rows and C columns of f(A W + b), or of out + A W + b (MORE): they stay in registers over all K; b may be NULL */
INLINE void tile(const int R, const int C, int K, const vec *A, int lda, const float *W, int ldw, const float *b, vec *out,
                 int ldo, int f) {
    vec sum[4][8];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
            const vec bias = b ? all(b[c]) : (vec){0};
            sum[r][c] = f == MORE ? out[r * ldo + c] + bias : bias;
        }
    for (int k = 0; k < K; k++) {
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) {
            vec a = A[r * lda + k];
#pragma GCC unroll 8
            for (int c = 0; c < C; c++) sum[r][c] += a * W[k * ldw + c];
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++)
            out[r * ldo + c] = f == ELU ? velu(sum[r][c]) : f == TANH ? vtanh(sum[r][c]) : sum[r][c];
}
INLINE void strip(const int R, int N, int K, const vec *A, int lda, const float *W, int ldw, const float *b, vec *out,
                  int ldo, int f) {
    int n = 0;
    for (; n + 8 <= N; n += 8) tile(R, 8, K, A, lda, W + n, ldw, b ? b + n : b, out + n, ldo, f);
    for (; n + 4 <= N; n += 4) tile(R, 4, K, A, lda, W + n, ldw, b ? b + n : b, out + n, ldo, f);
    for (; n < N; n++) tile(R, 1, K, A, lda, W + n, ldw, b ? b + n : b, out + n, ldo, f);
}
INLINE void product_of(int M, int N, int K, const vec *A, int lda, const float *W, int ldw, const float *b, vec *out, int ldo,
                       const int f) {
    int m = 0;
    for (; m + 3 <= M; m += 3) strip(3, N, K, A + m * lda, lda, W, ldw, b, out + m * ldo, ldo, f);
    for (; m < M; m++) strip(1, N, K, A + m * lda, lda, W, ldw, b, out + m * ldo, ldo, f);
}
/* out (M x N) = f(A (M x K) W (K x N) + b) */
static void linear(int M, int N, int K, const vec *A, int lda, const float *W, const float *b, vec *out, int ldo) {
    product_of(M, N, K, A, lda, W, N, b, out, ldo, KEEP);
}
static void linear_more(int M, int N, int K, const vec *A, int lda, const float *W, const float *b, vec *out, int ldo) {
    product_of(M, N, K, A, lda, W, N, b, out, ldo, MORE);
}
static void linear_elu(int M, int N, int K, const vec *A, int lda, const float *W, const float *b, vec *out, int ldo) {
    product_of(M, N, K, A, lda, W, N, b, out, ldo, ELU);
}
static void linear_tanh(int M, int N, int K, const vec *A, int lda, const float *W, const float *b, vec *out, int ldo) {
    product_of(M, N, K, A, lda, W, N, b, out, ldo, TANH);
}

#define TILE 12 /* rows that go through a perceptron together */
/* M rows through a perceptron; `space` has room for two times TILE rows of the widest layer */
static void perceptron(int M, int layers, const int *widths, const float **w, const vec *A, int lda, vec *out, int ldo,
                       vec *space) {
    int widest = 0;
    for (int l = 1; l < layers; l++) widest = widths[l] > widest ? widths[l] : widest;
    for (int m = 0; m < M; m += TILE) {
        const int rows = M - m < TILE ? M - m : TILE;
        const vec *in = A + m * lda;
        int ld = lda;
        vec *one = space, *two = space + TILE * widest;
        for (int l = 0; l + 1 < layers; l++) {
            linear_elu(rows, widths[l + 1], widths[l], in, ld, w[2 * l], w[2 * l + 1], one, widths[l + 1]);
            in = one, ld = widths[l + 1];
            vec *t = one; one = two; two = t;
        }
        linear(rows, widths[layers], widths[layers - 1], in, ld, w[2 * layers - 2], w[2 * layers - 1], out + m * ldo, ldo);
    }
}

/* y (v x d) = S (v x v) x (v x d) */
static void gathered(int v, int d, const vec *S, const vec *x, vec *y) {
    int i = 0;
#define ROWS(R, C)                                                                        \
    for (; n + C <= d; n += C) {                                                          \
        vec sum[R][C] = {0};                                                              \
        for (int j = 0; j < v; j++)                                                       \
            for (int c = 0; c < C; c++)                                                   \
                for (int r = 0; r < R; r++) sum[r][c] += S[(i + r) * v + j] * x[j * d + n + c]; \
        for (int r = 0; r < R; r++)                                                       \
            for (int c = 0; c < C; c++) y[(i + r) * d + n + c] = sum[r][c];               \
    }
    for (; i + 3 <= v; i += 3) {
        int n = 0;
        ROWS(3, 4)
        ROWS(3, 1)
    }
    for (; i < v; i++) {
        int n = 0;
        ROWS(1, 4)
        ROWS(1, 1)
    }
}

/* a part of the room that is left */
#define SHARE(size) (work += (size), work - (size))

/* `count` numbers of up to sixteen graphs, a row each, as vectors; and back */
static void bring(int graphs, int count, const float *from, vec *to) {
    for (int k = 0; k < count; k++) {
        vec x = {0};
        for (int g = 0; g < graphs; g++) x[g] = from[(size_t)g * count + k];
        to[k] = x;
    }
}
static void take(int graphs, int count, const vec *from, float *to) {
    for (int g = 0; g < graphs; g++)
        for (int k = 0; k < count; k++) to[(size_t)g * count + k] = from[k][g];
}
static vec *room(size_t size, void **space) {
    *space = malloc(sizeof(vec) * (size + 1));
    return (vec *)(((uintptr_t)*space + sizeof(vec) - 1) & ~(uintptr_t)(sizeof(vec) - 1));
}

/* Gradients. What they are added to lies as the weights do, in floats: lanes are summed. */

/* half of the lanes are sums of pairs of lanes of a, half of b */
#define OWN(l, s) ((l) & (s) ? (l) + L : (l))
#define OTHER(l, s) (((l) ^ (s)) & (s) ? ((l) ^ (s)) : ((l) ^ (s)) + L)
#define LANES_OF(F, s)                                                                                     \
    (ivec) {                                                                                               \
        F(0, s), F(1, s), F(2, s), F(3, s), F(4, s), F(5, s), F(6, s), F(7, s), F(8, s), F(9, s), F(10, s), \
            F(11, s), F(12, s), F(13, s), F(14, s), F(15, s)                                               \
    }
#define FOLDED(a, b, s) (__builtin_shuffle(a, b, LANES_OF(OWN, s)) + __builtin_shuffle(a, b, LANES_OF(OTHER, s)))
/* lane m: the sum of all lanes of sum[m] */
INLINE vec folded(vec *sum) {
#pragma GCC unroll 8
    for (int m = 0; m < 8; m++) sum[m] = FOLDED(sum[m], sum[m + 8], 8);
#pragma GCC unroll 4
    for (int m = 0; m < 4; m++) sum[m] = FOLDED(sum[m], sum[m + 4], 4);
#pragma GCC unroll 2
    for (int m = 0; m < 2; m++) sum[m] = FOLDED(sum[m], sum[m + 2], 2);
    return FOLDED(sum[0], sum[1], 1);
}

/* R rows and C columns, up to four each, of W += A^T G: they stay in registers over all M */
INLINE void cross_tile(const int R, const int C, int M, const vec *A, int lda, const vec *G, int ldg, float *W,
                       int ldw) {
    vec sum[16];
#pragma GCC unroll 16
    for (int k = 0; k < 16; k++) sum[k] = (vec){0};
    for (int m = 0; m < M; m++, A += lda, G += ldg) {
        vec g[4];
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) g[c] = G[c];
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) {
            vec a = A[r];
#pragma GCC unroll 4
            for (int c = 0; c < C; c++) sum[4 * r + c] += a * g[c];
        }
    }
    vec done = folded(sum);
    float found[L] __attribute__((aligned(4 * L)));
    memcpy(found, &done, sizeof found);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) W[r * ldw + c] += found[4 * r + c];
}
INLINE void cross_strip(const int R, int M, int N, const vec *A, int lda, const vec *G, int ldg, float *W) {
    int n = 0;
    for (; n + 4 <= N; n += 4) cross_tile(R, 4, M, A, lda, G + n, ldg, W + n, N);
    for (; n < N; n++) cross_tile(R, 1, M, A, lda, G + n, ldg, W + n, N);
}
/* W (K x N) += A^T (K x M) G (M x N), b (N) += the rows of G */
static void weight_gradient(int M, int N, int K, const vec *A, int lda, const vec *G, int ldg, float *W, float *b) {
    int k = 0;
    for (; k + 4 <= K; k += 4) cross_strip(4, M, N, A + k, lda, G, ldg, W + (size_t)k * N);
    for (; k < K; k++) cross_strip(1, M, N, A + k, lda, G, ldg, W + (size_t)k * N);
    for (int n = 0; n < N; n += 16) {
        const int columns = N - n < 16 ? N - n : 16;
        vec sum[16] = {0};
        for (int m = 0; m < M; m++)
            for (int c = 0; c < columns; c++) sum[c] += G[m * ldg + n + c];
        vec done = folded(sum);
        for (int c = 0; c < columns; c++) b[n + c] += done[c];
    }
}
/* times the slope of ELU or tanh, of what they said */
static void unbend_elu(int count, const vec *said, vec *g) {
    for (int k = 0; k < count; k++) g[k] *= positive(said[k], all(1.f), said[k] + 1.f);
}
static void unbend_tanh(int count, const vec *said, vec *g) {
    for (int k = 0; k < count; k++) g[k] *= 1.f - said[k] * said[k];
}

/* numbers between the layers of a perceptron */
static int hidden_width(int layers, const int *widths) {
    int sum = 0;
    for (int l = 1; l < layers; l++) sum += widths[l];
    return sum;
}
/* M rows through a perceptron of which `hidden` keeps what every layer but the last says, layer by layer; `out` may be
 * NULL */
static void perceptron_kept(int M, int layers, const int *widths, const float **w, const vec *A, int lda, vec *hidden,
                            vec *out, int ldo) {
    for (int m = 0; m < M; m += TILE) {
        const int rows = M - m < TILE ? M - m : TILE;
        const vec *in = A + m * lda;
        vec *kept = hidden;
        int ld = lda, l = 0;
        for (; l + 1 < layers; l++) {
            const int wide = widths[l + 1];
            linear_elu(rows, wide, widths[l], in, ld, w[2 * l], w[2 * l + 1], kept + m * wide, wide);
            in = kept + m * wide, ld = wide;
            kept += M * wide;
        }
        if (out) linear(rows, widths[layers], widths[l], in, ld, w[2 * l], w[2 * l + 1], out + m * ldo, ldo);
    }
}
#define ROWS_BACK 48 /* rows whose gradients go through a perceptron together */
/* The gradients of a perceptron's weights, which are added to `grads`, and of its inputs unless `to` is NULL, from G,
 * those of its outputs. `turned` holds every weight (out x in), and zeros in place of its bias; `space` has room for
 * two times ROWS_BACK rows of the widest hidden layer. */
static void perceptron_back(int M, int layers, const int *widths, const float **turned, float **grads, const vec *A,
                            int lda, const vec *hidden, const vec *G, int ldg, vec *to, int ldt, vec *space) {
    int widest = 0;
    for (int l = 1; l < layers; l++) widest = widths[l] > widest ? widths[l] : widest;
    for (int m = 0; m < M; m += ROWS_BACK) {
        const int rows = M - m < ROWS_BACK ? M - m : ROWS_BACK;
        const vec *from = G + m * ldg, *kept = hidden + M * hidden_width(layers, widths);
        vec *one = space, *two = space + ROWS_BACK * widest;
        int ld = ldg;
        for (int l = layers - 1; l > 0; l--) {
            const int wide = widths[l];
            kept -= M * wide;
            const vec *said = kept + m * wide;
            weight_gradient(rows, widths[l + 1], wide, said, wide, from, ld, grads[2 * l], grads[2 * l + 1]);
            linear(rows, wide, widths[l + 1], from, ld, turned[2 * l], turned[2 * l + 1], one, wide);
            unbend_elu(rows * wide, said, one);
            from = one, ld = wide;
            vec *t = one; one = two; two = t;
        }
        weight_gradient(rows, widths[1], widths[0], A + m * lda, lda, from, ld, grads[0], grads[1]);
        if (to) linear(rows, widths[0], widths[1], from, ld, turned[0], turned[1], to + m * ldt, ldt);
    }
}
