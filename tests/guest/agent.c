/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first and only program of the test guest: it tells a test on the other
 * end of the serial line the truth about this guest, so that the test can
 * compare it with what a debugger sees from outside.
 *
 * A command is one line; `help` lists them.  An answer is any number of lines
 * "@fact NAME VALUE..." and then "@done COMMAND" or "@fail COMMAND: REASON".
 * Addresses are hexadecimal with 0x, byte strings are hexadecimal digits.
 * Lines of another form come from the kernel.
 *
 * Where the facts come from: /proc/kallsyms (virtual addresses of the kernel),
 * /proc/kcore (its memory, and which physical address belongs to it; ELF core
 * format), /proc/self/pagemap (physical addresses of this program; format in
 * the kernel's Documentation/admin-guide/mm/pagemap.rst).
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define NOTE_LEN 128
#define KERNEL_READ_MAX 4096
#define NO_PADDR UINT64_MAX

/*
 * What the user process shows to the debugger.  It lies on two pages that are
 * neighbours in virtual memory and, as a rule, not in physical memory; note
 * starts before the border between them and ends behind it.
 */
typedef struct Target {
    uint64_t counter;
    uint64_t check_rounds;
    uint64_t check_errors;
    char pad[PAGE - 3 * sizeof(uint64_t) - NOTE_LEN / 2];
    char note[NOTE_LEN];
} Target;

static volatile Target *target;
static pid_t target_pid, check_pid;

static void fact(const char *name, const char *fmt, ...)
{
    va_list ap;

    printf("@fact %s ", name);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

static bool fail(const char *command, const char *fmt, ...)
{
    va_list ap;

    printf("@fail %s: ", command);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    return false;
}

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

/* The physical address behind @va of this process, 0 if there is none. */
static uint64_t user_to_phys(const volatile void *va)
{
    uint64_t entry = 0;
    uint64_t offset = (uintptr_t)va / PAGE * sizeof(entry);
    int fd = open("/proc/self/pagemap", O_RDONLY);

    if (fd < 0 || pread(fd, &entry, sizeof(entry), offset) != sizeof(entry)) {
        entry = 0;
    }
    if (fd >= 0) {
        close(fd);
    }
    if (!(entry >> 63)) {
        return 0;
    }
    return (entry & ((1ULL << 55) - 1)) * PAGE + (uintptr_t)va % PAGE;
}

static void fact_user(const char *name, const volatile void *va)
{
    fact(name, "0x%" PRIxPTR " 0x%" PRIx64, (uintptr_t)va, user_to_phys(va));
}

/* The kernel's memory as /proc/kcore describes it. */
typedef struct Kcore {
    int fd;
    int count;
    Elf64_Phdr phdr[64];
} Kcore;

static bool kcore_open(Kcore *k)
{
    Elf64_Ehdr ehdr;
    ssize_t size;

    k->fd = open("/proc/kcore", O_RDONLY);
    if (k->fd < 0) {
        return false;
    }
    if (pread(k->fd, &ehdr, sizeof(ehdr), 0) != sizeof(ehdr) ||
        ehdr.e_phnum > sizeof(k->phdr) / sizeof(k->phdr[0])) {
        close(k->fd);
        return false;
    }
    k->count = ehdr.e_phnum;
    size = k->count * sizeof(k->phdr[0]);
    if (pread(k->fd, k->phdr, size, ehdr.e_phoff) != size) {
        close(k->fd);
        return false;
    }
    return true;
}

static const Elf64_Phdr *kcore_find(const Kcore *k, bool phys, uint64_t addr)
{
    for (int i = 0; i < k->count; i++) {
        const Elf64_Phdr *p = &k->phdr[i];
        uint64_t start = phys ? p->p_paddr : p->p_vaddr;

        if (p->p_type == PT_LOAD && p->p_paddr != NO_PADDR &&
            addr >= start && addr - start < p->p_memsz) {
            return p;
        }
    }
    return NULL;
}

static uint64_t kernel_to_phys(uint64_t va)
{
    Kcore k;
    const Elf64_Phdr *p;

    if (!kcore_open(&k)) {
        return NO_PADDR;
    }
    close(k.fd);
    p = kcore_find(&k, false, va);
    return p ? p->p_paddr + (va - p->p_vaddr) : NO_PADDR;
}

static bool cmd_read(const char *name, bool phys, char *args)
{
    unsigned char buf[KERNEL_READ_MAX];
    const Elf64_Phdr *p;
    Kcore k;
    char *end;
    uint64_t addr = strtoull(args, &end, 16);
    uint64_t len = strtoull(end, NULL, 0);
    ssize_t got;

    if (!len || len > sizeof(buf)) {
        return fail(name, "wants ADDRESS LENGTH, length 1 to %d", PAGE);
    }
    if (!kcore_open(&k)) {
        return fail(name, "/proc/kcore: %s", strerror(errno));
    }
    p = kcore_find(&k, phys, addr);
    got = p ? pread(k.fd, buf, len, p->p_offset + addr -
                                    (phys ? p->p_paddr : p->p_vaddr)) : 0;
    close(k.fd);
    if (got != (ssize_t)len) {
        return fail(name, "no memory of the kernel at 0x%" PRIx64, addr);
    }
    printf("@fact bytes ");
    for (uint64_t i = 0; i < len; i++) {
        printf("%02x", buf[i]);
    }
    putchar('\n');
    return true;
}

static bool cmd_kread(char *args)
{
    return cmd_read("kread", false, args);
}

static bool cmd_pread(char *args)
{
    return cmd_read("pread", true, args);
}

static bool is_wanted(char *names, const char *symbol)
{
    size_t len = strlen(symbol);

    for (char *p = names; (p = strstr(p, symbol)); p += len) {
        if ((p == names || p[-1] == ' ') && (!p[len] || p[len] == ' ')) {
            return true;
        }
    }
    return false;
}

static bool cmd_sym(char *names)
{
    FILE *f = fopen("/proc/kallsyms", "r");
    char line[512], symbol[256], type;
    uint64_t va;

    if (!f) {
        return fail("sym", "/proc/kallsyms: %s", strerror(errno));
    }
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%" SCNx64 " %c %255s", &va, &type, symbol) == 3 &&
            is_wanted(names, symbol)) {
            fact(symbol, "0x%" PRIx64 " 0x%" PRIx64 " %c", va,
                 kernel_to_phys(va), type);
        }
    }
    fclose(f);
    return true;
}

