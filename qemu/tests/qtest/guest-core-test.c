/*
 * The core of the guest as a block node
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/*
 * The oracle is an ELF dump of the same guest.  With the qtest accelerator no
 * vCPU changes memory, and the VM counts as running: the guest is launched,
 * and 'stop' seals its memory.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "dump-file.h"
#include "hw/misc/vmcoreinfo.h"
#include "libqos/fw_cfg.h"
#include "libqos/libqos-pc.h"
#include "libqos/virtio-pci.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "standard-headers/linux/qemu_fw_cfg.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_mem.h"

#define PLAIN       NULL
#define CIPHER      ""
#define HIDDEN      ",\"mode\":\"hidden\""
#define PROTECTED   ",\"protect-registers\":true"
#define FORBIDDEN   ",\"policy-debug\":false"
#define SLOW        ",\"x-latency-us\":300000"
/* Two adjacent pages */
#define MISSING     (12 * MiB)
#define FAULT       ",\"x-fault\":[{\"start\":12582912,\"size\":4096}]"
#define ABSENT      ",\"x-absent\":[{\"start\":12582912,\"size\":4096}]"

#define FILL        (8 * MiB)
#define FILL_SIZE   (6 * MiB)
#define NOTE_GPA    (20 * MiB)
#define DIMM_GPA    (4 * GiB)
#define DIMM_SIZE   (128 * MiB)
#define VMEM_GPA    (8 * GiB)
#define VMEM_BLOCK  (2 * MiB)
#define TEXT        "OSRELEASE=6.1\n"

/* ACPI memory hot-plug registers, docs/specs/acpi_mem_hotplug.rst */
#define MHP_SELECT  0xa00
#define MHP_CONTROL 0xa14
#define MHP_EJECT   (1 << 3)

static uint64_t pattern(uint64_t gpa)
{
    return gpa * 0x9e3779b97f4a7c15;
}

static QOSState *start_guest(const char *properties)
{
    g_autofree char *object = properties ? g_strdup_printf(
        "-object '{\"qom-type\":\"sim-encrypted-guest\",\"id\":\"cg0\"%s}' "
        "-machine confidential-guest-support=cg0", properties) : g_strdup("");
    QOSState *qs = qtest_pc_boot("-machine pc -m 32M,slots=1,maxmem=1G -smp 2 "
                                 "-nodefaults -device vmcoreinfo %s", object);
    g_autofree uint64_t *data = g_malloc(FILL_SIZE);

    for (size_t i = 0; i < FILL_SIZE / sizeof(*data); i++) {
        data[i] = pattern(FILL + i * sizeof(*data));
    }
    qtest_bufwrite(qs->qts, FILL, data, FILL_SIZE);
    return qs;
}

static QOSState *start_stopped_guest(const char *properties)
{
    QOSState *qs = start_guest(properties);

    qtest_qmp_assert_success(qs->qts, "{'execute': 'stop'}");
    return qs;
}

static void add_core(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{'execute': 'blockdev-add', 'arguments': "
                             "{'driver': 'guest-core', 'node-name': 'core0', "
                             "'read-only': true}}");
}

static void add_core_fails(QTestState *qts, const char *options,
                           const char *why)
{
    g_autofree char *command = g_strdup_printf(
        "{'execute': 'blockdev-add', 'arguments': {'driver': 'guest-core', "
        "'node-name': 'core0'%s}}", options);
    QDict *error = qtest_qmp_assert_failure_ref(qts, command, NULL);

    if (!strstr(qdict_get_str(error, "desc"), why)) {
        g_test_message("error: %s", qdict_get_str(error, "desc"));
    }
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), why));
    qobject_unref(error);
}

static uint64_t core_size(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{'execute': 'query-named-block-nodes'}");
    const QListEntry *entry;
    uint64_t size = 0;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), entry) {
        QDict *node = qobject_to(QDict, qlist_entry_obj(entry));

        if (!strcmp(qdict_get_str(node, "node-name"), "core0")) {
            g_assert_true(qdict_get_bool(node, "ro"));
            size = qdict_get_int(qdict_get_qdict(node, "image"),
                                 "virtual-size");
        }
    }
    g_assert_cmpint(size, >, 0);
    qobject_unref(rsp);
    return size;
}

