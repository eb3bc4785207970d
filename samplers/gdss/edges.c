/* The edge network of GDSS (graph multi-head attention), one graph at a time, everything of it in the first caches.
 *
 * Rows of nodes are padded to multiples of 16 numbers; of pairs as well. A graph is v nodes and p = v (v - 1) / 2 pairs.
 * All weights are padded with zeros by the caller, so that nothing here has to look where a row ends.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define L 16
typedef float vec __attribute__((vector_size(4 * L)));
typedef float loose __attribute__((vector_size(4 * L), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(4 * L)));

static inline vec load(const float *p) { return *(const loose *)p; }
static inline void store(float *p, vec x) { *(loose *)p = x; }
static inline vec all(float x) { return x - (vec){0}; }
static inline vec pick(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }
static inline int wide(int n) { return (n + L - 1) / L * L; }

/* e^x for x in [-87, 87]: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] */
static inline vec vexp(vec x) {
    x = pick(x < all(-87.f), all(-87.f), x);
    x = pick(x > all(87.f), all(87.f), x);
    vec turns = x * 1.44269504f + 12582912.f;
    ivec whole = (ivec)turns - 0x4B400000;
    vec n = turns - 12582912.f;
    vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec y = all(1.9875691500e-4f);
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.f;
    return y * (vec)((whole + 127) << 23);
}
static inline vec vtanh(vec x) { return 1.f - 2.f / (vexp(2.f * x) + 1.f); }
static inline vec velu(vec x) { return pick(x > all(0.f), x, vexp(x) - 1.f); }

enum { KEEP, ELU, TANH };

/* C = f(A B + bias), M x N x K, N a multiple of 16; the bias is one number per row or one per column */
#define ROWS(R)                                                                                     \
    for (; m + R <= M; m += R) {                                                                    \
        for (int n = 0; n < N; n += L) {                                                            \
            vec sum[R];                                                                             \
            for (int r = 0; r < R; r++) sum[r] = per_row ? all(per_row[m + r]) : per_column ? load(per_column + n) : all(0.f); \
            for (int k = 0; k < K; k++) {                                                           \
                vec b = load(B + k * ldb + n);                                                      \
                for (int r = 0; r < R; r++) sum[r] += A[(m + r) * lda + k] * b;                     \
            }                                                                                       \
            for (int r = 0; r < R; r++)                                                             \
                store(C + (m + r) * ldc + n, f == ELU ? velu(sum[r]) : f == TANH ? vtanh(sum[r]) : sum[r]); \
        }                                                                                           \
    }
static void product(int M, int N, int K, const float *A, int lda, const float *B, int ldb, const float *per_row,
                    const float *per_column, float *C, int ldc, int f) {
    int m = 0;
    ROWS(8)
    ROWS(4)
    ROWS(1)
}

/* a perceptron of rows of weights on columns of pairs: hidden x ppad = W (hidden x in) F (in x ppad) + b */
static const float *perceptron(int layers, const int *widths, const float **w, const float *in, int ppad, float *one,
                               float *two) {
    for (int l = 0; l < layers; l++) {
        product(widths[l + 1], ppad, widths[l], w[2 * l], widths[l], in, ppad, w[2 * l + 1], NULL, one, ppad,
                l + 1 < layers ? ELU : KEEP);
        in = one;
        float *t = one; one = two; two = t;
    }
    return in;
}

/* facts of a layer: d_in, attention, d_out, c_in, c_out, layers of the edge perceptron, its hidden width, that of the
 * node perceptron, whether nodes are wanted; weights of a layer: per channel W (d_in x width) and bias, padded to
 * multiples of 16; W and b of every linear layer of the edge perceptron; the node perceptron's, transposed and padded */
#define FACTS 9
#define SHARE(size) (work += (size), work - (size))