static bool cmd_cat(char *path)
{
    FILE *f = fopen(path, "r");
    char line[1024];

    if (!f) {
        return fail("cat", "%s: %s", path, strerror(errno));
    }
    while (fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        fact("line", "%s", line);
    }
    fclose(f);
    return true;
}

static bool cmd_write(char *args)
{
    char *text = strchr(args, ' ');

    if (!text) {
        return fail("write", "wants PATH TEXT");
    }
    *text++ = '\0';
    return write_file(args, text) ||
           fail("write", "%s: %s", args, strerror(errno));
}

static void pin_to_first_cpu(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(0, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

/* A breakpoint in a user process goes here. */
static __attribute__((noinline)) void target_tick(void)
{
    target->counter++;
}

static bool stop_child(const char *name, pid_t *pid)
{
    if (!*pid) {
        return fail(name, "not started");
    }
    kill(*pid, SIGKILL);
    waitpid(*pid, NULL, 0);
    *pid = 0;
    return true;
}

/*
 * A process that never enters the kernel by itself: a VM stopped while it
 * runs has its page tables loaded, with both pages of the target.
 */
static bool target_start(void)
{
    uint64_t count;

    if (target_pid) {
        return fail("target", "already started");
    }
    count = target->counter;
    target_pid = fork();
    if (target_pid == 0) {
        pin_to_first_cpu();
        (void)target->note[0];
        (void)target->note[NOTE_LEN - 1];
        for (;;) {
            target_tick();
        }
    }
    while (target->counter == count) {
        usleep(1000);
    }
    fact("pid", "%d", target_pid);
    return true;
}

static bool cmd_target(char *args)
{
    if (!strcmp(args, "start")) {
        return target_start();
    }
    if (!strcmp(args, "stop")) {
        return stop_child("target", &target_pid);
    }
    if (*args) {
        return fail("target", "wants start, stop or nothing");
    }
    fact("counter", "%" PRIu64, target->counter);
    fact("note", "%.*s", NOTE_LEN, (char *)target->note);
    return true;
}

/* What a pseudo-random memory of the given generation holds at word @i. */
static inline uint64_t pattern(uint64_t generation, uint64_t i)
{
    uint64_t x = (generation << 40) + i + 1;

    x ^= x >> 31;
    x *= 0x9e3779b97f4a7c15ULL;
    x ^= x >> 29;
    return x;
}

/* Sum of a file that lies in the kernel's page cache (the initramfs). */
static uint64_t file_sum(const char *path)
{
    uint64_t buf[PAGE / 8], sum = 0;
    int fd = open(path, O_RDONLY);
    ssize_t got;

    if (fd < 0) {
        return 0;
    }
    while ((got = read(fd, buf, sizeof(buf))) == sizeof(buf)) {
        for (int i = 0; i < PAGE / 8; i++) {
            sum = (sum ^ buf[i]) * 0x100000001b3ULL;
        }
    }
    close(fd);
    return sum;
}

/*
 * Checks all of the @words words, each against what was written in the round
 * before, and writes this round's: one wrong byte, one lost write or one byte
 * from another time is an error.
 */
static uint64_t check_round(volatile uint64_t *mem, uint64_t words,
                            uint64_t round)
{
    uint64_t errors = 0;

    for (uint64_t i = 0; i < words; i++) {
        errors += mem[i] != pattern(round, i);
        mem[i] = pattern(round + 1, i);
    }
    return errors;
}

static void check_loop(volatile uint64_t *mem, uint64_t words)
{
    uint64_t sum = file_sum("/bin/busybox");

    for (uint64_t i = 0; i < words; i++) {
        mem[i] = pattern(0, i);
    }
    for (uint64_t round = 0; ; round++) {
        target->check_errors += check_round(mem, words, round);
        target->check_errors += file_sum("/bin/busybox") != sum || !sum;
        target->check_rounds = round + 1;
    }
}

static bool check_start(uint64_t mib)
{
    uint64_t size = mib << 20;
    void *mem;

    if (check_pid) {
        return fail("check", "already started");
    }
    mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (mem == MAP_FAILED) {
        return fail("check", "%" PRIu64 " MiB: %s", mib, strerror(errno));
    }
    fact_user("memory", mem);
    target->check_rounds = target->check_errors = 0;
    check_pid = fork();
    if (check_pid == 0) {
        check_loop(mem, size / sizeof(uint64_t));
    }
    munmap(mem, size);
    return true;
}

static bool cmd_check(char *args)
{
    if (!strncmp(args, "start ", 6)) {
        return check_start(strtoull(args + 6, NULL, 0));
    }
    if (!strcmp(args, "stop")) {
        return stop_child("check", &check_pid);
    }
    if (*args) {
        return fail("check", "wants start MIB, stop or nothing");
    }
    if (!check_pid || waitpid(check_pid, NULL, WNOHANG)) {
        check_pid = 0;
        return fail("check", "not running");
    }
    fact("rounds", "%" PRIu64, target->check_rounds);
    fact("errors", "%" PRIu64, target->check_errors);
    return true;
}

static void facts_iomem(void)
{
    FILE *f = fopen("/proc/iomem", "r");
    char line[256], name[128];
    uint64_t start, end;

    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " : %127[^\n]", &start, &end,
                   name) == 3 &&
            (!strcmp(name, "System RAM") || !strncmp(name, "Kernel ", 7))) {
            fact("iomem", "0x%" PRIx64 " 0x%" PRIx64 " %s", start, end, name);
        }
    }
    if (f) {
        fclose(f);
    }
}

