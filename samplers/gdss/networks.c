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

/* the same for gradients: what 1 / (1 + 2^x) says is kept as slopes of tanh, two by two, `apart` from head to head */
INLINE vec attention_kept(int a, int heads, const vec *i, const vec *j, vec *slopes, int apart) {
    const int head = a / heads;
    vec total = {0};
    for (int h = 0; h < heads; h++, slopes += apart) {
        vec one = {0}, two = {0};
        for (int r = h * head; r < (h + 1) * head; r++) {
            one += i[r] * j[a + r];
            two += j[r] * i[a + r];
        }
        one = 1.f + power_of_two(least(all(HIGHEST), one));
        two = 1.f + power_of_two(least(all(HIGHEST), two));
        const vec both = 1.f / (one * two), first = both * two, second = both * one;
        total += first + second;
        slopes[0] = 4.f * (first - first * first);
        slopes[1] = 4.f * (second - second * second);
    }
    return 1.f - total / (float)heads;
}

/* facts of an attention layer: d_in, attention, d_out, c_in, c_out, layers of the edge perceptron, its hidden width, that
 * of the node perceptron, whether nodes are wanted; its weights: W and b of every channel (d_in x (2 attention + d_out)),
 * W and b of every linear layer of the edge perceptron, and of the node perceptron */
#define FACTS 9
#define WEIGHTS(f) (2 * (f)[3] + 2 * (f)[5] + ((f)[8] ? 4 : 0))
#define WIDTH(f) (2 * (f)[1] + ((f)[8] ? (f)[2] : 0))

/* what a layer works out on its way: root, smooth, y and made for every channel where they are kept for gradients, and
 * only then slopes and hidden */
typedef struct {
    vec *root, *smooth, *y, *made, *features, *values, *bent, *slopes, *hidden, *rest;
} Parts;
static size_t part_sizes(const int *f, int heads, int v, int is_kept, size_t *sizes) {
    const int each = is_kept ? f[3] : 1, p = v * (v - 1) / 2;
    const size_t all_sizes[9] = {
        each * v, (size_t)each * v * v, (size_t)each * v * f[0], (size_t)each * v * WIDTH(f), (size_t)p * 2 * f[3],
        (size_t)v * f[3] * f[2], (size_t)v * f[7], is_kept ? (size_t)f[3] * heads * p * 2 : 0,
        is_kept ? (size_t)p * (f[5] - 1) * f[6] : 0};
    size_t sum = 0;
    for (int k = 0; k < 9; k++) sum += sizes[k] = all_sizes[k];
    return sum;
}
static Parts parted(const int *f, int heads, int v, int is_kept, vec *work) {
    size_t s[9];
    part_sizes(f, heads, v, is_kept, s);
    vec *at[10] = {work};
    for (int k = 0; k < 9; k++) at[k + 1] = at[k] + s[k];
    return (Parts){at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], at[8], at[9]};
}
static void edge_widths(const int *f, int *widths) {
    widths[0] = 2 * f[3];
    for (int l = 1; l < f[5]; l++) widths[l] = f[6];
    widths[f[5]] = f[4];
}

