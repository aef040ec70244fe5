/*
 * VMCOREINFO: what a Linux kernel publishes for debuggers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/ctype.h"
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "system/vmcoreinfo-note.h"

#define NOTE_NAME       "VMCOREINFO"
#define NOTE_HEADER     12      /* n_namesz, n_descsz, n_type */
#define NOTE_ALIGN      4
/* "-9223372036854775808" and the terminator */
#define NUMBER_SIZE     21

static uint32_t note_word(const uint8_t *note, int index, bool big_endian)
{
    const uint8_t *p = note + index * sizeof(uint32_t);

    return big_endian ? ldl_be_p(p) : ldl_le_p(p);
}

bool vmcoreinfo_note_text(const void *note, size_t size, bool big_endian,
                          VmcoreinfoText *text, Error **errp)
{
    const size_t name_size = sizeof(NOTE_NAME);
    const size_t offset = NOTE_HEADER + ROUND_UP(name_size, NOTE_ALIGN);
    const uint8_t *p = note;
    uint32_t len;

    if (size < offset ||
        note_word(p, 0, big_endian) != name_size ||
        memcmp(p + NOTE_HEADER, NOTE_NAME, name_size)) {
        error_setg(errp, "there is no ELF note named " NOTE_NAME);
        return false;
    }
    len = note_word(p, 1, big_endian);
    if (len > size - offset) {
        error_setg(errp, "the " NOTE_NAME " note claims %" PRIu32 " bytes of "
                   "text, but has room for %zu", len, size - offset);
        return false;
    }
    *text = (VmcoreinfoText) { (const char *)p + offset, len };
    return true;
}

/* The rest of the first line that starts with @key and '=' */
static bool find_value(const VmcoreinfoText *text, const char *key,
                       const char **value, size_t *len)
{
    const char *line = text->text, *end = text->text + text->len;
    size_t key_len = strlen(key);

    while (line < end) {
        const char *stop = memchr(line, '\n', end - line) ?: end;

        if (stop - line > key_len && line[key_len] == '=' &&
            !memcmp(line, key, key_len)) {
            *value = line + key_len + 1;
            *len = stop - *value;
            return true;
        }
        line = stop + 1;
    }
    return false;
}

/* A copy of at most NUMBER_SIZE bytes, so that no parser runs beyond it */
static bool get_digits(const VmcoreinfoText *text, const char *key,
                       char *digits, Error **errp)
{
    const char *value;
    size_t len;

    if (!find_value(text, key, &value, &len)) {
        error_setg(errp, "VMCOREINFO has no %s", key);
        return false;
    }
    /* refuse blanks and '+', which the parsers would accept */
    if (!len || len >= NUMBER_SIZE ||
        !(qemu_isxdigit(*value) || *value == '-') ||
        memchr(value, '\0', len)) {
        error_setg(errp, "VMCOREINFO has a %s that is not a number", key);
        return false;
    }
    memcpy(digits, value, len);
    digits[len] = '\0';
    return true;
}

bool vmcoreinfo_number(const VmcoreinfoText *text, const char *name,
                       int64_t *value, Error **errp)
{
    g_autofree char *key = g_strdup_printf("NUMBER(%s)", name);
    char digits[NUMBER_SIZE];

    if (!get_digits(text, key, digits, errp)) {
        return false;
    }
    if (qemu_strtoi64(digits, NULL, 10, value)) {
        error_setg(errp, "VMCOREINFO has a %s that is not a 64-bit decimal "
                   "number", key);
        return false;
    }
    return true;
}

bool vmcoreinfo_symbol(const VmcoreinfoText *text, const char *name,
                       uint64_t *value, Error **errp)
{
    g_autofree char *key = g_strdup_printf("SYMBOL(%s)", name);
    char digits[NUMBER_SIZE];

    if (!get_digits(text, key, digits, errp)) {
        return false;
    }
    if (*digits == '-' || qemu_strtou64(digits, NULL, 16, value)) {
        error_setg(errp, "VMCOREINFO has a %s that is not a 64-bit hexadecimal "
                   "number", key);
        return false;
    }
    return true;
}
