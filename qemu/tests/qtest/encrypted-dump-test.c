/*
 * Dumps of a simulated encrypted guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/*
 * The oracle is the dump of an ordinary guest with the same memory.  qtest's
 * own memory commands are the raw view: what a dump through host pointers
 * would have.  With the qtest accelerator no vCPU changes memory, and the VM
 * counts as running, so 'stop' seals it.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "dump-file.h"
#include "hw/misc/vmcoreinfo.h"
#include "libqos/fw_cfg.h"
#include "libqos/libqos-pc.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "standard-headers/linux/qemu_fw_cfg.h"

#include <zlib.h>

#define RAM_SIZE        (32 * MiB)
/* Ours; libqos and the firmware use what lies below */
#define FILL_START      (8 * MiB)
#define FILL_END        (24 * MiB)
#define RANDOM_END      (10 * MiB)      /* does not compress */

#define PLAIN           NULL
#define HIDDEN          ",\"mode\":\"hidden\""
#define FORBIDDEN       ",\"policy-debug\":false"
#define PROTECTED       ",\"protect-registers\":true"
#define SHARED          ",\"shared\":[{\"start\":9437184,\"size\":1048576}]"
#define SLOW            ",\"x-latency-us\":100000"

/* One page, pages around the end of a window of 1 MiB, and many */
#define FAULTS          ",\"x-fault\":[" \
                        "{\"start\":12582912,\"size\":4096}," \
                        "{\"start\":13627392,\"size\":12288}," \
                        "{\"start\":16777216,\"size\":2097152}]"
#define FAULT_PAGES     (1 + 3 + 512)
/* All that we filled and more */
#define MANY_FAULTS     ",\"x-fault\":[{\"start\":2097152,\"size\":29360128}]"

static bool faulty(uint64_t gpa)
{
    return gpa == 12582912 ||
           (gpa >= 13627392 && gpa < 13627392 + 12288) ||
           (gpa >= 16777216 && gpa < 16777216 + 2 * MiB);
}

static const char *const formats[] = {
    "elf", "kdump-zlib", "kdump-lzo", "kdump-snappy",
    "kdump-raw-zlib", "kdump-raw-lzo", "kdump-raw-snappy",
};

/*
 * Guests
 */

/* What the guest has at @gpa: some pages of zeros, some noise, some text */
static void fill_page(uint64_t gpa, uint64_t *page)
{
    uint64_t x = gpa;

    memset(page, 0, DUMP_PAGE);
    if (gpa < RANDOM_END) {
        for (int i = 0; i < DUMP_PAGE / 8; i++) {
            x = x * 6364136223846793005ULL + 1442695040888963407ULL;
            page[i] = x;
        }
    } else if (gpa / DUMP_PAGE % 4) {
        snprintf((char *)page, DUMP_PAGE, "page at 0x%" PRIx64, gpa);
    }
}

static void fill(QTestState *qts)
{
    uint8_t buf[64 * KiB];

    for (uint64_t gpa = FILL_START; gpa < FILL_END; gpa += sizeof(buf)) {
        for (size_t i = 0; i < sizeof(buf); i += DUMP_PAGE) {
            fill_page(gpa + i, (uint64_t *)(buf + i));
        }
        qtest_bufwrite(qts, gpa, buf, sizeof(buf));
    }
}

/* A guest with the properties, or an ordinary one if that is PLAIN */
static QOSState *start_guest(const char *properties)
{
    g_autofree char *object = properties ? g_strdup_printf(
        "-object '{\"qom-type\":\"sim-encrypted-guest\",\"id\":\"cg0\"%s}' "
        "-machine confidential-guest-support=cg0", properties) : g_strdup("");
    QOSState *qs = qtest_pc_boot("-machine pc -m 32M,slots=1,maxmem=1G "
                                 "-nodefaults -device vmcoreinfo %s", object);

    fill(qs->qts);
    return qs;
}

static QOSState *start_stopped_guest(const char *properties)
{
    QOSState *qs = start_guest(properties);

    qtest_qmp_assert_success(qs->qts, "{'execute': 'stop'}");
    return qs;
}

