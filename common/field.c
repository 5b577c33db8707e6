/* field.c: a bicubic B-spline with random coefficients. */
#include "field.h"

/* The four cubic B-splines that are not zero at t cells from the left edge, and the first one's number. They sum to 1. */
static int basis(float t, float w[4])
{
    int cell = t >= (float)(ICD_FIELD_CELLS - 1) ? ICD_FIELD_CELLS - 1 : t > 0.0f ? (int)t : 0;
    float u = t - (float)cell;
    u = u < 0.0f ? 0.0f : u > 1.0f ? 1.0f : u;
    float v = 1.0f - u;
    w[0] = v * v * v / 6.0f;
    w[1] = (4.0f - 6.0f * u * u + 3.0f * u * u * u) / 6.0f;
    w[2] = (4.0f - 6.0f * v * v + 3.0f * v * v * v) / 6.0f;
    w[3] = u * u * u / 6.0f;
    return cell;
}

void icd_field_draw(icd_field *f, const icd_stream *s, uint64_t first, double rms)
{
    /* The sum of the squared basis functions of one axis is 151/315 on average; of both axes, its square. */
    float scale = (float)(rms * (315.0 / 151.0));
    icd_normals(s, first, ICD_FIELD_DRAWS, &f->c[0][0]);
    for (int i = 0; i < ICD_FIELD_SIDE; i++)
        for (int j = 0; j < ICD_FIELD_SIDE; j++)
            f->c[i][j] *= scale;
}

float icd_field_at(const icd_field *f, float x, float y)
{
    float wx[4], wy[4], sum = 0.0f;
    int column = basis(x * (float)ICD_FIELD_CELLS, wx), row = basis(y * (float)ICD_FIELD_CELLS, wy);
    for (int i = 0; i < 4; i++) {
        const float *c = &f->c[row + i][column];
        sum += wy[i] * (wx[0] * c[0] + wx[1] * c[1] + wx[2] * c[2] + wx[3] * c[3]);
    }
    return sum;
}
