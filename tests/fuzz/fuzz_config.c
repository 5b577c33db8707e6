/* fuzz_config.c: any bytes as a configuration file. What parses is written out and must read back to the same text; what
 * does not must leave the configuration as it was. */
#include <stdlib.h>
#include <string.h>

#include "common/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void must(int so) { if (!so) abort(); }

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    /* A copy of its own size, so that a read beyond it is seen. */
    char *copy = malloc(n ? n : 1), *text = NULL, *again = NULL;
    must(copy != NULL);
    if (n)
        memcpy(copy, bytes, n);
    icd_arena a = { 0 };
    icd_err err = { "" };
    icd_config c, d;
    icd_config_default(&c);
    icd_config_default(&d);
    if (icd_config_parse(&c, "fuzz", copy, n, &err) == ICD_OK) {
        must(icd_config_print(&a, &c, &text, &err) == ICD_OK);
        must(icd_config_parse(&d, "again", text, strlen(text), &err) == ICD_OK);
        must(icd_config_print(&a, &d, &again, &err) == ICD_OK);
        must(strcmp(text, again) == 0);
        if (icd_config_check(&c, &err) != ICD_OK)
            must(err.text[0] != 0 && !strchr(err.text, '\n'));
    } else {
        must(err.text[0] != 0 && !strchr(err.text, '\n'));
        must(memcmp(&c, &d, sizeof c) == 0);
    }
    icd_arena_release(&a);
    free(copy);
    return 0;
}