static char *temporary_name(const char *what)
{
    return g_strdup_printf("%s/guest-core-test-%d.%s", g_get_tmp_dir(),
                           (int)getpid(), what);
}

static void start_backup(QTestState *qts, const char *from)
{
    qtest_qmp_assert_success(qts, "{'execute': 'blockdev-backup', "
                             "'arguments': {'job-id': 'job', 'device': %s, "
                             "'target': 'target', 'sync': 'full', "
                             "'auto-dismiss': false}}", from);
}

/* The only job, after it has ended */
static QDict *concluded_job(QTestState *qts)
{
    for (;;) {
        QDict *rsp = qtest_qmp(qts, "{'execute': 'query-jobs'}");
        QDict *job = qobject_to(QDict, qlist_peek(qdict_get_qlist(rsp,
                                                                  "return")));

        qobject_ref(job);
        qobject_unref(rsp);
        if (!strcmp(qdict_get_str(job, "status"), "concluded")) {
            return job;
        }
        qobject_unref(job);
        g_usleep(1000);
    }
}

/* Did it succeed?  Do not wait for an event: that would drop others. */
static bool finish_backup(QTestState *qts)
{
    QDict *job = concluded_job(qts);
    bool ok = !qdict_haskey(job, "error");

    if (!ok) {
        g_assert_cmpstr(qdict_get_str(job, "error"), ==,
                        "Input/output error");
    }
    qobject_unref(job);
    qtest_qmp_assert_success(qts, "{'execute': 'job-dismiss', 'arguments': "
                             "{'id': 'job'}}");
    return ok;
}

static void add_null_target(QTestState *qts, uint64_t size)
{
    qtest_qmp_assert_success(qts, "{'execute': 'blockdev-add', 'arguments': "
                             "{'driver': 'null-co', 'node-name': 'target', "
                             "'read-zeroes': false, 'size': %" PRIu64 "}}",
                             size);
}

static void remove_node(QTestState *qts, const char *name)
{
    qtest_qmp_assert_success(qts, "{'execute': 'blockdev-del', 'arguments': "
                             "{'node-name': %s}}", name);
}

/* All of the core */
static DumpFile *copy_core(QTestState *qts)
{
    g_autofree char *name = temporary_name("core");
    DumpFile *f;
    FILE *file = fopen(name, "w");

    g_assert_nonnull(file);
    g_assert_cmpint(ftruncate(fileno(file), core_size(qts)), ==, 0);
    fclose(file);
    qtest_qmp_assert_success(qts, "{'execute': 'blockdev-add', 'arguments': "
                             "{'driver': 'file', 'node-name': 'target', "
                             "'filename': %s}}", name);
    start_backup(qts, "core0");
    g_assert_true(finish_backup(qts));
    remove_node(qts, "target");
    f = dump_file_load(name);
    unlink(name);
    return f;
}

static DumpFile *dump(QTestState *qts)
{
    g_autofree char *name = temporary_name("dump");
    g_autofree char *protocol = g_strdup_printf("file:%s", name);
    DumpFile *f;

    qtest_qmp_assert_success(qts, "{'execute': 'dump-guest-memory', "
                             "'arguments': {'paging': false, "
                             "'protocol': %s}}", protocol);
    f = dump_file_load(name);
    unlink(name);
    return f;
}

/* The offset of @gpa in the file */
static uint64_t offset_of(const DumpFile *f, uint64_t gpa)
{
    DumpPage page = dump_file_page(f, gpa);

    g_assert_true(page.present);
    return page.data - f->data;
}

