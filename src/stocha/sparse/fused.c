/* The fused sparse FFN in C, to see what numba leaves on the table: the algorithm of kernels.py, batch 1. */
#include <string.h>

#define BLOCK 8
#define SECTIONS 32

typedef float vec __attribute__((vector_size(64), aligned(4)));

static float sum(vec v) {
    float t[16], s = 0;
    memcpy(t, &v, sizeof t);
    for (int i = 0; i < 16; i++) s += t[i];
    return s;
}

static void dots(const float *w, const int *rows, int n, const float *x, long d, float *out, const float *ahead) {
    int k = 0;
    for (; k + BLOCK <= n; k += BLOCK) {
        const float *p[BLOCK], *q[BLOCK];
        vec a[BLOCK] = {};
        float t[BLOCK] = {};
        long i = 0;
        for (int j = 0; j < BLOCK; j++) {
            int next = ahead == w ? (k + 2 * BLOCK <= n ? k + BLOCK : k) : k;
            p[j] = w + rows[k + j] * d;
            q[j] = ahead + rows[next + j] * d;
        }
        for (; i + 16 <= d; i += 16) {
            vec xv = *(const vec *)(x + i);
            for (int j = 0; j < BLOCK; j++) {
                __builtin_prefetch(q[j] + i);
                a[j] += *(const vec *)(p[j] + i) * xv;
            }
        }
        for (; i < d; i++)
            for (int j = 0; j < BLOCK; j++) t[j] += p[j][i] * x[i];
        for (int j = 0; j < BLOCK; j++) out[k + j] = sum(a[j]) + t[j];
    }
    for (; k < n; k++) {
        const float *p = w + rows[k] * d;
        vec a = {};
        float t = 0;
        long i = 0;
        for (; i + 16 <= d; i += 16) a += *(const vec *)(p + i) * *(const vec *)(x + i);
        for (; i < d; i++) t += p[i] * x[i];
        out[k] = sum(a) + t;
    }
}

static void axpys(float *y, const float *c, const float *w, const int *rows, int n, long d, const float *ahead, const int *next) {
    if (n == BLOCK) {
        const float *p[BLOCK], *q[BLOCK];
        long i = 0;
        for (int j = 0; j < BLOCK; j++) p[j] = w + rows[j] * d, q[j] = ahead + next[j] * d;
        for (; i + 16 <= d; i += 16) {
            vec s = *(vec *)(y + i);
            for (int j = 0; j < BLOCK; j++) {
                __builtin_prefetch(q[j] + i);
                s += c[j] * *(const vec *)(p[j] + i);
            }
            *(vec *)(y + i) = s;
        }
        for (; i < d; i++)
            for (int j = 0; j < BLOCK; j++) y[i] += c[j] * p[j][i];
        return;
    }
    for (int j = 0; j < n; j++)
        for (long i = 0; i < d; i++) y[i] += c[j] * w[rows[j] * d + i];
}

void sparse_ffn(const float *w1, const float *w3, const float *w2, const float *x, long d, long h,
                float *g, int *rows, float *sums, int threads, float *y) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int s = 0; s < SECTIONS; s++) {
        long low = h * s / SECTIONS, high = h * (s + 1) / SECTIONS;
        float *acc = sums + s * d, *gate = g + low, c[BLOCK];
        int *list = rows + low, n = 0;
        memset(acc, 0, d * sizeof *acc);
        for (long r = low; r < high; r++) list[r - low] = r;
        dots(w1, list, high - low, x, d, gate, w1);
        for (long r = low; r < high; r++)
            if (!(gate[r - low] <= 0)) {
                gate[n] = gate[r - low];
                list[n++] = r;
            }
        for (int k = 0; k < n; k += BLOCK) {
            int m = n - k < BLOCK ? n - k : BLOCK;
            const int *next = k + 2 * BLOCK <= n ? list + k + BLOCK : list + k;
            dots(w3, list + k, m, x, d, c, w2);
            for (int j = 0; j < m; j++) c[j] *= gate[k + j];
            axpys(acc, c, w2, list + k, m, d, w3, next);
        }
    }
    memset(y, 0, d * sizeof *y);
    for (int s = 0; s < SECTIONS; s++)
        for (long i = 0; i < d; i++) y[i] += sums[s * d + i];
}
