/* slots_bias.c: the gradient of a convolution's bias, against its formula. */
#include "slots.h"

#include <math.h>

void slots_biases(slots *v)
{
    verify_row r = row_begin("bias_bwd", "channels 1..40, pixels 1..289");
    for (int i = 0; i < 40; i++) {
        int n = 1 + i % 4, c = 1 + i, hw = (1 + 5 * i % 17) * (1 + 7 * i % 17);
        slots_case(v, "%d images, %d channels, %d pixels", n, c, hw);
        size_t count = (size_t)n * (size_t)c * (size_t)hw;
        double *gy = slots_normals(v, count, 1.0), *start = slots_normals(v, (size_t)c, 1.0);
        double *scale = i % 2 ? slots_normals(v, (size_t)n, 1.0) : NULL;
        double *want = slots_zeros(v, (size_t)c), *size = slots_zeros(v, (size_t)c);
        for (int k = 0; k < c; k++) {
            want[k] = start[k];
            size[k] = fabs(start[k]);
            for (int at = 0; at < n * hw; at++) {
                double term = (scale ? scale[at / hw] : 1.0) * gy[(at / hw * c + k) * hw + at % hw];
                want[k] += term;
                size[k] += fabs(term);
            }
        }
        for (int place = GUARD_END; place < GUARD_PLACES; place++) {
            slots_place(v, (guard_place)place, 0);
            float *g = slots_blocked_in(v, n, c, hw, gy), *s = slots_in(v, (size_t)n, sizeof(float), scale);
            float *gb = slots_inout(v, (size_t)c, sizeof(float), start);
            GUARDED(&v->guard, v->table->bias_bwd(&v->ctx, n, c, hw, g, s, gb));
            slots_check(v, &r, CONV_CASE, n * hw + 2, (size_t)c, slots_out(v, (size_t)c, gb), want, size);
        }
    }
    slots_end(v, &r);
}