/* Can a part of the file be read?  Up to 1 MiB of it are one request. */
static void assert_reads(QTestState *qts, uint64_t offset, uint64_t len,
                         bool good)
{
    qtest_qmp_assert_success(qts, "{'execute': 'blockdev-add', 'arguments': "
                             "{'driver': 'raw', 'node-name': 'part', 'file': "
                             "'core0', 'offset': %" PRIu64 ", 'size': %" PRIu64
                             ", 'read-only': true}}", offset, len);
    add_null_target(qts, len);
    start_backup(qts, "part");
    g_assert_cmpint(finish_backup(qts), ==, good);
    remove_node(qts, "target");
    remove_node(qts, "part");
}

static QDict *query_memory_debug(QTestState *qts)
{
    return qtest_qmp_assert_success_ref(qts, "{'execute': "
                                        "'query-memory-debug'}");
}

static int64_t backend_reads(QTestState *qts)
{
    QDict *info = query_memory_debug(qts);
    int64_t reads = qdict_get_int(qdict_get_qdict(info, "counts"), "reads");

    qobject_unref(info);
    return reads;
}

static void assert_last_failure(QTestState *qts, uint64_t gpa,
                                const char *why)
{
    QDict *info = query_memory_debug(qts);
    QDict *failure = qdict_get_qdict(info, "last-failure");

    g_assert_cmphex(qdict_get_int(failure, "address"), ==, gpa);
    g_assert_nonnull(strstr(qdict_get_str(failure, "reason"), why));
    qobject_unref(info);
}

/* Headers first, then notes, then page-aligned RAM; nothing else */
static void assert_layout(const DumpFile *f)
{
    const Elf64_Ehdr *ehdr = dump_file_ehdr(f);
    const Elf64_Phdr *note = dump_file_phdr(f, 0);
    uint64_t end;

    g_assert_cmpint(ehdr->e_type, ==, ET_CORE);
    g_assert_cmpint(ehdr->e_ehsize, ==, sizeof(*ehdr));
    g_assert_cmpint(ehdr->e_phoff, ==, sizeof(*ehdr));
    g_assert_cmpint(ehdr->e_shnum, ==, 0);
    g_assert_cmpint(note->p_offset, ==, sizeof(*ehdr) +
                    ehdr->e_phnum * sizeof(Elf64_Phdr));
    end = note->p_offset + note->p_filesz;
    for (int i = 1; i < ehdr->e_phnum; i++) {
        const Elf64_Phdr *load = dump_file_phdr(f, i);

        g_assert_cmpint(load->p_type, ==, PT_LOAD);
        g_assert_cmpint(load->p_offset % DUMP_PAGE, ==, 0);
        g_assert_cmpint(load->p_offset, >=, end);
        end = load->p_offset + load->p_filesz;
    }
    g_assert_cmpint(end, <=, f->len);
}

static void assert_same_ram(const DumpFile *core, const DumpFile *dump)
{
    int loads = dump_file_ehdr(dump)->e_phnum;

    g_assert_cmpint(dump_file_ehdr(core)->e_phnum, ==, loads);
    for (int i = 1; i < loads; i++) {
        const Elf64_Phdr *a = dump_file_phdr(core, i);
        const Elf64_Phdr *b = dump_file_phdr(dump, i);

        g_assert_cmphex(a->p_paddr, ==, b->p_paddr);
        g_assert_cmphex(a->p_vaddr, ==, b->p_vaddr);
        g_assert_cmpmem(core->data + a->p_offset, a->p_filesz,
                        dump->data + b->p_offset, b->p_filesz);
    }
}

static void assert_pattern(const DumpFile *f)
{
    const char *data = f->data + offset_of(f, FILL);

    for (size_t i = 0; i < FILL_SIZE; i += 8) {
        g_assert_cmphex(ldq_le_p(data + i), ==, pattern(FILL + i));
    }
}

static void assert_notes(const DumpFile *f, const char *const *names)
{
    size_t size, at = 0;
    const char *notes = dump_file_notes(f, &size);

    for (; *names; names++) {
        g_assert_cmpint(at + 12, <, size);
        g_assert_cmpstr(notes + at + 12, ==, *names);
        at += 12 + ROUND_UP(ldl_le_p(notes + at), 4) +
              ROUND_UP(ldl_le_p(notes + at + 4), 4);
    }
    g_assert_cmpint(at, ==, size);
}

