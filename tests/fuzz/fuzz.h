/*
 * What the fuzz targets share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef FUZZ_H
#define FUZZ_H

/*
 * Each target is one C file that includes qemu/osdep.h, defines
 * LLVMFuzzerTestOneInput() and checks what the code under test does against
 * a simple model.  `FUZZ SOURCES:` in its head names the files of QEMU that it
 * is linked with; see scripts/fuzz.
 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Unlike assert(), always there, and g_assert()'s messages in one place */
#define CHECK(condition) do {                                           \
        if (!(condition)) {                                             \
            fprintf(stderr, "%s:%d: wrong: %s\n", __FILE__, __LINE__,   \
                    #condition);                                        \
            abort();                                                    \
        }                                                               \
    } while (0)

/* The input, taken from its start; zeros follow its end */
typedef struct FuzzInput {
    const uint8_t *data;
    size_t left;
} FuzzInput;

/* The next @bytes bytes, at most 8, as a little-endian number */
static inline uint64_t fuzz_take(FuzzInput *in, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes && in->left; i++, in->left--) {
        value |= (uint64_t)*in->data++ << (8 * i);
    }
    return value;
}

/* A number from @min to @max */
static inline uint64_t fuzz_range(FuzzInput *in, uint64_t min, uint64_t max)
{
    return min + fuzz_take(in, max - min > UINT16_MAX ? 8 : 2) %
                 (max - min + 1);
}

#ifdef FUZZ_REPLAY
/* Without libFuzzer, by any compiler: each file once */
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        g_autofree char *data = NULL;
        g_autofree uint8_t *copy = NULL;
        g_autoptr(GError) err = NULL;
        size_t size;

        fprintf(stderr, "Running: %s\n", argv[i]);
        if (!g_file_get_contents(argv[i], &data, &size, &err)) {
            fprintf(stderr, "%s\n", err->message);
            return 1;
        }
        copy = g_memdup2(data, size);       /* without glib's last zero */
        LLVMFuzzerTestOneInput(copy, size);
    }
    return 0;
}
#endif

#endif
