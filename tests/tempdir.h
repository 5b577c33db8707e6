/* tempdir.h: a folder of its own for a test program, gone when the program ends; and bytes in and out of files. */
#ifndef ICD_TEMPDIR_H
#define ICD_TEMPDIR_H

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char temp_folder[256];

static inline int temp_entries(const char *folder)           /* names in it, without . and .. */
{
    DIR *d = opendir(folder);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d)); )
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (d)
        closedir(d);
    return n;
}

static inline void temp_remove(const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return;
    if (S_ISDIR(st.st_mode)) {
        chmod(path, 0700);
        DIR *d = opendir(path);
        for (struct dirent *e; d && (e = readdir(d)); ) {
            char inner[1024];
            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            if (snprintf(inner, sizeof inner, "%s/%s", path, e->d_name) < (int)sizeof inner)
                temp_remove(inner);
        }
        if (d)
            closedir(d);
        rmdir(path);
    } else {
        unlink(path);
    }
}

static void temp_end(void) { temp_remove(temp_folder); }

/* The path of a file of that name in the folder; good for the next 16 calls. */
static inline const char *temp_path(const char *format, ...)
{
    static char path[16][512];
    static int next;
    if (temp_folder[0] == '\0') {
        const char *base = getenv("TMPDIR");
        snprintf(temp_folder, sizeof temp_folder, "%s/icd-test-XXXXXX", base ? base : "/tmp");
        if (!mkdtemp(temp_folder)) {
            perror(temp_folder);
            exit(1);
        }
        atexit(temp_end);
    }
    char *p = path[next++ % 16];
    size_t n = (size_t)snprintf(p, sizeof path[0], "%s/", temp_folder);
    va_list a;
    va_start(a, format);
    vsnprintf(p + n, sizeof path[0] - n, format, a);
    va_end(a);
    return p;
}

static inline const char *temp_write(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
    return path;
}

/* The file's bytes, exactly as many as there are, to be freed; NULL where there is no file. */
static inline unsigned char *temp_read(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    unsigned char *p = malloc(*n + 1);
    if (!p || fread(p, 1, *n, f) != *n) {
        perror(path);
        exit(1);
    }
    p[*n] = '\0';
    fclose(f);
    return p;
}

/* The file is these bytes. */
static inline int temp_is(const char *path, const void *want, size_t n)
{
    size_t there = 0;
    unsigned char *p = temp_read(path, &there);
    int same = p && there == n && memcmp(p, want, n) == 0;
    free(p);
    return same;
}

#endif