static const char *const register_notes[] = {
    "CORE", "CORE", "QEMU", "QEMU", NULL
};

static void test_equals_dump(const void *properties)
{
    QOSState *qs = start_stopped_guest(properties);
    g_autoptr(DumpFile) f = dump(qs->qts);
    g_autoptr(DumpFile) core = NULL;
    uint64_t raw;

    qtest_memread(qs->qts, FILL + 8, &raw, sizeof(raw));
    g_assert_cmpint(raw == pattern(FILL + 8), ==, !properties);
    add_core(qs->qts);
    core = copy_core(qs->qts);
    assert_layout(core);
    assert_same_ram(core, f);
    assert_pattern(core);
    assert_notes(core, register_notes);
    remove_node(qs->qts, "core0");
    qtest_shutdown(qs);
}

static void test_running(const void *properties)
{
    QOSState *qs = start_guest(properties);
    g_autoptr(DumpFile) core = NULL;

    add_core(qs->qts);
    core = copy_core(qs->qts);
    assert_layout(core);
    assert_pattern(core);
    qtest_shutdown(qs);
}

static void test_protected_registers(void)
{
    QOSState *qs = start_stopped_guest(PROTECTED);
    g_autoptr(DumpFile) core = NULL;

    add_core(qs->qts);
    core = copy_core(qs->qts);
    assert_notes(core, (const char *const []) { NULL });
    g_assert_cmpint(dump_file_ehdr(core)->e_machine, ==, EM_X86_64);
    assert_pattern(core);
    qtest_shutdown(qs);
}

static void announce_vmcoreinfo(QOSState *qs)
{
    g_autoptr(QFWCFG) fw_cfg = pc_fw_cfg_init(qs->qts);
    char note[12 + 12 + sizeof(TEXT)] = { };
    FWCfgVMCoreInfo info = {
        .guest_format = cpu_to_le16(FW_CFG_VMCOREINFO_FORMAT_ELF),
        .size = cpu_to_le32(sizeof(note)),
        .paddr = cpu_to_le64(NOTE_GPA),
    };

    stl_le_p(note, sizeof("VMCOREINFO"));
    stl_le_p(note + 4, strlen(TEXT));
    strcpy(note + 12, "VMCOREINFO");
    strcpy(note + 24, TEXT);
    qtest_memwrite(qs->qts, NOTE_GPA, note, sizeof(note));
    qfw_cfg_write_file(fw_cfg, qs, FW_CFG_VMCOREINFO_FILENAME, &info,
                       sizeof(info));
}

/* The guest announces VMCOREINFO while a core is open; then it is reset */
static void test_notes_of_each_stop(const void *properties)
{
    static const char *const all[] = {
        "CORE", "CORE", "QEMU", "QEMU", "VMCOREINFO", NULL
    };
    QOSState *qs = start_guest(properties);
    DumpFile *core;
    const char *notes;
    size_t size;

    add_core(qs->qts);
    announce_vmcoreinfo(qs);
    core = copy_core(qs->qts);
    assert_notes(core, register_notes);
    dump_file_free(core);

    qtest_qmp_assert_success(qs->qts, "{'execute': 'stop'}");
    core = copy_core(qs->qts);
    assert_layout(core);
    assert_notes(core, all);
    notes = dump_file_notes(core, &size);
    g_assert_nonnull(memmem(notes, size, TEXT, strlen(TEXT)));
    dump_file_free(core);

    qtest_qmp_assert_success(qs->qts, "{'execute': 'system_reset'}");
    qtest_qmp_eventwait(qs->qts, "RESET");
    core = copy_core(qs->qts);
    assert_notes(core, register_notes);
    dump_file_free(core);
    qtest_shutdown(qs);
}

typedef struct Unreadable {
    const char *properties;
    const char *why;
} Unreadable;

static const Unreadable fault = { FAULT, "property x-fault" };
static const Unreadable absent = { ABSENT, "property x-absent" };

