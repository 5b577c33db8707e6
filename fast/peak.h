/* peak.h: what the machine's arithmetic and memory give a loop that does nothing else: the yardsticks of `icd bench`. */
#ifndef FAST_PEAK_H
#define FAST_PEAK_H

#include <stddef.h>

typedef struct {
    const char *table;                   /* the kernel table whose instructions these use */
    double (*fma)(long rounds);          /* independent multiply-adds in registers; returns how many operations, two for each */
    /* c = a + 3 b, count floats: two read, one written. Vectors begin at multiples of 64 bytes. */
    void (*triad)(size_t count, const float *a, const float *b, float *c);
} fast_peak;

/* That of the table of this name; plain C's where the table has none of its own. */
const fast_peak *fast_peak_of(const char *table);

#endif
