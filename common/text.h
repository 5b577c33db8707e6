/* text.h: words and numbers in settings and architecture lines. Nothing here depends on the locale's letters or digits. */
#ifndef ICD_TEXT_H
#define ICD_TEXT_H

#include <stddef.h>
#include <stdint.h>

enum { ICD_SHOWN = 48, ICD_REAL_TEXT = 32 };

/* A whole word as a number: 1 if it is one, else 0 and *v is untouched. Decimal only: no blanks, hex, inf, nan, or rest.
 * Integers that do not fit are no numbers; a real that overflows is none either, one that underflows is what it rounds to. */
int icd_text_real(const char *word, double *v);
int icd_text_int64(const char *word, int64_t *v);
int icd_text_uint64(const char *word, uint64_t *v);

/* The shortest decimal that reads back as v, a finite number; whole numbers under 1e15 without an exponent. */
void icd_real_text(double v, char out[ICD_REAL_TEXT]);

/* The first n bytes of s for a message: what is not printable ASCII becomes ?, what is too long ends in "...". */
const char *icd_show(const char *s, size_t n, char out[ICD_SHOWN]);

int icd_is_blank(char c);                          /* space, tab, \r, \n, \v, \f */
int icd_same_word(const char *a, const char *b);   /* ASCII case ignored */

#endif