/* Reading that page is an error, by itself or with others */
static void test_unreadable_page(const void *opaque)
{
    const Unreadable *unreadable = opaque;
    QOSState *good = start_stopped_guest(CIPHER);
    QOSState *qs = start_stopped_guest(unreadable->properties);
    g_autoptr(DumpFile) layout = NULL;
    uint64_t offset;

    add_core(good->qts);
    layout = copy_core(good->qts);
    offset = offset_of(layout, MISSING);
    assert_reads(good->qts, offset, DUMP_PAGE, true);
    qtest_shutdown(good);

    add_core(qs->qts);
    assert_reads(qs->qts, offset, DUMP_PAGE, false);
    assert_last_failure(qs->qts, MISSING, unreadable->why);
    assert_reads(qs->qts, offset + 512, 512, false);
    assert_reads(qs->qts, offset - DUMP_PAGE, 2 * DUMP_PAGE, false);
    assert_reads(qs->qts, offset - MiB, 2 * MiB, false);
    assert_reads(qs->qts, offset - DUMP_PAGE, DUMP_PAGE, true);
    assert_reads(qs->qts, offset + DUMP_PAGE, MiB, true);
    assert_reads(qs->qts, 0, DUMP_PAGE, true);
    qtest_shutdown(qs);
}

static void test_backend_reads(void)
{
    QOSState *qs = start_stopped_guest(CIPHER);
    g_autoptr(DumpFile) core = NULL;
    uint64_t offset;
    int64_t reads;

    add_core(qs->qts);
    core = copy_core(qs->qts);
    offset = offset_of(core, FILL);

    /* A run of 1 MiB is one call */
    reads = backend_reads(qs->qts);
    assert_reads(qs->qts, offset, 4 * MiB, true);
    g_assert_cmpint(backend_reads(qs->qts) - reads, ==, 4);

    /* All pieces of a page together are one call */
    reads = backend_reads(qs->qts);
    for (int i = 0; i < 8; i++) {
        assert_reads(qs->qts, offset + i * 512, 512, true);
    }
    g_assert_cmpint(backend_reads(qs->qts) - reads, ==, 1);

    /* Nobody has read memory, nothing is decrypted */
    remove_node(qs->qts, "core0");
    reads = backend_reads(qs->qts);
    add_core(qs->qts);
    assert_reads(qs->qts, 0, 16 * DUMP_PAGE, true);
    g_assert_cmpint(backend_reads(qs->qts), ==, reads);
    qtest_shutdown(qs);
}

static void test_policy_forbids(void)
{
    QOSState *qs = start_stopped_guest(FORBIDDEN);

    add_core_fails(qs->qts, ", 'read-only': true", "policy");
    g_assert_cmpint(backend_reads(qs->qts), ==, 0);
    qtest_shutdown(qs);
}

static void assert_core_nodes(QTestState *qts, const char *const *names)
{
    QDict *info = query_memory_debug(qts);
    g_autofree char *text = qtest_hmp(qts, "info memory-debug");
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "core-nodes"), entry) {
        QString *name = qobject_to(QString, qlist_entry_obj(entry));
        g_autofree char *line = g_strdup_printf("Core node:      %s\r\n",
                                                *names);

        g_assert_cmpstr(qstring_get_str(name), ==, *names++);
        g_assert_nonnull(strstr(text, line));
    }
    g_assert_null(*names);
    qobject_unref(info);
}

static void test_nodes_are_listed(void)
{
    QOSState *qs = start_stopped_guest(CIPHER);

    assert_core_nodes(qs->qts, (const char *const []) { NULL });
    add_core(qs->qts);
    add_null_target(qs->qts, MiB);
    assert_core_nodes(qs->qts, (const char *const []) { "core0", NULL });
    remove_node(qs->qts, "core0");
    assert_core_nodes(qs->qts, (const char *const []) { NULL });
    qtest_shutdown(qs);
}

