/* The published networks of GDSS, sixteen graphs at a time: every `vec` holds the same number of sixteen graphs.
 *
 * A graph is v nodes and p = v (v - 1) / 2 pairs i < j; what is missing of a smaller one is masked. Numbers of nodes lie
 * node by node, numbers of pairs pair by pair; weights are (in x out) rows of floats. Everything is kept in one
 * allocation per call.
 */
#include "lanes.h"

/* D^-1/2 (A + 1) D^-1/2 of weights of pairs, every `stride` numbers, with row sums of at least 1 */
static void smoothed(int v, const vec *e, int stride, vec *root, vec *smooth) {
    for (int i = 0; i < v; i++) root[i] = all(1.f);
    const vec *at = e;
    for (int i = 0; i < v; i++)
        for (int j = i + 1; j < v; j++, at += stride) {
            root[i] += *at;
            root[j] += *at;
        }
    for (int i = 0; i < v; i++) root[i] = inverse_root(root[i]);
    at = e;
    for (int i = 0; i < v; i++) {
        smooth[i * v + i] = root[i] * root[i];
        for (int j = i + 1; j < v; j++, at += stride) smooth[i * v + j] = smooth[j * v + i] = root[i] * root[j] * *at;
    }
}

/* the mean over heads of tanh(q_i k_j) and tanh(q_j k_i), of nodes whose a scaled queries stand before their a keys, as
 * 1 - sum of 1 / (1 + 2^x): one division for four */
INLINE vec attention(int a, int heads, const vec *i, const vec *j) {
    const int head = a / heads;
    vec total = {0}, top = {0}, bottom = all(1.f);
    for (int h = 0; h < heads; h++) {
        vec one = {0}, two = {0};
        for (int r = h * head; r < (h + 1) * head; r++) {
            one += i[r] * j[a + r];
            two += j[r] * i[a + r];
        }
        one = 1.f + power_of_two(least(all(HIGHEST), one));
        two = 1.f + power_of_two(least(all(HIGHEST), two));
        top = top * (one * two) + (one + two) * bottom;
        bottom = bottom * (one * two);
        if (h % 2 || h + 1 == heads) {
            total += top / bottom;
            top = (vec){0};
            bottom = all(1.f);
        }
    }
    return 1.f - total / (float)heads;
}

/* facts of an attention layer: d_in, attention, d_out, c_in, c_out, layers of the edge perceptron, its hidden width, that
 * of the node perceptron, whether nodes are wanted; its weights: W and b of every channel (d_in x (2 attention + d_out)),
 * W and b of every linear layer of the edge perceptron, and of the node perceptron */
#define FACTS 9

/* e: the c_in channels of pairs, every `lde` numbers; new ones are written to `edges` */
static void layer(const int *fact, int heads, int v, const float **w, const vec *x, const vec *e, const vec *mask,
                  const vec *pairs, vec *x_out, vec *edges, int lde, vec *work) {
    const int d = fact[0], a = fact[1], o = fact[2], c_in = fact[3], c_out = fact[4], layers = fact[5], hidden = fact[6];
    const int node_hidden = fact[7], has_nodes = fact[8], p = v * (v - 1) / 2;
    const int width = 2 * a + (has_nodes ? o : 0), od = c_in * o;
    vec *root = SHARE(v), *smooth = SHARE(v * v), *y = SHARE(v * d), *made = SHARE(v * width);
    vec *features = SHARE(p * 2 * c_in), *values = SHARE(v * od);
    const float scale = 2.f * LOG2E / sqrtf((float)o);
    for (int c = 0; c < c_in; c++) {
        smoothed(v, e + c, lde, root, smooth);
        gathered(v, d, smooth, x, y);
        linear(v, width, d, y, d, w[2 * c], w[2 * c + 1], made, width);
        for (int i = 0; i < v; i++)
            for (int r = 0; r < a; r++) made[i * width + r] *= scale;
        for (int i = 0, k = 0; i < v; i++)
            for (int j = i + 1; j < v; j++, k++) {
                features[k * 2 * c_in + c] = attention(a, heads, made + i * width, made + j * width);
                features[k * 2 * c_in + c_in + c] = e[k * lde + c];
            }
        if (has_nodes)
            for (int i = 0; i < v; i++) memcpy(values + i * od + c * o, made + i * width + 2 * a, sizeof(vec) * o);
    }
    w += 2 * c_in;
    int widths[16] = {2 * c_in};
    for (int l = 1; l < layers; l++) widths[l] = hidden;
    widths[layers] = c_out;
    perceptron(p, layers, widths, w, features, 2 * c_in, edges, lde, work);
    for (int k = 0; k < p; k++)
        for (int c = 0; c < c_out; c++) edges[k * lde + c] *= 2.f * pairs[k];
    if (!has_nodes) return;
    w += 2 * layers;
    vec *bent = SHARE(v * node_hidden);
    linear_elu(v, node_hidden, od, values, od, w[0], w[1], bent, node_hidden);
    linear_tanh(v, o, node_hidden, bent, node_hidden, w[2], w[3], x_out, o);
    for (int i = 0; i < v; i++)
        for (int r = 0; r < o; r++) x_out[i * o + r] *= mask[i];
}

