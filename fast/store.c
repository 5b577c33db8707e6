/* store.c: blocks of host or device memory. */
#include "store.h"

#include <string.h>

#include "common/memory.h"

static double mib(size_t bytes) { return (double)bytes / 1048576.0; }

void fast_block_release(fast_block *b, const fast_device *d)
{
    if (d && b->there)
        d->release(b->there);
    if (d && b->here)
        d->host_release(b->here);
    if (!d)
        icd_free(b->here);
    *b = (fast_block){ 0 };
}

icd_status fast_block_want(fast_block *b, const fast_device *d, size_t bytes, int with_copy, const char *what, icd_err *err)
{
    if (b->there && bytes <= b->bytes)
        return ICD_OK;
    fast_block_release(b, d);
    size_t some = bytes ? bytes : 1;
    if (!d)
        b->here = icd_alloc(some, 1);
    else if (with_copy)
        b->here = d->host(some);
    b->there = d ? d->alloc(some) : b->here;
    if (!b->there || ((!d || with_copy) && !b->here)) {
        int device = d && !b->there;
        fast_block_release(b, d);
        const char *fault = d ? d->fault() : NULL;
        if (fault)
            return icd_fail(err, ICD_EUNUSABLE, "the device failed before %s could be had: %.400s", what, fault);
        if (device)
            return icd_fail(err, ICD_ENOMEM, "out of device memory: %.1f MiB wanted for %s, %.1f MiB are free", mib(bytes), what,
                            mib(d->available()));
        return icd_fail(err, ICD_ENOMEM, "out of memory: %.1f MiB wanted for %s", mib(bytes), what);
    }
    b->bytes = bytes;
    return ICD_OK;
}

void fast_block_put(const fast_block *b, const fast_device *d, size_t bytes)
{
    if (d)
        d->put(b->there, b->here, bytes);
}

void fast_block_get(const fast_block *b, const fast_device *d, size_t bytes)
{
    if (d)
        d->get(b->here, b->there, bytes);
}