/* Neither memory nor headers, once debuggers may not read any more */
static void test_access_is_withdrawn(void)
{
    QOSState *qs = start_guest(CIPHER);
    uint64_t size;

    qtest_qmp_assert_success(qs->qts, "{'execute': 'object-add', 'arguments': "
                             "{'qom-type': 'memory-debug', 'id': 'md0'}}");
    qtest_qmp_assert_success(qs->qts, "{'execute': 'qom-set', 'arguments': "
                             "{'path': '/machine', 'property': 'memory-debug',"
                             " 'value': 'md0'}}");
    add_core(qs->qts);
    size = core_size(qs->qts);
    qtest_qmp_assert_success(qs->qts, "{'execute': 'qom-set', 'arguments': "
                             "{'path': '/objects/md0', 'property': 'access', "
                             "'value': 'none'}}");
    assert_reads(qs->qts, 0, DUMP_PAGE, false);
    assert_reads(qs->qts, size - DUMP_PAGE, DUMP_PAGE, false);
    qtest_qmp_assert_success(qs->qts, "{'execute': 'cont'}");
    qtest_qmp_assert_success(qs->qts, "{'execute': 'stop'}");
    assert_reads(qs->qts, 0, DUMP_PAGE, false);
    qtest_shutdown(qs);
}

static void test_needs_read_only(void)
{
    QOSState *qs = start_stopped_guest(CIPHER);

    add_core_fails(qs->qts, "", "read-only=on");
    add_core_fails(qs->qts, ", 'read-only': true, 'size': 1", "size");
    add_core(qs->qts);
    remove_node(qs->qts, "core0");
    qtest_shutdown(qs);
}

static void plug_dimm(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{'execute': 'object-add', 'arguments': "
                             "{'qom-type': 'memory-backend-ram', 'id': 'm0', "
                             "'size': %" PRIu64 "}}", (uint64_t)DIMM_SIZE);
    qtest_qmp_assert_success(qts, "{'execute': 'device_add', 'arguments': "
                             "{'driver': 'pc-dimm', 'id': 'd0', 'memdev': "
                             "'m0', 'addr': %" PRIu64 "}}",
                             (uint64_t)DIMM_GPA);
}

static void unplug_dimm(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{'execute': 'device_del', 'arguments': "
                             "{'id': 'd0'}}");
    qtest_outl(qts, MHP_SELECT, 0);
    qtest_outb(qts, MHP_CONTROL, MHP_EJECT);
    qtest_qmp_eventwait(qts, "DEVICE_DELETED");
}

/* A core shows RAM that was there when it was opened, and is still there */
static void test_hotplug(const void *properties)
{
    QOSState *qs = start_guest(properties);
    uint64_t size;
    uint64_t dimm;

    add_core(qs->qts);
    size = core_size(qs->qts);
    plug_dimm(qs->qts);
    g_assert_cmpint(core_size(qs->qts), ==, size);

    remove_node(qs->qts, "core0");
    add_core(qs->qts);
    g_assert_cmpint(core_size(qs->qts), ==, size + DIMM_SIZE);
    dimm = size;        /* it is the last block */
    assert_reads(qs->qts, dimm + 5 * DUMP_PAGE, DUMP_PAGE, true);

    unplug_dimm(qs->qts);
    g_assert_cmpint(core_size(qs->qts), ==, size + DIMM_SIZE);
    assert_reads(qs->qts, dimm + 5 * DUMP_PAGE, DUMP_PAGE, false);
    assert_reads(qs->qts, dimm - DUMP_PAGE, DUMP_PAGE, true);
    assert_reads(qs->qts, dimm - DUMP_PAGE, 2 * DUMP_PAGE, false);

    remove_node(qs->qts, "core0");
    add_core(qs->qts);
    g_assert_cmpint(core_size(qs->qts), ==, size);
    qtest_shutdown(qs);
}

