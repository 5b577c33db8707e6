/* nearest.c: the nearest-neighbour entropy term.                                                          [ICD:8] */
#include "ops.h"

#include <string.h>

/* log NN(x_i, X) = log min_j |x_i - X_j|_2. Which j is nearest is locally constant, so the derivative is that of the
 * distance to it:  d log NN/dx = (x - nn)/|x - nn|^2. */
var log_nearest(tape *t, var x, const real *X, int m, int32_t *index, double *distance)
{
    if (x < 0)
        return -1;
    shape s = shape_of(t, x), one = { s.n, 1, 1, 1 };
    size_t d = shape_count(s) / (size_t)s.n;
    var nearest = tape_leaf(t, s, NULL), above = tape_leaf(t, one, NULL);
    if (above < 0)
        return -1;
    for (int i = 0; i < s.n && !t->dry; i++) {
        const real *xi = value(t, x) + (size_t)i * d;
        double best = INFINITY;
        int found = 0;
        for (int j = 0; j < m; j++) {
            double sum = 0;
            for (size_t k = 0; k < d; k++) {
                double e = re(xi[k]) - re(X[(size_t)j * d + k]);
                sum += e * e;
            }
            if (sum < best) {
                best = sum;
                found = j;
            }
        }
        memcpy(value(t, nearest) + (size_t)i * d, X + (size_t)found * d, d * sizeof(real));
        value(t, above)[i] = best > NN_FLOOR * NN_FLOOR ? 1 : 0;
        if (index)
            index[i] = found;
        if (distance)
            distance[i] = sqrt(best);
    }
    var e = tape_sub(t, x, nearest);
    var square = tape_sum_to(t, tape_mul(t, e, e), one);
    /* above ? square : floor^2 */
    var floored = tape_add(t, tape_mul(t, square, above), tape_affine(t, above, -NN_FLOOR * NN_FLOOR, NN_FLOOR * NN_FLOOR));
    return tape_affine(t, tape_log(t, floored), 0.5, 0.0);
}