static void layer(const int *fact, int heads, int v, const float **w, const float *x, const float *edges,
                  const float *mask, const float *pairs, float *x_out, float *edges_out, float *work) {
    const int d = fact[0], a = fact[1], o = fact[2], c_in = fact[3], c_out = fact[4], layers = fact[5], hidden = fact[6];
    const int node_hidden = fact[7], has_nodes = fact[8];
    const int p = v * (v - 1) / 2, ppad = wide(p), vpad = wide(v), dpad = wide(d), width = wide(2 * a + (has_nodes ? o : 0));
    float *smooth = SHARE(v * vpad), *root = SHARE(vpad), *y = SHARE(v * dpad), *made = SHARE(v * width);
    float *keys = SHARE(a * vpad), *seen = SHARE(v * vpad), *features = SHARE(2 * c_in * ppad);
    float *one = SHARE(hidden * ppad), *two = SHARE(hidden * ppad);
    const int od = c_in * o;
    float *values = SHARE(v * od);
    const float scale = 1.f / sqrtf((float)o), half = 0.5f / (float)heads;
    const int head = a / heads;
    for (int c = 0; c < c_in; c++) {
        const float *e = edges + c * ppad;
        memset(smooth, 0, sizeof(float) * v * vpad);
        for (int i = 0; i < v; i++) root[i] = 1.f;
        for (int i = 0, k = 0; i < v; i++)
            for (int j = i + 1; j < v; j++, k++) {
                root[i] += e[k];
                root[j] += e[k];
            }
        for (int i = 0; i < v; i++) root[i] = 1.f / sqrtf(root[i] < 1.f ? 1.f : root[i]);
        for (int i = 0, k = 0; i < v; i++) {
            smooth[i * vpad + i] = root[i] * root[i];
            for (int j = i + 1; j < v; j++, k++) smooth[i * vpad + j] = smooth[j * vpad + i] = root[i] * root[j] * e[k];
        }
        product(v, dpad, v, smooth, vpad, x, dpad, NULL, NULL, y, dpad, KEEP);
        product(v, width, d, y, dpad, w[2 * c], width, NULL, w[2 * c + 1], made, width, KEEP);
        memset(keys, 0, sizeof(float) * a * vpad);
        for (int i = 0; i < v; i++)
            for (int r = 0; r < a; r++) keys[r * vpad + i] = made[i * width + a + r] * scale;
        for (int i = 0; i < v; i++)
            for (int n = 0; n < vpad; n += L) {
                vec total = all(0.f);
                for (int h = 0; h < heads; h++) {
                    vec sum = all(0.f);
                    for (int r = h * head; r < (h + 1) * head; r++)
                        sum += made[i * width + r] * load(keys + r * vpad + n);
                    total += vtanh(sum);
                }
                store(seen + i * vpad + n, total);
            }
        float *even = features + c * ppad, *old = features + (c_in + c) * ppad;
        for (int i = 0, k = 0; i < v; i++)
            for (int j = i + 1; j < v; j++, k++) even[k] = half * (seen[i * vpad + j] + seen[j * vpad + i]);
        for (int k = p; k < ppad; k++) even[k] = 0.f;
        memcpy(old, e, sizeof(float) * ppad);
        if (has_nodes)
            for (int i = 0; i < v; i++) memcpy(values + i * od + c * o, made + i * width + 2 * a, sizeof(float) * o);
    }
    w += 2 * c_in;
    int widths[16] = {2 * c_in};
    for (int l = 1; l < layers; l++) widths[l] = hidden;
    widths[layers] = c_out;
    const float *said = perceptron(layers, widths, w, features, ppad, one, two);
    for (int c = 0; c < c_out; c++)
        for (int k = 0; k < ppad; k += L) store(edges_out + c * ppad + k, 2.f * load(said + c * ppad + k) * load(pairs + k));
    if (!has_nodes) return;
    w += 2 * layers;
    const int hpad = wide(node_hidden), opad = wide(o);
    float *bent = SHARE(v * hpad);
    product(v, hpad, od, values, od, w[0], hpad, NULL, w[1], bent, hpad, ELU);
    product(v, opad, node_hidden, bent, hpad, w[2], opad, NULL, w[3], x_out, opad, TANH);
    for (int i = 0; i < v; i++) /* tanh(0) = 0, so that the mask may come after it */
        for (int n = 0; n < opad; n += L) store(x_out + i * opad + n, mask[i] * load(x_out + i * opad + n));
}