static QVirtioPCIDevice *start_virtio_mem(QOSState *qs)
{
    QPCIAddress address = { .devfn = QPCI_DEVFN(5, 0) };
    QVirtioPCIDevice *dev = virtio_pci_new(qs->pcibus, &address);

    qvirtio_pci_device_enable(dev);
    qvirtio_start_device(&dev->vdev);
    qvirtio_set_features(&dev->vdev, qvirtio_get_features(&dev->vdev) &
                         ((1ull << VIRTIO_F_VERSION_1) |
                          (1ull << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE)));
    return dev;
}

/* The guest plugs or unplugs a block */
static void virtio_mem_request(QOSState *qs, QVirtioPCIDevice *dev,
                               QVirtQueue *vq, uint16_t type, uint64_t gpa)
{
    struct virtio_mem_req req = {
        .type = cpu_to_le16(type),
        .u.plug = { .addr = cpu_to_le64(gpa), .nb_blocks = cpu_to_le16(1) },
    };
    struct virtio_mem_resp resp;
    uint64_t addr = guest_alloc(&qs->alloc, sizeof(req) + sizeof(resp));
    uint32_t head;

    qtest_memwrite(qs->qts, addr, &req, sizeof(req));
    head = qvirtqueue_add(qs->qts, vq, addr, sizeof(req), false, true);
    qvirtqueue_add(qs->qts, vq, addr + sizeof(req), sizeof(resp), true, false);
    qvirtqueue_kick(qs->qts, &dev->vdev, vq, head);
    qvirtio_wait_used_elem(qs->qts, &dev->vdev, vq, head, NULL,
                           60 * G_USEC_PER_SEC);
    qtest_memread(qs->qts, addr + sizeof(req), &resp, sizeof(resp));
    g_assert_cmpint(le16_to_cpu(resp.type), ==, VIRTIO_MEM_RESP_ACK);
    guest_free(&qs->alloc, addr);
}

static void set_requested_size(QTestState *qts, uint64_t size)
{
    qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': "
                             "{'path': '/machine/peripheral/vm0', 'property': "
                             "'requested-size', 'value': %" PRIu64 "}}", size);
}

/* What the guest has given back is an error, and so it stays in its core */
static void test_virtio_mem(void)
{
    QOSState *qs = qtest_pc_boot(
        "-machine pc -m 32M,maxmem=10G -nodefaults "
        "-object memory-backend-ram,id=m0,size=128M "
        "-device virtio-mem-pci,id=vm0,memdev=m0,addr=5,block-size=2M,"
        "requested-size=6M,memaddr=0x200000000");
    QTestState *qts = qs->qts;
    QVirtioPCIDevice *dev = start_virtio_mem(qs);
    QVirtQueue *vq = qvirtqueue_setup(&dev->vdev, &qs->alloc, 0);
    uint64_t size, first, second;

    qvirtio_set_driver_ok(&dev->vdev);
    virtio_mem_request(qs, dev, vq, VIRTIO_MEM_REQ_PLUG, VMEM_GPA);
    virtio_mem_request(qs, dev, vq, VIRTIO_MEM_REQ_PLUG,
                       VMEM_GPA + VMEM_BLOCK);
    add_core(qts);
    size = core_size(qts);
    first = size - 2 * VMEM_BLOCK;      /* it is the last memory */
    second = first + VMEM_BLOCK;
    assert_reads(qts, first, 2 * VMEM_BLOCK, true);

    set_requested_size(qts, VMEM_BLOCK);
    virtio_mem_request(qs, dev, vq, VIRTIO_MEM_REQ_UNPLUG,
                       VMEM_GPA + VMEM_BLOCK);
    g_assert_cmpint(core_size(qts), ==, size);
    assert_reads(qts, first, VMEM_BLOCK, true);
    assert_reads(qts, second, DUMP_PAGE, false);
    assert_reads(qts, second + VMEM_BLOCK - DUMP_PAGE, DUMP_PAGE, false);
    assert_reads(qts, second - DUMP_PAGE, 2 * DUMP_PAGE, false);
    assert_reads(qts, second - DUMP_PAGE, DUMP_PAGE, true);

    /* It is back; what is plugged for the first time has no place */
    set_requested_size(qts, 3 * VMEM_BLOCK);
    virtio_mem_request(qs, dev, vq, VIRTIO_MEM_REQ_PLUG,
                       VMEM_GPA + VMEM_BLOCK);
    virtio_mem_request(qs, dev, vq, VIRTIO_MEM_REQ_PLUG,
                       VMEM_GPA + 2 * VMEM_BLOCK);
    assert_reads(qts, first, 2 * VMEM_BLOCK, true);
    g_assert_cmpint(core_size(qts), ==, size);
    remove_node(qts, "core0");
    add_core(qts);
    g_assert_cmpint(core_size(qts), ==, size + VMEM_BLOCK);

    qvirtqueue_cleanup(dev->vdev.bus, vq, &qs->alloc);
    qos_object_destroy(&dev->obj);
    qtest_shutdown(qs);
}