/* b graphs: x (b x v x features), adj (b x v x v), mask (b x v) -> out (b x v x v) */
int edge_scores(int b, int v, int features, int heads, int depth, int powers, int last, int last_hidden, const int *facts,
                const float **weights, const float *x, const float *adj, const float *mask, float *out) {
    const int p = v * (v - 1) / 2;
    int channels = powers, nodes = features, largest = 2 * TILE * last_hidden;
    for (int l = 0; l < depth; l++) {
        const int *f = facts + FACTS * l, hidden = f[6] > f[7] ? f[6] : f[7];
        const int need = v * (1 + v + f[0] + 2 * f[1] + f[2] + f[3] * f[2] + f[7]) + p * 2 * f[3] + 2 * TILE * hidden;
        channels += f[4];
        if (f[2] > nodes) nodes = f[2];
        if (need > largest) largest = need;
    }
    if (last > 15) return 1;
    void *space;
    vec *base = room((size_t)p * (channels + 2) + v * (1 + 2 * nodes + 3 * v) + largest, &space);
    if (!space) return 1;
    vec *states = base, *said = states + (size_t)p * channels, *pairs = said + p, *exists = pairs + p;
    vec *one = exists + v, *two = one + v * nodes, *A = two + v * nodes, *spare = A + v * v, *third = spare + v * v;
    vec *work = third + v * v;
    for (int g = 0; g < b; g += L) {
        const int graphs = b - g < L ? b - g : L;
        vec *here = one, *there = two, *power = A, *next = spare;
        bring(graphs, v * features, x + (size_t)g * v * features, here);
        bring(graphs, v * v, adj + (size_t)g * v * v, A);
        bring(graphs, v, mask + (size_t)g * v, exists);
        for (int i = 0, k = 0; i < v; i++)
            for (int j = i + 1; j < v; j++, k++) pairs[k] = exists[i] * exists[j];
        for (int q = 0; q < powers; q++) {
            for (int i = 0, k = 0; i < v; i++)
                for (int j = i + 1; j < v; j++, k++) states[k * channels + q] = power[i * v + j];
            if (q + 1 == powers) break;
            gathered(v, v, power, A, next);
            vec *t = power == A ? third : power;
            power = next; next = t;
        }
        const float **w = weights;
        int from = 0, to = powers;
        for (int l = 0; l < depth; l++) {
            const int *f = facts + FACTS * l;
            layer(f, heads, v, w, here, states + from, exists, pairs, there, states + to, channels, work);
            w += 2 * f[3] + 2 * f[5] + (f[8] ? 4 : 0);
            from = to;
            to += f[4];
            vec *t = here; here = there; there = t;
        }
        int widths[16] = {channels};
        for (int l = 1; l < last; l++) widths[l] = last_hidden;
        widths[last] = 1;
        perceptron(p, last, widths, w, states, channels, said, 1, work);
        for (int i = 0, k = 0; i < v; i++) {
            spare[i * v + i] = (vec){0};
            for (int j = i + 1; j < v; j++, k++) spare[i * v + j] = spare[j * v + i] = said[k] * pairs[k];
        }
        take(graphs, v * v, spare, out + (size_t)g * v * v);
    }
    free(space);
    return 0;
}

/* b graphs through graph convolutions: x (b x v x features), adj, mask -> out (b x v x features); weights: W and b of
 * every convolution, then of the three linear layers */
int node_scores(int b, int v, int features, int depth, int hidden, const float **weights, const float *x, const float *adj,
                const float *mask, float *out) {
    const int p = v * (v - 1) / 2, total = features + depth * hidden, widest = features > hidden ? features : hidden;
    const int widths[4] = {total, 2 * total, 2 * total, features};
    void *space;
    vec *base = room((size_t)v * (2 + 2 * v + total + 3 * widest) + p + 4 * TILE * total, &space);
    if (!space) return 1;
    vec *A = base, *smooth = A + v * v, *exists = smooth + v * v, *root = exists + v, *states = root + v;
    vec *here = states + v * total, *y = here + v * widest, *said = y + v * widest, *edges = said + v * widest;
    vec *work = edges + p;
    for (int g = 0; g < b; g += L) {
        const int graphs = b - g < L ? b - g : L;
        bring(graphs, v * features, x + (size_t)g * v * features, here);
        bring(graphs, v * v, adj + (size_t)g * v * v, A);
        bring(graphs, v, mask + (size_t)g * v, exists);
        for (int i = 0, k = 0; i < v; i++)
            for (int j = i + 1; j < v; j++, k++) edges[k] = A[i * v + j];
        smoothed(v, edges, 1, root, smooth);
        int wide = features, at = 0;
        for (int l = 0;; l++) {
            for (int i = 0; i < v; i++) memcpy(states + i * total + at, here + i * wide, sizeof(vec) * wide);
            if (l == depth) break;
            gathered(v, wide, smooth, here, y);
            linear_tanh(v, hidden, wide, y, wide, weights[2 * l], weights[2 * l + 1], here, hidden);
            at += wide;
            wide = hidden;
        }
        perceptron(v, 3, widths, weights + 2 * depth, states, total, said, features, work);
        for (int i = 0; i < v; i++)
            for (int f = 0; f < features; f++) said[i * features + f] *= exists[i];
        take(graphs, v * features, said, out + (size_t)g * v * features);
    }
    free(space);
    return 0;
}