/* The host does not see what fill() wrote */
static void assert_sealed(QTestState *qts)
{
    uint64_t raw[DUMP_PAGE / 8], plain[DUMP_PAGE / 8];

    fill_page(11 * MiB + DUMP_PAGE, plain);
    qtest_memread(qts, 11 * MiB + DUMP_PAGE, raw, sizeof(raw));
    g_assert_null(memmem(raw, sizeof(raw), "page at", 7));
    g_assert_nonnull(memmem(plain, sizeof(plain), "page at", 7));
}

/* Tell the guest's VMCOREINFO note, as its kernel does */
static void tell_note(QOSState *qs, uint64_t gpa, uint32_t size)
{
    g_autoptr(QFWCFG) fw_cfg = pc_fw_cfg_init(qs->qts);
    FWCfgVMCoreInfo info = {
        .guest_format = cpu_to_le16(FW_CFG_VMCOREINFO_FORMAT_ELF),
        .size = cpu_to_le32(size),
        .paddr = cpu_to_le64(gpa),
    };

    qfw_cfg_write_file(fw_cfg, qs, FW_CFG_VMCOREINFO_FILENAME, &info,
                       sizeof(info));
}

static size_t make_note(char *buf, const char *name, const char *text)
{
    size_t name_size = strlen(name) + 1, size = strlen(text);

    memset(buf, 0, DUMP_PAGE);
    stl_le_p(buf, name_size);
    stl_le_p(buf + 4, size);
    strcpy(buf + 12, name);
    strcpy(buf + 12 + ROUND_UP(name_size, 4), text);
    return 12 + ROUND_UP(name_size, 4) + ROUND_UP(size, 4);
}

/*
 * Dumps
 */

static char *temporary_name(const char *what)
{
    return g_strdup_printf("%s/encrypted-dump-test-%d.%s", g_get_tmp_dir(),
                           (int)getpid(), what);
}

static QDict *dump_arguments(const char *format, const char *protocol)
{
    QDict *args = qdict_new();

    qdict_put_bool(args, "paging", false);
    qdict_put_str(args, "protocol", protocol);
    qdict_put_str(args, "format", format);
    return args;
}

static QDict *dump_to_file(const char *format, const char *name)
{
    g_autofree char *protocol = g_strdup_printf("file:%s", name);

    return dump_arguments(format, protocol);
}

/* Run the command; takes @args */
static QDict *dump(QTestState *qts, QDict *args)
{
    return qtest_qmp_assert_success_ref(qts, "{'execute': "
                                        "'dump-guest-memory', 'arguments': "
                                        "%p}", args);
}

/* Run the command, which must fail with an error that says @what */
static void dump_fails(QTestState *qts, QDict *args, const char *what)
{
    QDict *error = qtest_qmp_assert_failure_ref(qts, "{'execute': "
                                                "'dump-guest-memory', "
                                                "'arguments': %p}", args);
    const char *desc = qdict_get_str(error, "desc");

    if (!strstr(desc, what)) {
        g_test_message("error: %s", desc);
    }
    g_assert_nonnull(strstr(desc, what));
    qobject_unref(error);
}

/* A dump of the whole guest; @result as dump() returns it, or NULL */
static DumpFile *dump_all(QTestState *qts, const char *format,
                          QDict **result)
{
    g_autofree char *name = temporary_name(format);
    QDict *answer = dump(qts, dump_to_file(format, name));
    DumpFile *f = dump_file_load(name);

    unlink(name);
    if (result) {
        *result = answer;
    } else {
        qobject_unref(answer);
    }
    return f;
}

static void assert_warns(QDict *result, const char *what)
{
    QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(result, "warnings"), e) {
        if (strstr(qstring_get_str(qobject_to(QString, e->value)), what)) {
            return;
        }
    }
    g_test_message("no warning says '%s'", what);
    g_assert_not_reached();
}

static void assert_unreadable(QDict *result, int pages, uint64_t first)
{
    QDict *u = qdict_get_qdict(result, "unreadable");
    QDict *page = qobject_to(QDict,
                             qlist_peek(qdict_get_qlist(u, "first")));

    g_assert_cmpint(qdict_get_int(u, "pages"), ==, pages);
    g_assert_cmphex(qdict_get_int(page, "address"), ==, first);
    g_assert_nonnull(strstr(qdict_get_str(page, "reason"), "x-fault"));
}

/*
 * Tests: equality
 */