/* Slow reads of guest memory are drained, and nothing hangs */
static void test_changes_while_reading(void)
{
    QOSState *qs = start_guest(SLOW);

    add_core(qs->qts);
    qtest_qmp_assert_success(qs->qts, "{'execute': 'stop'}");
    add_null_target(qs->qts, core_size(qs->qts));
    start_backup(qs->qts, "core0");
    qtest_qmp_assert_success(qs->qts, "{'execute': 'cont'}");
    qtest_qmp_assert_success(qs->qts, "{'execute': 'system_reset'}");
    qtest_qmp_eventwait(qs->qts, "RESET");
    plug_dimm(qs->qts);
    qtest_qmp_assert_success(qs->qts, "{'execute': 'stop'}");
    unplug_dimm(qs->qts);
    g_assert_true(finish_backup(qs->qts));
    qtest_shutdown(qs);
}

static void test_quit_while_reading(void)
{
    QOSState *qs = start_stopped_guest(SLOW);

    add_core(qs->qts);
    add_null_target(qs->qts, core_size(qs->qts));
    start_backup(qs->qts, "core0");
    qtest_qmp_assert_success(qs->qts, "{'execute': 'quit'}");
    qtest_wait_qemu(qs->qts);
    qtest_shutdown(qs);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_data_func("/guest-core/equals-dump/plain", PLAIN,
                        test_equals_dump);
    qtest_add_data_func("/guest-core/equals-dump/cipher", CIPHER,
                        test_equals_dump);
    qtest_add_data_func("/guest-core/equals-dump/hidden", HIDDEN,
                        test_equals_dump);
    qtest_add_data_func("/guest-core/running/plain", PLAIN, test_running);
    qtest_add_data_func("/guest-core/running/cipher", CIPHER, test_running);
    qtest_add_func("/guest-core/protected-registers",
                   test_protected_registers);
    qtest_add_data_func("/guest-core/notes-of-each-stop/plain", PLAIN,
                        test_notes_of_each_stop);
    qtest_add_data_func("/guest-core/notes-of-each-stop/cipher", CIPHER,
                        test_notes_of_each_stop);
    qtest_add_data_func("/guest-core/unreadable-page/fault", &fault,
                        test_unreadable_page);
    qtest_add_data_func("/guest-core/unreadable-page/absent", &absent,
                        test_unreadable_page);
    qtest_add_func("/guest-core/backend-reads", test_backend_reads);
    qtest_add_func("/guest-core/policy-forbids", test_policy_forbids);
    qtest_add_func("/guest-core/access-is-withdrawn",
                   test_access_is_withdrawn);
    qtest_add_func("/guest-core/needs-read-only", test_needs_read_only);
    qtest_add_func("/guest-core/nodes-are-listed", test_nodes_are_listed);
    qtest_add_data_func("/guest-core/hotplug/plain", PLAIN, test_hotplug);
    qtest_add_data_func("/guest-core/hotplug/cipher", CIPHER, test_hotplug);
    qtest_add_func("/guest-core/virtio-mem", test_virtio_mem);
    qtest_add_func("/guest-core/changes-while-reading",
                   test_changes_while_reading);
    qtest_add_func("/guest-core/quit-while-reading",
                   test_quit_while_reading);
    return g_test_run();
}