static void fact_file(const char *name, const char *path)
{
    char line[1024] = "";
    FILE *f = fopen(path, "r");

    if (f && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        fact(name, "%s", line);
    }
    if (f) {
        fclose(f);
    }
}

static bool cmd_facts(char *args)
{
    fact_file("version", "/proc/version");
    fact_file("cmdline", "/proc/cmdline");
    fact_file("vmcoreinfo", "/sys/kernel/vmcoreinfo");
    facts_iomem();
    fact("pid", "%d", target_pid ? target_pid : getpid());
    fact_user("counter", &target->counter);
    fact_user("note", target->note);
    fact_user("note_page_2", (char *)target + PAGE);
    fact("note_text", "%.*s", NOTE_LEN, (char *)target->note);
    fact_user("tick", (void *)target_tick);
    return true;
}

/* A system call that nothing else makes: for a breakpoint in the kernel. */
static bool cmd_call(char *name)
{
    if (sethostname(name, strlen(name))) {
        return fail("call", "sethostname: %s", strerror(errno));
    }
    fact_file("hostname", "/proc/sys/kernel/hostname");
    return true;
}

static bool cmd_panic(char *args)
{
    write_file("/proc/sysrq-trigger", "c");
    return fail("panic", "still here");
}

static bool cmd_reboot(char *args)
{
    reboot(RB_AUTOBOOT);
    return fail("reboot", "%s", strerror(errno));
}

static bool cmd_poweroff(char *args)
{
    reboot(RB_POWER_OFF);
    return fail("poweroff", "%s", strerror(errno));
}

/*
 * Reads and writes each of @mib MiB in every round, in an order in which
 * neither the next word nor the next page is the neighbour of the last one.
 */