/* e: the c_in channels of pairs, every `lde` numbers; new ones are written to `edges` */
INLINE void layer_of(const int is_kept, const int *fact, int heads, int v, const float **w, const vec *x, const vec *e,
                     const vec *mask, const vec *pairs, vec *x_out, vec *edges, int lde, vec *work) {
    const int d = fact[0], a = fact[1], o = fact[2], c_in = fact[3], c_out = fact[4], layers = fact[5];
    const int node_hidden = fact[7], has_nodes = fact[8], p = v * (v - 1) / 2, width = WIDTH(fact), od = c_in * o;
    const Parts kept = parted(fact, heads, v, is_kept, work);
    const float scale = 2.f * LOG2E / sqrtf((float)o);
    for (int c = 0; c < c_in; c++) {
        const int at = is_kept ? c * v : 0;
        vec *smooth = kept.smooth + at * v, *y = kept.y + at * d, *made = kept.made + at * width;
        smoothed(v, e + c, lde, kept.root + at, smooth);
        gathered(v, d, smooth, x, y);
        linear(v, width, d, y, d, w[2 * c], w[2 * c + 1], made, width);
        for (int i = 0; i < v; i++)
            for (int r = 0; r < a; r++) made[i * width + r] *= scale;
        for (int i = 0, k = 0; i < v; i++)
            for (int j = i + 1; j < v; j++, k++) {
                const vec *one = made + i * width, *two = made + j * width;
                kept.features[k * 2 * c_in + c] =
                    is_kept ? attention_kept(a, heads, one, two, kept.slopes + ((size_t)c * heads * p + k) * 2, 2 * p)
                            : attention(a, heads, one, two);
                kept.features[k * 2 * c_in + c_in + c] = e[k * lde + c];
            }
        if (has_nodes)
            for (int i = 0; i < v; i++) memcpy(kept.values + i * od + c * o, made + i * width + 2 * a, sizeof(vec) * o);
    }
    w += 2 * c_in;
    int widths[16];
    edge_widths(fact, widths);
    if (is_kept) perceptron_kept(p, layers, widths, w, kept.features, 2 * c_in, kept.hidden, edges, lde);
    else perceptron(p, layers, widths, w, kept.features, 2 * c_in, edges, lde, kept.rest);
    for (int k = 0; k < p; k++)
        for (int c = 0; c < c_out; c++) edges[k * lde + c] *= 2.f * pairs[k];
    if (!has_nodes) return;
    w += 2 * layers;
    linear_elu(v, node_hidden, od, kept.values, od, w[0], w[1], kept.bent, node_hidden);
    linear_tanh(v, o, node_hidden, kept.bent, node_hidden, w[2], w[3], x_out, o);
    for (int i = 0; i < v; i++)
        for (int r = 0; r < o; r++) x_out[i * o + r] *= mask[i];
}
static void layer(const int *fact, int heads, int v, const float **w, const vec *x, const vec *e, const vec *mask,
                  const vec *pairs, vec *x_out, vec *edges, int lde, vec *work) {
    layer_of(0, fact, heads, v, w, x, e, mask, pairs, x_out, edges, lde, work);
}
static void layer_kept(const int *fact, int heads, int v, const float **w, const vec *x, const vec *e, const vec *mask,
                       const vec *pairs, vec *x_out, vec *edges, int lde, vec *work) {
    layer_of(1, fact, heads, v, w, x, e, mask, pairs, x_out, edges, lde, work);
}

/* masks, and A, A^2, ... as the first channels of pairs; A has room for three matrices */
static void powers_of(int graphs, int v, int powers, int channels, const float *adj, const float *mask, vec *A,
                      vec *exists, vec *pairs, vec *states) {
    vec *power = A, *next = A + v * v, *third = next + v * v;
    bring(graphs, v * v, adj, A);
    bring(graphs, v, mask, exists);
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
}