static void assert_pages_are_right(const DumpFile *f)
{
    uint64_t page[DUMP_PAGE / 8];

    for (uint64_t gpa = FILL_START; gpa < FILL_END; gpa += DUMP_PAGE) {
        DumpPage p = dump_file_page(f, gpa);

        fill_page(gpa, page);
        g_assert_true(p.present);
        g_assert_cmpmem(p.data, p.size, page, sizeof(page));
    }
}

static void test_equals_plain(const void *properties)
{
    QOSState *plain = start_stopped_guest(PLAIN);
    QOSState *sealed = start_stopped_guest(properties);

    assert_sealed(sealed->qts);
    for (int i = 0; i < ARRAY_SIZE(formats); i++) {
        g_autoptr(DumpFile) a = dump_all(plain->qts, formats[i], NULL);
        g_autoptr(DumpFile) b = dump_all(sealed->qts, formats[i], NULL);

        g_test_message("%s", formats[i]);
        g_assert_cmpint(a->len, ==, b->len);
        g_assert_true(!memcmp(a->data, b->data, a->len));
        if (dump_file_is_elf(b)) {
            assert_pages_are_right(b);
        }
    }
    qtest_shutdown(plain);
    qtest_shutdown(sealed);
}

static void test_zlib_page(void)
{
    QOSState *qs = start_stopped_guest("");
    g_autoptr(DumpFile) f = dump_all(qs->qts, "kdump-zlib", NULL);
    DumpPage page = dump_file_page(f, 11 * MiB + DUMP_PAGE);
    uint64_t plain[DUMP_PAGE / 8], want[DUMP_PAGE / 8];
    uLongf size = sizeof(plain);

    assert_sealed(qs->qts);
    g_assert_cmpint(page.flags, ==, 1);
    g_assert_cmpint(uncompress((Bytef *)plain, &size,
                               (const Bytef *)page.data, page.size), ==, Z_OK);
    fill_page(11 * MiB + DUMP_PAGE, want);
    g_assert_cmpmem(plain, size, want, sizeof(want));
    qtest_shutdown(qs);
}

static void test_equals_plain_in_range(void)
{
    QOSState *plain = start_stopped_guest(PLAIN);
    QOSState *sealed = start_stopped_guest("");
    static const struct { uint64_t begin, length; } ranges[] = {
        { 0, 1 }, { 0, RAM_SIZE }, { 9 * MiB + 5, 3 * MiB + 4099 },
        { 10 * MiB - 1, 2 }, { 4 * GiB - 64 * KiB, 64 * KiB },
    };

    for (int i = 0; i < ARRAY_SIZE(ranges); i++) {
        QOSState *guests[] = { plain, sealed };
        DumpFile *f[2];

        for (int j = 0; j < 2; j++) {
            g_autofree char *name = temporary_name("range");
            QDict *args = dump_to_file("elf", name);

            qdict_put_int(args, "begin", ranges[i].begin);
            qdict_put_int(args, "length", ranges[i].length);
            qobject_unref(dump(guests[j]->qts, args));
            f[j] = dump_file_load(name);
            unlink(name);
        }
        g_assert_cmpmem(f[0]->data, f[0]->len, f[1]->data, f[1]->len);
        dump_file_free(f[0]);
        dump_file_free(f[1]);
    }
    qtest_shutdown(plain);
    qtest_shutdown(sealed);
}

static void test_running_guest_is_stopped_meanwhile(void)
{
    QOSState *plain = start_guest(PLAIN), *running = start_guest("");
    g_autoptr(DumpFile) a = dump_all(plain->qts, "elf", NULL);
    g_autoptr(DumpFile) b = dump_all(running->qts, "elf", NULL);
    QDict *rsp;

    g_assert_cmpmem(a->data, a->len, b->data, b->len);
    rsp = qtest_qmp_assert_success_ref(running->qts,
                                       "{'execute': 'query-status'}");
    g_assert_cmpstr(qdict_get_str(rsp, "status"), ==, "running");
    qobject_unref(rsp);
    qtest_shutdown(plain);
    qtest_shutdown(running);
}

/* Wait for a detached dump; its result, as the event has it */
static QDict *wait_for_dump(QTestState *qts)
{
    QDict *event = qtest_qmp_eventwait_ref(qts, "DUMP_COMPLETED");
    QDict *data = qdict_get_qdict(event, "data");

    qobject_ref(data);
    qobject_unref(event);
    return data;
}

