/* field.h: smooth random functions on the unit square: what bends digits and images. */
#ifndef ICD_FIELD_H
#define ICD_FIELD_H

#include "rng.h"

/* A uniform bicubic B-spline of 4x4 cells: twice continuously differentiable, with independent normal coefficients. */
enum { ICD_FIELD_CELLS = 4, ICD_FIELD_SIDE = ICD_FIELD_CELLS + 3, ICD_FIELD_DRAWS = ICD_FIELD_SIDE * ICD_FIELD_SIDE };
typedef struct { float c[ICD_FIELD_SIDE][ICD_FIELD_SIDE]; } icd_field;    /* (row, column) */

/* Draw f from normals first .. first+ICD_FIELD_DRAWS-1 of s. The mean square of the field, over the square and over
 * draws, is rms*rms. */
void icd_field_draw(icd_field *f, const icd_stream *s, uint64_t first, double rms);

/* f at (x,y), each in [0,1] (beyond: as at the edge). */
float icd_field_at(const icd_field *f, float x, float y);

#endif