static bool cmd_work(char *args)
{
    char *end;
    uint64_t words = strtoull(args, &end, 0) * ((1 << 20) / sizeof(uint64_t));
    uint64_t rounds = strtoull(end, NULL, 0), sum = 0;
    uint64_t *mem = mmap(NULL, words * sizeof(*mem), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (!words || mem == MAP_FAILED) {
        return fail("work", "wants MIB ROUNDS, and that much memory");
    }
    for (uint64_t i = 0, at = 0; i < words * rounds; i++) {
        sum += mem[at];
        mem[at] = sum + i;
        at = (at + 1021 * PAGE / sizeof(*mem) + 1) % words;
    }
    munmap(mem, words * sizeof(*mem));
    fact("sum", "0x%" PRIx64, sum);
    return true;
}

/* In place of a program of its own for everything */
static bool cmd_run(char *line)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        execl("/bin/busybox", "sh", "-c", line, NULL);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    return !status || fail("run", "\"%s\" ended with %#x", line, status);
}

/* For a person at the console. */
static bool cmd_sh(char *args)
{
    pid_t pid = fork();

    if (pid == 0) {
        setsid();
        ioctl(0, TIOCSCTTY, 1);
        execl("/bin/busybox", "sh", NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    return true;
}

static bool cmd_help(char *args);

static const struct {
    const char *name;
    bool (*run)(char *args);
    const char *help;
} commands[] = {
    { "help", cmd_help, "this list" },
    { "facts", cmd_facts, "what this guest knows about itself" },
    { "sym", cmd_sym, "NAME...: a kernel symbol's virtual and physical "
                      "address" },
    { "kread", cmd_kread, "ADDRESS LENGTH: memory of the kernel, virtual" },
    { "pread", cmd_pread, "ADDRESS LENGTH: the same, physical" },
    { "cat", cmd_cat, "PATH: the lines of a file" },
    { "write", cmd_write, "PATH TEXT: write a file, such as one of /proc/sys" },
    { "call", cmd_call, "NAME: make the system call sethostname" },
    { "target", cmd_target, "[start|stop]: a user process that counts" },
    { "check", cmd_check, "[start MIB|stop]: a process that checks and "
                          "rewrites its memory" },
    { "work", cmd_work, "MIB ROUNDS: read and write that much memory" },
    { "run", cmd_run, "LINE: what busybox's shell does with it" },
    { "panic", cmd_panic, "crash the kernel" },
    { "reboot", cmd_reboot, "at once" },
    { "poweroff", cmd_poweroff, "at once" },
    { "sh", cmd_sh, "a shell" },
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static bool cmd_help(char *args)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        fact("command", "%s %s", commands[i].name, commands[i].help);
    }
    return true;
}

static void run(char *line)
{
    size_t len = strcspn(line, " ");
    char *args = line + len + (line[len] == ' ');

    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strlen(commands[i].name) == len &&
            !strncmp(line, commands[i].name, len)) {
            if (commands[i].run(args)) {
                printf("@done %s\n", commands[i].name);
            }
            return;
        }
    }
    fail("command", "unknown: %s", line);
}

static void load_module(const char *path)
{
    int fd = open(path, O_RDONLY);

    if (fd < 0 || syscall(SYS_finit_module, fd, "", 0)) {
        printf("agent: %s: %s\n", path, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}

/* A text that no other guest and no earlier run of this one has. */
static void fill_note(void)
{
    unsigned char random[16];
    char *p = (char *)target->note;

    if (getrandom(random, sizeof(random), GRND_INSECURE) != sizeof(random)) {
        memset(random, 0, sizeof(random));
    }
    p += sprintf(p, "A user process of this guest keeps a secret here, on "
                    "two pages: ");
    for (size_t i = 0; i < sizeof(random); i++) {
        p += sprintf(p, "%02x", random[i]);
    }
}

static bool make_target(void)
{
    char *mem = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (mem == MAP_FAILED) {
        return false;
    }
    /* not in order, so that the first two are not neighbours */
    mem[0] = mem[2 * PAGE] = mem[PAGE] = 0;
    target = (Target *)mem;
    fill_note();
    return true;
}

static void set_up(void)
{
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/dev", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    close(0);
    open("/dev/ttyS0", O_RDWR);
    dup2(0, 1);
    dup2(0, 2);
    setvbuf(stdout, NULL, _IOLBF, 0);
    write_file("/proc/sys/kernel/kptr_restrict", "0");
    load_module("/lib/qemu_fw_cfg.ko");
}

int main(void)
{
    char line[1024];

    set_up();
    if (!make_target()) {
        fail("ready", "no memory");
    }
    printf("@ready (type help)\n");
    for (;;) {
        if (!fgets(line, sizeof(line), stdin)) {
            clearerr(stdin);
            continue;
        }
        line[strcspn(line, "\r\n")] = '\0';
        if (*line) {
            run(line);
        }
    }
}