static void test_detached(const void *format)
{
    QOSState *plain = start_stopped_guest(PLAIN);
    QOSState *sealed = start_stopped_guest("");
    g_autoptr(DumpFile) a = dump_all(plain->qts, format, NULL);
    g_autoptr(DumpFile) b = NULL;
    g_autofree char *name = temporary_name("detached");
    QDict *args = dump_to_file(format, name);
    QDict *data, *result;

    qdict_put_bool(args, "detach", true);
    qobject_unref(dump(sealed->qts, args));
    data = wait_for_dump(sealed->qts);
    g_assert_false(qdict_haskey(data, "error"));
    result = qdict_get_qdict(data, "result");
    g_assert_cmpstr(qdict_get_str(result, "status"), ==, "completed");
    g_assert_cmpint(qdict_get_int(result, "completed"), ==,
                    qdict_get_int(result, "total"));
    g_assert_false(qdict_haskey(result, "unreadable"));
    qobject_unref(data);
    b = dump_file_load(name);
    g_assert_cmpmem(a->data, a->len, b->data, b->len);
    unlink(name);
    qtest_shutdown(plain);
    qtest_shutdown(sealed);
}

/* The next dump begins as soon as the one before says that it has ended */
static void test_one_after_the_other(void)
{
    QOSState *qs = start_stopped_guest("");
    g_autoptr(DumpFile) a = dump_all(qs->qts, "kdump-lzo", NULL);

    qobject_unref(wait_for_dump(qs->qts));
    for (int i = 0; i < 50; i++) {
        g_autofree char *name = temporary_name("next");
        QDict *args = dump_to_file("kdump-lzo", name), *data;
        g_autoptr(DumpFile) b = NULL;

        qdict_put_bool(args, "detach", true);
        qobject_unref(dump(qs->qts, args));
        data = wait_for_dump(qs->qts);
        g_assert_false(qdict_haskey(data, "error"));
        qobject_unref(data);
        b = dump_file_load(name);
        g_assert_cmpmem(a->data, a->len, b->data, b->len);
        unlink(name);
    }
    qtest_shutdown(qs);
}

/* A DIMM that comes while the guest is sealed, and is written to later */
static void test_dimm(void)
{
    QOSState *guests[] = { start_guest(PLAIN), start_guest("") };
    g_autofree char *page = g_strnfill(DUMP_PAGE, 'd');
    DumpFile *f[2];

    for (int i = 0; i < 2; i++) {
        QTestState *qts = guests[i]->qts;

        qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
        qtest_qmp_assert_success(qts, "{'execute': 'object-add', "
            "'arguments': {'qom-type': 'memory-backend-ram', 'id': 'm0', "
            "'size': 134217728}}");
        qtest_qmp_assert_success(qts, "{'execute': 'device_add', "
            "'arguments': {'driver': 'pc-dimm', 'id': 'd0', 'memdev': 'm0', "
            "'addr': 4294967296}}");
        qtest_qmp_assert_success(qts, "{'execute': 'cont'}");
        qtest_bufwrite(qts, 4 * GiB + DUMP_PAGE, page, DUMP_PAGE);
        qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
        f[i] = dump_all(qts, "elf", NULL);
        g_assert_cmpmem(dump_file_page(f[i], 4 * GiB + DUMP_PAGE).data,
                        DUMP_PAGE, page, DUMP_PAGE);
    }
    g_assert_cmpmem(f[0]->data, f[0]->len, f[1]->data, f[1]->len);
    for (int i = 0; i < 2; i++) {
        dump_file_free(f[i]);
        qtest_shutdown(guests[i]);
    }
}

/*
 * Tests: pages that cannot be read
 */

/* @b has all pages that @a has, as @a has them, but for the faulty ones */
static void assert_lacks_faulty_pages(const DumpFile *a, const DumpFile *b)
{
    for (uint64_t gpa = 0; gpa < RAM_SIZE; gpa += DUMP_PAGE) {
        DumpPage p = dump_file_page(a, gpa), q = dump_file_page(b, gpa);

        g_assert_true(p.exists == q.exists);
        g_assert_true(q.present == (p.present && !faulty(gpa)));
        if (q.present) {
            g_assert_cmpint(p.flags, ==, q.flags);
            g_assert_cmpmem(p.data, p.size, q.data, q.size);
        }
    }
}

