/* text.c: words and numbers in settings and architecture lines. */
#include "text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

int icd_is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static int lower(char c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; }

int icd_same_word(const char *a, const char *b)
{
    while (*a && lower(*a) == lower(*b))
        a++, b++;
    return !*a && !*b;
}

/* strtod and strtoll take blanks, hex and names of infinity too; this is what they may see. */
static int only(const char *word, const char *allowed)
{
    return *word != 0 && strspn(word, allowed) == strlen(word);
}

int icd_text_real(const char *word, double *v)
{
    if (!only(word, "0123456789+-.eE"))
        return 0;
    char *end;
    double x = strtod(word, &end);
    if (*end || !isfinite(x))
        return 0;
    *v = x;
    return 1;
}

int icd_text_int64(const char *word, int64_t *v)
{
    if (!only(word, "0123456789+-"))
        return 0;
    char *end;
    errno = 0;
    long long x = strtoll(word, &end, 10);
    if (*end || errno)
        return 0;
    *v = (int64_t)x;
    return 1;
}

int icd_text_uint64(const char *word, uint64_t *v)
{
    if (!only(word, "0123456789"))
        return 0;
    errno = 0;
    unsigned long long x = strtoull(word, NULL, 10);
    if (errno)
        return 0;
    *v = (uint64_t)x;
    return 1;
}

void icd_real_text(double v, char out[ICD_REAL_TEXT])
{
    if (fabs(v) < 1e15 && v == floor(v)) {
        snprintf(out, ICD_REAL_TEXT, "%.0f", v);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, ICD_REAL_TEXT, "%.*g", digits, v);
        if (strtod(out, NULL) == v)
            return;
    }
}

const char *icd_show(const char *s, size_t n, char out[ICD_SHOWN])
{
    size_t i = 0;
    for (; i < n && i < ICD_SHOWN - 4; i++)
        out[i] = s[i] >= ' ' && s[i] <= '~' ? s[i] : '?';
    strcpy(out + i, i < n ? "..." : "");
    return out;
}

/* Edit distance: insertions, deletions, substitutions and swaps of neighbours. Row i of the table is the distance of the
 * first i letters of a from each beginning of b. */
enum { WORD = 48 };
static int distance(const char *a, const char *b)
{
    int d[3][WORD + 1], n = (int)strlen(b);
    for (int j = 0; j <= n; j++)
        d[0][j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int *row = d[i % 3], *above = d[(i + 2) % 3], *above2 = d[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int best = above[j - 1] + (lower(a[i - 1]) != lower(b[j - 1]));
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1])
                && above2[j - 2] + 1 < best)
                best = above2[j - 2] + 1;
            row[j] = best;
        }
    }
    return d[strlen(a) % 3][n];
}

const char *icd_nearest_word(const char *word, const char *(*next)(int i))
{
    size_t length = strlen(word);
    if (length == 0 || length > WORD)
        return NULL;
    int nearest = (int)(length + 2) / 3 + 1;       /* one letter in three may be wrong */
    const char *found = NULL, *known;
    for (int i = 0; (known = next(i)) != NULL; i++) {
        if (strlen(known) > WORD)
            continue;
        int d = distance(word, known);
        if (d < nearest) {
            nearest = d;
            found = known;
        }
    }
    return found;
}