/* b graphs: x (b x v x features), adj (b x v x v), mask (b x v) -> out (b x v x v) */
int edge_scores(int b, int v, int features, int heads, int depth, int powers, int last, int last_hidden, const int *facts,
                const float **weights, const float *x, const float *adj, const float *mask, float *out) {
    const int p = v * (v - 1) / 2, ppad = wide(p), vpad = wide(v), xpad = wide(features);
    int channels = powers, nodes = features, largest = 0;
    for (int l = 0; l < depth; l++) {
        const int *f = facts + FACTS * l;
        const int width = wide(2 * f[1] + f[2]);
        const int need = v * (2 * vpad + wide(f[0]) + width + f[3] * f[2] + wide(f[7])) + vpad + f[1] * vpad +
                         (2 * f[3] + 2 * f[6]) * ppad;
        channels += f[4];
        if (f[2] > nodes) nodes = f[2];
        if (need > largest) largest = need;
    }
    if (2 * last_hidden * ppad > largest) largest = 2 * last_hidden * ppad;
    const int npad = wide(nodes);
    const size_t size = (size_t)channels * ppad + 2 * v * npad + 2 * v * vpad + ppad + largest;
    float *space = malloc(sizeof(float) * size + 64);
    if (!space || last > 15) return 1;
    float *base = (float *)(((uintptr_t)space + 63) & ~(uintptr_t)63);
    for (int g = 0; g < b; g++) {
        float *states = base, *here = states + channels * ppad, *there = here + v * npad, *power = there + v * npad;
        float *next = power + v * vpad, *pairs = next + v * vpad, *work = pairs + ppad;
        const float *A = adj + (size_t)g * v * v, *m = mask + (size_t)g * v;
        memset(here, 0, sizeof(float) * (2 * v * npad + 2 * v * vpad));
        for (int i = 0; i < v; i++) {
            memcpy(here + i * xpad, x + ((size_t)g * v + i) * features, sizeof(float) * features);
            memcpy(power + i * vpad, A + i * v, sizeof(float) * v);
        }
        for (int i = 0, k = 0; i < v; i++)
            for (int j = i + 1; j < v; j++, k++) pairs[k] = m[i] * m[j];
        for (int k = p; k < ppad; k++) pairs[k] = 0.f;
        float *dense = SHARE(0); /* A again, its rows padded */
        memcpy(dense, power, sizeof(float) * v * vpad);
        for (int q = 0; q < powers; q++) {
            float *row = states + q * ppad;
            for (int i = 0, k = 0; i < v; i++)
                for (int j = i + 1; j < v; j++, k++) row[k] = power[i * vpad + j];
            for (int k = p; k < ppad; k++) row[k] = 0.f;
            if (q + 1 == powers) break;
            product(v, vpad, v, power, vpad, dense, vpad, NULL, NULL, next, vpad, KEEP);
            float *t = power; power = next; next = t;
        }
        const float **w = weights;
        const float *in = states;
        float *end = states + powers * ppad;
        for (int l = 0; l < depth; l++) {
            const int *f = facts + FACTS * l;
            layer(f, heads, v, w, here, in, m, pairs, there, end, work);
            w += 2 * f[3] + 2 * f[5] + (f[8] ? 4 : 0);
            in = end;
            end += f[4] * ppad;
            float *t = here; here = there; there = t;
        }
        int widths[16] = {channels};
        for (int l = 1; l < last; l++) widths[l] = last_hidden;
        widths[last] = 1;
        const float *said = perceptron(last, widths, w, states, ppad, work, work + last_hidden * ppad);
        float *to = out + (size_t)g * v * v;
        for (int i = 0, k = 0; i < v; i++) {
            to[i * v + i] = 0.f;
            for (int j = i + 1; j < v; j++, k++) to[i * v + j] = to[j * v + i] = said[k] * pairs[k];
        }
    }
    free(space);
    return 0;
}