/* b graphs: x (b x v x features), adj (b x v x v), mask (b x v) -> out (b x v x v) */
int edge_scores(int b, int v, int features, int heads, int depth, int powers, int last, int last_hidden, const int *facts,
                const float **weights, const float *x, const float *adj, const float *mask, float *out) {
    const int p = v * (v - 1) / 2;
    int channels = powers, nodes = features, largest = 2 * TILE * last_hidden;
    for (int l = 0; l < depth; l++) {
        const int *f = facts + FACTS * l;
        size_t sizes[9];
        const int need = part_sizes(f, heads, v, 0, sizes) + 2 * TILE * f[6];
        channels += f[4];
        if (f[2] > nodes) nodes = f[2];
        if (need > largest) largest = need;
    }
    if (last > 15) return 1;
    void *space;
    vec *base = room((size_t)p * (channels + 2) + v * (1 + 2 * nodes + 3 * v) + largest, &space);
    if (!space) return 1;
    const unsigned mode = hurry();
    vec *states = base, *said = states + (size_t)p * channels, *pairs = said + p, *exists = pairs + p;
    vec *one = exists + v, *two = one + v * nodes, *A = two + v * nodes, *spare = A + v * v;
    vec *work = A + 3 * v * v;
    for (int g = 0; g < b; g += L) {
        const int graphs = b - g < L ? b - g : L;
        vec *here = one, *there = two;
        bring(graphs, v * features, x + (size_t)g * v * features, here);
        powers_of(graphs, v, powers, channels, adj + (size_t)g * v * v, mask + (size_t)g * v, A, exists, pairs, states);
        const float **w = weights;
        int from = 0, to = powers;
        for (int l = 0; l < depth; l++) {
            const int *f = facts + FACTS * l;
            layer(f, heads, v, w, here, states + from, exists, pairs, there, states + to, channels, work);
            w += WEIGHTS(f);
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
    rest(mode);
    free(space);
    return 0;
}

/* R numbers of a head's queries and keys, up to four: from the gradients g of every pair's attention, those of both,
 * which are added to `back` */
INLINE void attention_back(const int R, int v, int a, int width, const vec *made, const vec *slopes, const vec *g,
                           vec *back) {
    for (int i = 0; i < v; i++, made += width, back += width) {
        vec query[4], key[4], of_query[4], of_key[4];
        for (int r = 0; r < R; r++) {
            query[r] = made[r], key[r] = made[a + r];
            of_query[r] = back[r], of_key[r] = back[a + r];
        }
        const vec *other = made + width;
        vec *of_other = back + width;
        for (int j = i + 1; j < v; j++, slopes += 2, g++, other += width, of_other += width) {
            const vec one = *g * slopes[0], two = *g * slopes[1];
            for (int r = 0; r < R; r++) {
                of_query[r] += one * other[a + r];
                of_key[r] += two * other[r];
                of_other[r] += two * key[r];
                of_other[a + r] += one * query[r];
            }
        }
        for (int r = 0; r < R; r++) back[r] = of_query[r], back[a + r] = of_key[r];
    }
}

/* gradients of weights of pairs, added to every `stride`-th number, where x was `gathered` with them smoothed and of_y
 * is the gradient of what that gave */
static void smoothed_back(int v, int d, const vec *e, int stride, const vec *root, const vec *x, const vec *of_y,
                          vec *sum, vec *of_root, vec *both, vec *of_e) {
    for (int i = 0; i < v; i++) sum[i] = all(1.f);
    for (int i = 0, k = 0; i < v; i++) {
        vec own = {0};
        for (int r = 0; r < d; r++) own += of_y[i * d + r] * x[i * d + r];
        of_root[i] = 2.f * own * root[i];
        for (int j = i + 1; j < v; j++, k++) {
            sum[i] += e[k * stride];
            sum[j] += e[k * stride];
        }
    }
    for (int i = 0, k = 0; i < v; i++) {
        const vec *of_i = of_y + i * d, *x_i = x + i * d;
        for (int j = i + 1; j < v; j++, k++) {
            const vec *of_j = of_y + j * d, *x_j = x + j * d;
            vec one = {0}, two = {0};
            for (int r = 0; r < d; r++) {
                one += of_i[r] * x_j[r];
                two += of_j[r] * x_i[r];
            }
            both[k] = one + two;
            const vec part = both[k] * e[k * stride];
            of_root[i] += part * root[j];
            of_root[j] += part * root[i];
        }
    }
    for (int i = 0; i < v; i++) /* now of the sum, and nothing where it was raised to 1 */
        of_root[i] = positive(1.f - sum[i], all(0.f), -.5f * of_root[i] * root[i] * root[i] * root[i]);
    for (int i = 0, k = 0; i < v; i++)
        for (int j = i + 1; j < v; j++, k++) of_e[k * stride] += root[i] * root[j] * both[k] + of_root[i] + of_root[j];
}

/* numbers that `layer_back` works with */
static size_t back_size(const int *f, int v) {
    const int p = v * (v - 1) / 2;
    return (size_t)p * (f[4] + 2 * f[3] + 2) + 2 * ROWS_BACK * f[6] +
           (size_t)v * (f[2] + f[7] + f[3] * f[2] + WIDTH(f) + 2 * f[0] + 2);
}
/* The gradients of a layer's weights from those of its nodes and edges (of_edges, every `lde` numbers), and those of
 * its inputs: of_x, which is NULL where neither is wanted, and of_e, to which they are added. `kept_at` is where
 * `layer_kept` worked. */
static void layer_back(const int *fact, int heads, int v, const float **turned, float **grads, const vec *x,
                       const vec *e, const vec *mask, const vec *pairs, const vec *x_out, vec *kept_at,
                       const vec *of_x_out, const vec *of_edges, vec *of_x, vec *of_e, int lde, vec *work) {
    const int d = fact[0], a = fact[1], o = fact[2], c_in = fact[3], c_out = fact[4], layers = fact[5];
    const int node_hidden = fact[7], has_nodes = fact[8], p = v * (v - 1) / 2, width = WIDTH(fact), od = c_in * o;
    const int head = a / heads;
    const Parts kept = parted(fact, heads, v, 1, kept_at);
    vec *of_new = SHARE(p * c_out), *of_features = SHARE(p * 2 * c_in), *g = SHARE(p), *both = SHARE(p);
    vec *of_nodes = SHARE(v * o), *of_bent = SHARE(v * node_hidden), *of_values = SHARE(v * od);
    vec *of_made = SHARE(v * width), *of_y = SHARE(v * d), *spread = SHARE(v * d), *sum = SHARE(v), *of_root = SHARE(v);
    const float of_query = 1.f / sqrtf((float)o), of_key = .5f / LOG2E, mean = .5f / heads;
    int widths[16], wide = 2 * c_in;
    edge_widths(fact, widths);
    for (int k = 0; k < p; k++)
        for (int c = 0; c < c_out; c++) of_new[k * c_out + c] = of_edges[k * lde + c] * (2.f * pairs[k]);
    perceptron_back(p, layers, widths, turned + wide, grads + wide, kept.features, wide, kept.hidden, of_new, c_out,
                    of_features, wide, work);
    if (has_nodes) {
        const float **t = turned + wide + 2 * layers;
        float **to = grads + wide + 2 * layers;
        for (int i = 0; i < v; i++)
            for (int r = 0; r < o; r++) of_nodes[i * o + r] = of_x_out[i * o + r] * mask[i];
        unbend_tanh(v * o, x_out, of_nodes);
        weight_gradient(v, o, node_hidden, kept.bent, node_hidden, of_nodes, o, to[2], to[3]);
        linear(v, node_hidden, o, of_nodes, o, t[2], t[3], of_bent, node_hidden);
        unbend_elu(v * node_hidden, kept.bent, of_bent);
        weight_gradient(v, node_hidden, od, kept.values, od, of_bent, node_hidden, to[0], to[1]);
        linear(v, od, node_hidden, of_bent, node_hidden, t[0], t[1], of_values, od);
    }
    if (of_x) memset(of_x, 0, sizeof(vec) * v * d);
    for (int c = 0; c < c_in; c++) {
        const vec *made = kept.made + c * v * width;
        for (int i = 0; i < v; i++) {
            memset(of_made + i * width, 0, sizeof(vec) * 2 * a);
            if (has_nodes) memcpy(of_made + i * width + 2 * a, of_values + i * od + c * o, sizeof(vec) * o);
        }
        for (int k = 0; k < p; k++) g[k] = of_features[k * wide + c] * mean;
        for (int h = 0; h < heads; h++) {
            const vec *slopes = kept.slopes + ((size_t)c * heads + h) * p * 2;
            int r = h * head;
            for (; r + 4 <= (h + 1) * head; r += 4) attention_back(4, v, a, width, made + r, slopes, g, of_made + r);
            for (; r < (h + 1) * head; r++) attention_back(1, v, a, width, made + r, slopes, g, of_made + r);
        }
        for (int i = 0; i < v; i++)
            for (int r = 0; r < a; r++) {
                of_made[i * width + r] *= of_query;
                of_made[i * width + a + r] *= of_key;
            }
        weight_gradient(v, width, d, kept.y + c * v * d, d, of_made, width, grads[2 * c], grads[2 * c + 1]);
        if (!of_x) continue;
        linear(v, d, width, of_made, width, turned[2 * c], turned[2 * c + 1], of_y, d);
        gathered(v, d, kept.smooth + c * v * v, of_y, spread);
        for (int k = 0; k < v * d; k++) of_x[k] += spread[k];
        smoothed_back(v, d, e + c, lde, kept.root + c * v, x, of_y, sum, of_root, both, of_e + c);
        for (int k = 0; k < p; k++) of_e[k * lde + c] += of_features[k * wide + c_in + c];
    }
}

/* adds up the gradients of the weights of `edge_scores` from those of its outputs (given: b x v x v); `turned` and
 * `grads` are as `perceptron_back` wants them */
int edge_gradients(int b, int v, int features, int heads, int depth, int powers, int last, int last_hidden,
                   const int *facts, const float **weights, const float **turned, float **grads, const float *x,
                   const float *adj, const float *mask, const float *given) {
    const int p = v * (v - 1) / 2;
    size_t sizes[9], kept_size = 0, node_size = (size_t)v * features, largest = 0;
    int channels = powers, nodes = features, count = 0;
    if (last > 15) return 1;
    for (int l = 0; l < depth; l++) {
        const int *f = facts + FACTS * l;
        const size_t need = back_size(f, v);
        kept_size += part_sizes(f, heads, v, 1, sizes);
        node_size += (size_t)v * f[2];
        channels += f[4], count += WEIGHTS(f);
        if (f[2] > nodes) nodes = f[2];
        if (need > largest) largest = need;
    }
    int widths[16] = {channels};
    for (int l = 1; l < last; l++) widths[l] = last_hidden;
    widths[last] = 1;
    const size_t final_size = (size_t)ROWS_BACK * (hidden_width(last, widths) + 2 * last_hidden);
    if (final_size > largest) largest = final_size;
    void *space;
    const size_t own = (size_t)p * (2 * channels + 2) + v * (1 + 2 * nodes + 3 * v);
    vec *work = room(kept_size + node_size + own + largest, &space);
    if (!space) return 1;
    const unsigned mode = hurry();
    vec *states = SHARE(p * channels), *of_states = SHARE(p * channels), *of_said = SHARE(p), *pairs = SHARE(p);
    vec *exists = SHARE(v), *one = SHARE(v * nodes), *two = SHARE(v * nodes), *A = SHARE(3 * v * v);
    vec *all_nodes = SHARE(node_size), *all_kept = SHARE(kept_size);
    for (int g = 0; g < b; g += L) {
        const int graphs = b - g < L ? b - g : L;
        vec *here = all_nodes, *kept = all_kept;
        bring(graphs, v * features, x + (size_t)g * v * features, here);
        powers_of(graphs, v, powers, channels, adj + (size_t)g * v * v, mask + (size_t)g * v, A, exists, pairs, states);
        const float **w = weights;
        int from = 0, to = powers;
        for (int l = 0; l < depth; l++) {
            const int *f = facts + FACTS * l;
            vec *there = here + v * f[0];
            layer_kept(f, heads, v, w, here, states + from, exists, pairs, there, states + to, channels, kept);
            w += WEIGHTS(f), here = there, kept += part_sizes(f, heads, v, 1, sizes);
            from = to, to += f[4];
        }
        bring(graphs, v * v, given + (size_t)g * v * v, A);
        for (int i = 0, k = 0; i < v; i++)
            for (int j = i + 1; j < v; j++, k++) of_said[k] = (A[i * v + j] + A[j * v + i]) * pairs[k];
        const float **t = turned + count;
        float **found = grads + count;
        for (int m = 0; m < p; m += ROWS_BACK) {
            const int rows = p - m < ROWS_BACK ? p - m : ROWS_BACK;
            vec *hidden = work, *rest = work + ROWS_BACK * hidden_width(last, widths);
            perceptron_kept(rows, last, widths, w, states + m * channels, channels, hidden, NULL, 0);
            perceptron_back(rows, last, widths, t, found, states + m * channels, channels, hidden, of_said + m, 1,
                            of_states + m * channels, channels, rest);
        }
        vec *of_here = one, *of_there = two;
        for (int l = depth - 1; l >= 0; l--) {
            const int *f = facts + FACTS * l;
            const vec *x_out = here;
            here -= v * f[0], kept -= part_sizes(f, heads, v, 1, sizes);
            t -= WEIGHTS(f), found -= WEIGHTS(f);
            from -= f[3], to -= f[4];
            layer_back(f, heads, v, t, found, here, states + from, exists, pairs, x_out, kept, of_here, of_states + to,
                       l ? of_there : NULL, of_states + from, channels, work);
            vec *other = of_here; of_here = of_there; of_there = other;
        }
    }
    rest(mode);
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
    const unsigned mode = hurry();
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
    rest(mode);
    free(space);
    return 0;
}

/* adds up the gradients of the weights of `node_scores` from those of its outputs (given: b x v x features) */
int node_gradients(int b, int v, int features, int depth, int hidden, const float **weights, const float **turned,
                   float **grads, const float *x, const float *adj, const float *mask, const float *given) {
    const int p = v * (v - 1) / 2, total = features + depth * hidden, widest = features > hidden ? features : hidden;
    const int widths[4] = {total, 2 * total, 2 * total, features};
    void *space;
    const size_t own = (size_t)v * (2 + 2 * v + 7 * total + 3 * widest + features) + p;
    vec *work = room(own + ROWS_BACK * 4 * total, &space);
    if (!space) return 1;
    const unsigned mode = hurry();
    vec *A = SHARE(v * v), *smooth = SHARE(v * v), *exists = SHARE(v), *root = SHARE(v), *edges = SHARE(p);
    vec *states = SHARE(v * total), *of_states = SHARE(v * total), *sums = SHARE(v * total), *here = SHARE(v * widest);
    vec *of_here = SHARE(v * widest), *of_y = SHARE(v * widest), *of_said = SHARE(v * features);
    vec *inner = SHARE(v * 4 * total);
    for (int g = 0; g < b; g += L) {
        const int graphs = b - g < L ? b - g : L;
        bring(graphs, v * features, x + (size_t)g * v * features, here);
        bring(graphs, v * v, adj + (size_t)g * v * v, A);
        bring(graphs, v, mask + (size_t)g * v, exists);
        bring(graphs, v * features, given + (size_t)g * v * features, of_said);
        for (int i = 0, k = 0; i < v; i++)
            for (int j = i + 1; j < v; j++, k++) edges[k] = A[i * v + j];
        smoothed(v, edges, 1, root, smooth);
        int wide = features, at = 0; /* the inputs of a layer stand in `states` from column `at` on */
        for (int l = 0;; l++) {
            for (int i = 0; i < v; i++) memcpy(states + i * total + at, here + i * wide, sizeof(vec) * wide);
            if (l == depth) break;
            vec *y = sums + v * at;
            gathered(v, wide, smooth, here, y);
            linear_tanh(v, hidden, wide, y, wide, weights[2 * l], weights[2 * l + 1], here, hidden);
            at += wide;
            wide = hidden;
        }
        for (int i = 0; i < v; i++)
            for (int f = 0; f < features; f++) of_said[i * features + f] *= exists[i];
        perceptron_kept(v, 3, widths, weights + 2 * depth, states, total, inner, NULL, 0);
        perceptron_back(v, 3, widths, turned + 2 * depth, grads + 2 * depth, states, total, inner, of_said, features,
                        of_states, total, work);
        memset(of_y, 0, sizeof(vec) * v * widest);
        for (int l = depth - 1; l >= 0; l--) {
            for (int i = 0; i < v; i++)
                for (int r = 0; r < hidden; r++) {
                    const vec said = states[i * total + at + r], slope = 1.f - said * said;
                    of_here[i * hidden + r] = (of_states[i * total + at + r] + of_y[i * hidden + r]) * slope;
                }
            wide = l ? hidden : features;
            at -= wide;
            weight_gradient(v, hidden, wide, sums + v * at, wide, of_here, hidden, grads[2 * l], grads[2 * l + 1]);
            if (!l) break;
            linear(v, wide, hidden, of_here, hidden, turned[2 * l], turned[2 * l + 1], here, wide);
            gathered(v, wide, smooth, here, of_y);
        }
    }
    rest(mode);
    free(space);
    return 0;
}
