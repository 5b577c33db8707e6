/* png.c: PNG images. Rows are filtered by None, Sub or Up, then packed in one deflate block of fixed Huffman codes whose
 * only matches are runs of one byte: enough for enlarged and flat pictures. (PNG: ISO 15948; deflate: RFC 1951; zlib: 1950.) */
#include "formats.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

static uint32_t crc32_of(uint32_t crc, const unsigned char *p, size_t n)
{
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int b = 0; b < 8; b++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void store_be32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (24 - 8 * i) & 0xff);
}

static icd_status put_chunk(icd_writer *w, const char *type, const unsigned char *data, size_t n, icd_err *err)
{
    unsigned char head[8], tail[4];
    store_be32(head, (uint32_t)n);
    memcpy(head + 4, type, 4);
    store_be32(tail, crc32_of(crc32_of(0, head + 4, 4), data, n));
    ICD_TRY(icd_writer_put(w, head, sizeof head, err));
    ICD_TRY(icd_writer_put(w, data, n, err));
    return icd_writer_put(w, tail, sizeof tail, err);
}

/* ---- deflate ---- */

typedef struct { unsigned char *p; size_t n; uint32_t bits; int held; } bit_sink;     /* the first bit is the lowest */

static void put_bits(bit_sink *b, uint32_t v, int n)
{
    b->bits |= v << b->held;
    b->held += n;
    for (; b->held >= 8; b->held -= 8, b->bits >>= 8)
        b->p[b->n++] = (unsigned char)(b->bits & 0xff);
}

/* Huffman codes go in from their highest bit on. */
static void put_code(bit_sink *b, uint32_t code, int n)
{
    while (n-- > 0)
        put_bits(b, code >> n & 1, 1);
}

static void put_symbol(bit_sink *b, int s)
{
    if (s < 144)
        put_code(b, 0x30 + (uint32_t)s, 8);
    else if (s < 256)
        put_code(b, 0x190 + (uint32_t)(s - 144), 9);
    else if (s < 280)
        put_code(b, (uint32_t)(s - 256), 7);
    else
        put_code(b, 0xc0 + (uint32_t)(s - 280), 8);
}

/* The byte before, 3 to 258 times more: a length code, its extra bits, then distance 1, which is code 0 of 5 bits. */
static void put_run(bit_sink *b, int length)
{
    int code = 0, base = 3, extra = 0;
    while (length - base >= 1 << extra) {
        base += 1 << extra;
        code++;
        extra = code < 8 ? 0 : code / 4 - 1;
    }
    if (length == 258) {
        code = 28;
        base = 258;
        extra = 0;
    }
    put_symbol(b, 257 + code);
    put_bits(b, (uint32_t)(length - base), extra);
    put_code(b, 0, 5);
}

static void deflate_bytes(bit_sink *b, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; ) {
        put_symbol(b, p[i]);
        size_t run = 1;
        while (i + run < n && run < 259 && p[i + run] == p[i])
            run++;
        if (run < 4) {
            i++;
            continue;
        }
        put_run(b, (int)run - 1);
        i += run;
    }
}

static uint32_t adler32_of(uint32_t adler, const unsigned char *p, size_t n)
{
    uint32_t a = adler & 0xffff, b = adler >> 16;
    for (size_t i = 0; i < n; i++) {
        a = (a + p[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

/* ---- the image ---- */

/* row, above: `n` bytes of this row and the one above, which is NULL for the first. out[0] is the filter, n bytes follow.
 * Of None, Sub and Up the one whose bytes, taken as signed, are smallest in sum. */
static void filter_row(const uint8_t *row, const uint8_t *above, size_t n, size_t pixel, unsigned char *out)
{
    uint64_t best = UINT64_MAX;
    int chosen = 0;
    for (int filter = 0; filter <= 2; filter++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < n; i++) {
            uint8_t before = filter == 1 ? (i < pixel ? 0 : row[i - pixel]) : filter == 2 && above ? above[i] : 0;
            uint8_t d = (uint8_t)(row[i] - before);
            sum += d < 128 ? d : 256u - d;
        }
        if (sum < best) {
            best = sum;
            chosen = filter;
        }
    }
    out[0] = (unsigned char)chosen;
    for (size_t i = 0; i < n; i++) {
        uint8_t before = chosen == 1 ? (i < pixel ? 0 : row[i - pixel]) : chosen == 2 && above ? above[i] : 0;
        out[1 + i] = (uint8_t)(row[i] - before);
    }
}

/* The zlib stream of the image into z, which has room for it; line: 1 + w*channels bytes. */
static size_t compress_image(int w, int h, int channels, const uint8_t *px, unsigned char *line, unsigned char *z)
{
    size_t pixel = (size_t)channels, n = (size_t)w * pixel;
    bit_sink b = { z, 0, 0, 0 };
    put_bits(&b, 0x0178, 16);                        /* 0x78 0x01: deflate, window 32 KiB, fastest */
    put_bits(&b, 1, 1);                              /* the last block */
    put_bits(&b, 1, 2);                              /* fixed Huffman codes */
    uint32_t adler = 1;
    for (int y = 0; y < h; y++) {
        const uint8_t *row = px + (size_t)y * n;
        filter_row(row, y > 0 ? row - n : NULL, n, pixel, line);
        adler = adler32_of(adler, line, n + 1);
        deflate_bytes(&b, line, n + 1);
    }
    put_symbol(&b, 256);
    put_bits(&b, 0, (8 - b.held) % 8);
    store_be32(z + b.n, adler);
    return b.n + 4;
}

static icd_status put_image(icd_writer *file, int w, int h, int channels, const unsigned char *z, size_t n, icd_err *err)
{
    unsigned char ihdr[13] = { 0 };                  /* size, depth, colour, then deflate, filters, no interlace: 0 */
    store_be32(ihdr, (uint32_t)w);
    store_be32(ihdr + 4, (uint32_t)h);
    ihdr[8] = 8;
    ihdr[9] = channels == 3 ? 2 : 0;
    ICD_TRY(icd_writer_put(file, "\x89PNG\r\n\x1a\n", 8, err));
    ICD_TRY(put_chunk(file, "IHDR", ihdr, sizeof ihdr, err));
    ICD_TRY(put_chunk(file, "IDAT", z, n, err));
    ICD_TRY(put_chunk(file, "IEND", ihdr, 0, err));
    return icd_writer_commit(file, err);
}

icd_status icd_write_png(const char *path, int w, int h, int channels, const uint8_t *px, icd_err *err)
{
    assert(w > 0 && h > 0 && (channels == 1 || channels == 3));
    uint64_t line = 1 + (uint64_t)w * (uint64_t)channels;
    if (line > INT_MAX / 2 / (uint64_t)h)            /* a literal takes up to 9 bits, and a chunk less than 2^31 bytes */
        return icd_fail(err, ICD_EINVAL, "%s: %d by %d pixels are too many for one PNG", path, w, h);
    size_t raw = (size_t)line * (size_t)h, room = raw + raw / 8 + 64;
    unsigned char *work = icd_alloc(room + (size_t)line, 1);
    if (!work)
        return icd_fail(err, ICD_ENOMEM, "%s: no memory for %zu bytes of pixels", path, raw);
    size_t n = compress_image(w, h, channels, px, work + room, work);
    assert(n <= room);
    icd_writer file;
    icd_status s = icd_writer_open(&file, path, err);
    if (s == ICD_OK)
        s = put_image(&file, w, h, channels, work, n, err);
    icd_free(work);
    return s;
}