static void test_unreadable_pages(const void *format)
{
    QOSState *plain = start_stopped_guest(PLAIN);
    QOSState *sealed = start_stopped_guest(FAULTS);
    QDict *result = NULL, *query;
    g_autoptr(DumpFile) a = dump_all(plain->qts, format, NULL);
    g_autoptr(DumpFile) b = dump_all(sealed->qts, format, &result);

    assert_lacks_faulty_pages(a, b);
    assert_unreadable(result, FAULT_PAGES, 12582912);
    qobject_unref(result);
    query = qtest_qmp_assert_success_ref(sealed->qts,
                                         "{'execute': 'query-dump'}");
    assert_unreadable(query, FAULT_PAGES, 12582912);
    g_assert_cmpint(qdict_get_int(query, "total") -
                    qdict_get_int(query, "completed"), ==,
                    FAULT_PAGES * DUMP_PAGE);
    qobject_unref(query);
    qtest_shutdown(plain);
    qtest_shutdown(sealed);
}

static void test_unreadable_pages_in_range(void)
{
    QOSState *qs = start_stopped_guest(FAULTS);
    g_autofree char *name = temporary_name("range");
    QDict *args = dump_to_file("elf", name), *result;
    g_autoptr(DumpFile) f = NULL;

    /* begins in the middle of the first faulty page */
    qdict_put_int(args, "begin", 12582912 + 100);
    qdict_put_int(args, "length", 1 * MiB);
    result = dump(qs->qts, args);
    assert_unreadable(result, 3, 12582912);
    qobject_unref(result);
    f = dump_file_load(name);
    unlink(name);
    g_assert_cmpint(dump_file_ehdr(f)->e_phnum, ==, 2);
    g_assert_cmphex(dump_file_phdr(f, 1)->p_paddr, ==, 12582912 + DUMP_PAGE);
    g_assert_cmphex(dump_file_phdr(f, 1)->p_filesz, ==,
                    13627392 - (12582912 + DUMP_PAGE));
    qtest_shutdown(qs);
}

static void test_hmp_names_unreadable_pages(void)
{
    QOSState *qs = start_stopped_guest(FAULTS);
    g_autofree char *name = temporary_name("hmp");
    g_autofree char *out = qtest_hmp(qs->qts, "dump-guest-memory -z -R %s",
                                     name);
    g_autofree char *info = qtest_hmp(qs->qts, "info dump");

    g_assert_nonnull(strstr(out, "516 pages"));
    g_assert_nonnull(strstr(out, "0x0000000000c00000: "));
    g_assert_nonnull(strstr(out, "VMCOREINFO"));
    g_assert_nonnull(strstr(info, "completed"));
    g_assert_nonnull(strstr(info, "516 pages"));
    unlink(name);
    qtest_shutdown(qs);
}

