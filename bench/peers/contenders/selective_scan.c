/* The selective scan of one sequence as a plain loop that the compiler vectorises over the wide axis E:

     h_t = exp(dt_t A) h_{t-1} + (dt_t u_t) B_t          y_t = C_t . h_t

   u, dt, y: (T, E). A and the state h: (N, E). B, C: (T, N). Each state is one exp and three multiply-adds. */

#include <math.h>

void selective_scan(int T, int E, int N, const float *restrict u, const float *restrict dt, const float *restrict A,
                    const float *restrict B, const float *restrict C, float *restrict h, float *restrict y) {
    for (int t = 0; t < T; t++) {
        const float *ut = u + (long)t * E, *dtt = dt + (long)t * E;
        float *yt = y + (long)t * E;
        for (int e = 0; e < E; e++) yt[e] = 0;
        for (int n = 0; n < N; n++) {
            const float b = B[(long)t * N + n], c = C[(long)t * N + n];
            const float *An = A + n * E;
            float *hn = h + n * E;
            for (int e = 0; e < E; e++) {
                hn[e] = expf(dtt[e] * An[e]) * hn[e] + dtt[e] * ut[e] * b;
                yt[e] += c * hn[e];
            }
        }
    }
}
