/* file.c: whole files in, whole files out, and bytes in a fixed order. */
#include "file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static icd_status read_open_file(icd_arena *a, const char *path, int fd, icd_bytes *out, icd_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return icd_fail(err, ICD_EIO, "%s: cannot be read: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return icd_fail(err, ICD_EIO, "%s: is a folder, wanted a file", path);
    if (!S_ISREG(st.st_mode))
        return icd_fail(err, ICD_EIO, "%s: is a pipe or a device, wanted a regular file", path);
    if ((uintmax_t)st.st_size > SIZE_MAX)
        return icd_fail(err, ICD_ENOMEM, "%s: %jd bytes are more than this machine can address", path, (intmax_t)st.st_size);
    size_t n = (size_t)st.st_size, got = 0;
    unsigned char *p = icd_arena_alloc(a, n, 1), beyond;
    if (!p)
        return icd_fail(err, ICD_ENOMEM, "%s: no memory for its %zu bytes", path, n);
    for (;;) {
        ssize_t r = got < n ? read(fd, p + got, n - got) : read(fd, &beyond, 1);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return icd_fail(err, ICD_EIO, "%s: cannot be read after byte %zu: %s", path, got, strerror(errno));
        if (r == 0)
            break;
        got += (size_t)r;
        if (got > n)
            break;
    }
    if (got != n)
        return icd_fail(err, ICD_EIO, "%s: changed while it was read: %s than the %zu bytes it had", path,
                        got < n ? "fewer" : "more", n);
    out->p = p;
    out->n = n;
    return ICD_OK;
}

icd_status icd_read_file(icd_arena *a, const char *path, icd_bytes *out, icd_err *err)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK);      /* do not wait for a pipe's other end */
    if (fd < 0)
        return icd_fail(err, ICD_EIO, "%s: cannot be opened for reading: %s", path, strerror(errno));
    icd_status s = read_open_file(a, path, fd, out, err);
    close(fd);
    return s;
}

/* The writer is dead; errno says why. */
static icd_status writer_fail(icd_writer *w, icd_err *err)
{
    int why = errno;
    icd_writer_abort(w);
    w->failed = ICD_EIO;
    return icd_fail(err, ICD_EIO, "%s: cannot be written: %s", w->path, strerror(why));
}

static icd_status writer_dead(const icd_writer *w, icd_err *err)
{
    return icd_fail(err, w->failed, "%s: not written: an earlier step failed", w->path);
}

icd_status icd_writer_open(icd_writer *w, const char *path, icd_err *err)
{
    memset(w, 0, sizeof *w);
    if (strlen(path) >= sizeof w->path) {
        w->failed = ICD_EINVAL;
        return icd_fail(err, ICD_EINVAL, "%.64s...: a path of %zu bytes, wanted at most %zu", path, strlen(path),
                        sizeof w->path - 1);
    }
    strcpy(w->path, path);
    snprintf(w->temporary, sizeof w->temporary, "%s.tmp-%ld", path, (long)getpid());
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        w->failed = ICD_EIO;
        return icd_fail(err, ICD_EIO, "%s: is a %s, wanted a regular file to replace", path,
                        S_ISDIR(st.st_mode) ? "folder" : "pipe or a device");
    }
    unlink(w->temporary);                            /* left by a dead process that had our number */
    int fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (fd < 0)
        return writer_fail(w, err);
    w->f = fdopen(fd, "wb");
    if (!w->f) {
        int why = errno;
        close(fd);
        unlink(w->temporary);
        errno = why;
        return writer_fail(w, err);
    }
    return ICD_OK;
}

icd_status icd_writer_put(icd_writer *w, const void *p, size_t n, icd_err *err)
{
    if (w->failed)
        return writer_dead(w, err);
    if (n != 0 && fwrite(p, 1, n, w->f) != n)
        return writer_fail(w, err);
    return ICD_OK;
}

icd_status icd_writer_put_le(icd_writer *w, const void *p, size_t count, int size, icd_err *err)
{
    unsigned char block[4096];
    const unsigned char *from = p;
    size_t step = (size_t)size, filled = 0;
    for (size_t i = 0; i < count; i++, from += step) {
        uint64_t v = 0;
        uint8_t v1;
        uint16_t v2;
        uint32_t v4;
        switch (size) {
        case 1: memcpy(&v1, from, 1); v = v1; break;
        case 2: memcpy(&v2, from, 2); v = v2; break;
        case 4: memcpy(&v4, from, 4); v = v4; break;
        case 8: memcpy(&v, from, 8); break;
        default: assert(0 && "size is 1, 2, 4 or 8");
        }
        icd_store_le(block + filled, v, size);
        filled += step;
        if (filled == sizeof block) {
            ICD_TRY(icd_writer_put(w, block, filled, err));
            filled = 0;
        }
    }
    return icd_writer_put(w, block, filled, err);
}

/* So that the rename itself outlives a power cut. A file system that cannot do this still has the whole file. */
static void sync_folder_of(const char *path)
{
    char folder[sizeof ((icd_writer *)0)->path];
    strcpy(folder, path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    int fd = open(slash ? folder : ".", O_RDONLY);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

icd_status icd_writer_commit(icd_writer *w, icd_err *err)
{
    if (w->failed)
        return writer_dead(w, err);
    if (fflush(w->f) != 0 || (fsync(fileno(w->f)) != 0 && errno != EINVAL))     /* EINVAL: cannot be synced, ever */
        return writer_fail(w, err);
    FILE *f = w->f;
    w->f = NULL;
    if (fclose(f) != 0 || rename(w->temporary, w->path) != 0) {
        int why = errno;
        unlink(w->temporary);
        errno = why;
        return writer_fail(w, err);
    }
    sync_folder_of(w->path);
    return ICD_OK;
}

void icd_writer_abort(icd_writer *w)
{
    if (!w->f)
        return;
    fclose(w->f);
    w->f = NULL;
    unlink(w->temporary);
    w->failed = ICD_ESTOP;
}

const char *icd_quote(char *out, size_t cap, const void *p, size_t n)
{
    const unsigned char *from = p;
    size_t m = n < cap ? n : cap - 4;
    for (size_t i = 0; i < m; i++)
        out[i] = from[i] >= 0x20 && from[i] < 0x7f ? (char)from[i] : '?';
    strcpy(out + m, m < n ? "..." : "");
    return out;
}

uint64_t icd_load_le(const unsigned char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

uint64_t icd_load_be(const unsigned char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

uint32_t icd_load_be32(const unsigned char *p) { return (uint32_t)icd_load_be(p, 4); }

void icd_store_le(unsigned char *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++, v >>= 8)
        p[i] = (unsigned char)(v & 0xff);
}

float icd_bits_to_float(uint32_t u) { float x; memcpy(&x, &u, sizeof x); return x; }
double icd_bits_to_double(uint64_t u) { double x; memcpy(&x, &u, sizeof x); return x; }
uint32_t icd_float_to_bits(float x) { uint32_t u; memcpy(&u, &x, sizeof u); return u; }
uint64_t icd_double_to_bits(double x) { uint64_t u; memcpy(&u, &x, sizeof u); return u; }