static void assert_empty(const char *name)
{
    struct stat st;

    g_assert_cmpint(stat(name, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 0);
    unlink(name);
}

static void test_mostly_unreadable(const void *format)
{
    QOSState *qs = start_stopped_guest(MANY_FAULTS);
    g_autofree char *name = temporary_name("most");
    g_autoptr(DumpFile) f = NULL;
    QDict *args, *result;

    dump_fails(qs->qts, dump_to_file(format, name),
               "most of the guest's RAM cannot be read");
    assert_empty(name);

    args = dump_to_file(format, name);
    qdict_put_bool(args, "allow-incomplete", true);
    result = dump(qs->qts, args);
    assert_unreadable(result, 7 * KiB, 2 * MiB);
    qobject_unref(result);
    f = dump_file_load(name);
    g_assert_true(dump_file_page(f, 1 * MiB).present);
    g_assert_false(dump_file_page(f, FILL_START).present);
    unlink(name);
    qtest_shutdown(qs);
}

/*
 * Tests: pipes
 */

typedef struct PipeReader {
    int fd;
    FILE *out;
} PipeReader;

static gpointer pipe_reader(gpointer opaque)
{
    PipeReader *r = opaque;
    char buf[4096];
    ssize_t got;

    while ((got = read(r->fd, buf, sizeof(buf))) > 0) {
        g_assert_cmpint(fwrite(buf, 1, got, r->out), ==, got);
    }
    return NULL;
}

/* Give QEMU the pipe's end to write to, as file descriptor 'out' */
static int send_pipe(QTestState *qts)
{
    int fds[2];

    g_assert_true(g_unix_open_pipe(fds, FD_CLOEXEC, NULL));
    qtest_qmp_fds_assert_success(qts, &fds[1], 1, "{'execute': 'getfd', "
                                 "'arguments': {'fdname': 'out'}}");
    close(fds[1]);
    return fds[0];
}

static DumpFile *dump_to_pipe(QTestState *qts, const char *format,
                              QDict **result)
{
    g_autofree char *name = temporary_name("pipe");
    PipeReader r = { .fd = send_pipe(qts), .out = fopen(name, "w") };
    GThread *thread = g_thread_new("reader", pipe_reader, &r);
    DumpFile *f;

    *result = dump(qts, dump_arguments(format, "fd:out"));
    g_thread_join(thread);
    close(r.fd);
    fclose(r.out);
    f = dump_file_load(name);
    unlink(name);
    return f;
}

static void test_pipe(const void *format)
{
    QOSState *plain = start_stopped_guest(PLAIN);
    QOSState *sealed = start_stopped_guest("");
    QOSState *faults = start_stopped_guest(FAULTS);
    QDict *result;
    g_autoptr(DumpFile) a = dump_all(plain->qts, format, NULL);
    g_autoptr(DumpFile) b = NULL;
    g_autoptr(DumpFile) c = NULL;

    b = dump_to_pipe(sealed->qts, format, &result);
    g_assert_false(qdict_haskey(result, "unreadable"));
    qobject_unref(result);
    g_assert_cmpmem(a->data, a->len, b->data, b->len);

    c = dump_to_pipe(faults->qts, format, &result);
    assert_unreadable(result, FAULT_PAGES, 12582912);
    qobject_unref(result);
    assert_lacks_faulty_pages(a, c);
    qtest_shutdown(plain);
    qtest_shutdown(sealed);
    qtest_shutdown(faults);
}

static void test_pipe_closed(const void *format)
{
    QOSState *qs = start_stopped_guest("");

    close(send_pipe(qs->qts));
    dump_fails(qs->qts, dump_arguments(format, "fd:out"), "failed to");
    qtest_qmp_assert_success(qs->qts, "{'execute': 'cont'}");
    qtest_shutdown(qs);
}

/*
 * Tests: refusal and failure
 */

static void test_policy_forbids(const void *format)
{
    QOSState *qs = start_stopped_guest(FORBIDDEN);
    g_autofree char *name = temporary_name("policy");
    g_autofree char *old = NULL;
    gsize len;

    dump_fails(qs->qts, dump_to_file(format, name),
               "policy forbids debugging");
    g_assert_false(g_file_test(name, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_set_contents(name, "old", 3, NULL));
    dump_fails(qs->qts, dump_to_file(format, name),
               "policy forbids debugging");
    g_assert_true(g_file_get_contents(name, &old, &len, NULL));
    g_assert_cmpmem(old, len, "old", 3);
    unlink(name);
    qtest_shutdown(qs);
}

static void test_disk_full(const void *format)
{
    QOSState *qs = start_stopped_guest("");

    dump_fails(qs->qts, dump_to_file(format, "/dev/full"), "failed to");
    qtest_qmp_assert_success(qs->qts, "{'execute': 'cont'}");
    qtest_shutdown(qs);
}

/* Of a dump that is under way */
static int64_t dumped_so_far(QTestState *qts)
{
    QDict *query = qtest_qmp_assert_success_ref(qts,
                                                "{'execute': 'query-dump'}");
    int64_t completed = qdict_get_int(query, "completed");

    g_assert_cmpstr(qdict_get_str(query, "status"), ==, "active");
    qobject_unref(query);
    return completed;
}

/* Quit while a dump that would take seconds is under way */
static void test_quit(const void *format)
{
    QOSState *qs = start_stopped_guest(SLOW);
    g_autofree char *name = temporary_name("quit");
    QDict *args = dump_to_file(format, name), *data;

    qdict_put_bool(args, "detach", true);
    qobject_unref(dump(qs->qts, args));
    while (!dumped_so_far(qs->qts)) {
        g_usleep(10000);
    }
    qtest_qmp_assert_success(qs->qts, "{'execute': 'quit'}");
    data = wait_for_dump(qs->qts);
    g_assert_nonnull(strstr(qdict_get_str(data, "error"), "quitting"));
    qobject_unref(data);
    qtest_wait_qemu(qs->qts);
    assert_empty(name);
    qtest_shutdown(qs);
}

/* Quit while a dump waits for somebody to read the pipe */
static void test_quit_stuck(const void *format)
{
    QOSState *qs = start_stopped_guest("");
    QDict *args = dump_arguments(format, "fd:out");
    int fd = send_pipe(qs->qts);

    qdict_put_bool(args, "detach", true);
    qobject_unref(dump(qs->qts, args));
    g_usleep(G_USEC_PER_SEC / 2);
    dumped_so_far(qs->qts);
    qtest_qmp_assert_success(qs->qts, "{'execute': 'quit'}");
    qtest_wait_qemu(qs->qts);
    close(fd);
    qtest_shutdown(qs);
}

/*
 * Tests: notes
 */

static void test_note(const void *properties)
{
    QOSState *plain = start_guest(PLAIN), *sealed = start_guest(properties);
    QOSState *guests[] = { plain, sealed };
    char note[DUMP_PAGE];
    size_t size = make_note(note, "VMCOREINFO", "OSRELEASE=6.1\nPAGESIZE=4096");

    for (int i = 0; i < 2; i++) {
        qtest_memwrite(guests[i]->qts, 20 * MiB, note, sizeof(note));
        tell_note(guests[i], 20 * MiB, size);
        qtest_qmp_assert_success(guests[i]->qts, "{'execute': 'stop'}");
    }
    for (int i = 0; i < ARRAY_SIZE(formats); i++) {
        QDict *result;
        g_autoptr(DumpFile) a = dump_all(plain->qts, formats[i], NULL);
        g_autoptr(DumpFile) b = dump_all(sealed->qts, formats[i], &result);

        g_assert_cmpmem(a->data, a->len, b->data, b->len);
        g_assert_nonnull(memmem(b->data, DUMP_PAGE * 3, note, size));
        g_assert_false(qdict_haskey(result, "warnings"));
        qobject_unref(result);
    }
    qtest_shutdown(plain);
    qtest_shutdown(sealed);
}

/* The guest tells of @note, which must be refused with @reason */
static void bad_note(const char *properties, uint64_t gpa, const char *note,
                     size_t size, const char *reason)
{
    QOSState *qs = start_guest(properties);
    QDict *result;
    g_autoptr(DumpFile) f = NULL;

    if (note) {
        qtest_memwrite(qs->qts, gpa, note, DUMP_PAGE);
    }
    tell_note(qs, gpa, size);
    qtest_qmp_assert_success(qs->qts, "{'execute': 'stop'}");
    f = dump_all(qs->qts, "elf", &result);
    assert_warns(result, "no VMCOREINFO");
    assert_warns(result, reason);
    assert_warns(result, "makedumpfile can neither filter");
    qobject_unref(result);
    qtest_shutdown(qs);
}

static void test_bad_notes(void)
{
    char note[DUMP_PAGE] = {};
    size_t size;

    /* zeros, which stock QEMU takes */
    bad_note("", 20 * MiB, note, 1000, "no ELF note");
    size = make_note(note, "SOMETHING", "OSRELEASE=6.1");
    bad_note("", 20 * MiB, note, size, "no ELF note");
    size = make_note(note, "VMCOREINFO", "OSRELEASE=6.1");
    bad_note("", 20 * MiB, note, size - 8, "claims 13 bytes");
    stl_le_p(note + 4, 0x7fffffff);
    bad_note("", 20 * MiB, note, 1000, "claims 2147483647 bytes");
    /* where nothing is, and where it cannot be read */
    bad_note("", 1 * GiB, NULL, 1000, "nothing is mapped");
    bad_note("", -100, NULL, 1000, "end of the address space");
    bad_note(FAULTS, 12582912, note, 1000, "x-fault");
}

static void test_no_note_told(void)
{
    QOSState *qs = start_stopped_guest("");
    QDict *result;
    g_autoptr(DumpFile) f = dump_all(qs->qts, "elf", &result);

    assert_warns(result, "has not announced a VMCOREINFO note");
    qobject_unref(result);
    qtest_shutdown(qs);
}

static void test_protected_registers(const void *format)
{
    QOSState *qs = start_guest(PROTECTED);
    char note[DUMP_PAGE];
    const char *notes;
    size_t size = make_note(note, "VMCOREINFO", "OSRELEASE=6.1"), got;
    QDict *result;
    g_autoptr(DumpFile) f = NULL;

    qtest_memwrite(qs->qts, 20 * MiB, note, sizeof(note));
    tell_note(qs, 20 * MiB, size);
    qtest_qmp_assert_success(qs->qts, "{'execute': 'stop'}");
    f = dump_all(qs->qts, format, &result);
    assert_warns(result, "registers are protected");
    if (dump_file_is_elf(f)) {
        g_assert_cmpint(dump_file_ehdr(f)->e_machine, ==, EM_X86_64);
    } else {
        g_assert_cmpstr(dump_file_machine(f), ==, "x86_64");
    }
    /* VMCOREINFO, and nothing of a register */
    notes = dump_file_notes(f, &got);
    g_assert_cmpmem(notes, got, note, size);
    qobject_unref(result);
    qtest_shutdown(qs);
}

static void add_for_formats(const char *name, void (*test)(const void *))
{
    for (int i = 0; i < ARRAY_SIZE(formats); i++) {
        g_autofree char *path = g_strdup_printf("/encrypted-dump/%s/%s", name,
                                                formats[i]);

        qtest_add_data_func(path, formats[i], test);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_data_func("/encrypted-dump/equals-plain/cipher", "",
                        test_equals_plain);
    qtest_add_data_func("/encrypted-dump/equals-plain/hidden", HIDDEN,
                        test_equals_plain);
    qtest_add_data_func("/encrypted-dump/equals-plain/shared", SHARED,
                        test_equals_plain);
    qtest_add_func("/encrypted-dump/equals-plain/range",
                   test_equals_plain_in_range);
    qtest_add_func("/encrypted-dump/equals-plain/running",
                   test_running_guest_is_stopped_meanwhile);
    qtest_add_func("/encrypted-dump/zlib-page", test_zlib_page);
    add_for_formats("detached", test_detached);
    qtest_add_func("/encrypted-dump/detached/one-after-the-other",
                   test_one_after_the_other);
    qtest_add_func("/encrypted-dump/equals-plain/dimm", test_dimm);
    add_for_formats("unreadable/left-out", test_unreadable_pages);
    qtest_add_func("/encrypted-dump/unreadable/range",
                   test_unreadable_pages_in_range);
    qtest_add_func("/encrypted-dump/unreadable/hmp",
                   test_hmp_names_unreadable_pages);
    add_for_formats("unreadable/most", test_mostly_unreadable);
    qtest_add_data_func("/encrypted-dump/pipe/elf", "elf", test_pipe);
    qtest_add_data_func("/encrypted-dump/pipe/kdump", "kdump-zlib", test_pipe);
    qtest_add_data_func("/encrypted-dump/pipe/closed/elf", "elf",
                        test_pipe_closed);
    qtest_add_data_func("/encrypted-dump/pipe/closed/kdump", "kdump-zlib",
                        test_pipe_closed);
    add_for_formats("policy-forbids", test_policy_forbids);
    add_for_formats("disk-full", test_disk_full);
    qtest_add_data_func("/encrypted-dump/quit/elf", "elf", test_quit);
    qtest_add_data_func("/encrypted-dump/quit/kdump", "kdump-raw-zlib",
                        test_quit);
    qtest_add_data_func("/encrypted-dump/quit/stuck/elf", "elf",
                        test_quit_stuck);
    qtest_add_data_func("/encrypted-dump/quit/stuck/kdump", "kdump-zlib",
                        test_quit_stuck);
    qtest_add_data_func("/encrypted-dump/note/cipher", "", test_note);
    qtest_add_data_func("/encrypted-dump/note/hidden", HIDDEN, test_note);
    qtest_add_func("/encrypted-dump/note/bad", test_bad_notes);
    qtest_add_func("/encrypted-dump/note/none", test_no_note_told);
    add_for_formats("protected-registers", test_protected_registers);

    return g_test_run();
}
