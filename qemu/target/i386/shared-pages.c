/*
 * Pages that x86 page tables call shared
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "cpu.h"
#include "qapi/error.h"
#include "system/runstate.h"
#include "page-walk.h"
#include "shared-pages.h"

typedef struct SharedVisit {
    EncryptedGuestFoundFunc *found;
    void *opaque;
} SharedVisit;

static bool shared_go_on(void *opaque, Error **errp)
{
    if (qemu_shutdown_requested_get() != SHUTDOWN_CAUSE_NONE) {
        error_setg(errp, "QEMU has been asked to quit");
        return false;
    }
    return true;
}

static bool shared_leaf(const X86PageLeaf *leaf, void *opaque, Error **errp)
{
    SharedVisit *v = opaque;

    if (leaf->attrs.encryption == MEMTX_ENCRYPTION_SHARED) {
        v->found(leaf->gpa, leaf->size, v->opaque);
    }
    return true;
}

bool x86_find_shared_pages(EncryptedGuest *eg, EncryptedGuestFoundFunc *found,
                           void *opaque, Error **errp)
{
    static const X86PageVisitor visitor = {
        .max_tables = X86_PAGE_VISIT_TABLES,
        .once = true,
        .go_on = shared_go_on,
        .leaf = shared_leaf,
        .unreadable = x86_page_visit_needs_tables,
    };
    SharedVisit v = { found, opaque };
    CPUState *cs;

    CPU_FOREACH(cs) {
        X86PageTables tables;

        if (!x86_page_tables_init(cs, &tables, errp) ||
            !x86_page_visit(&tables, &visitor, &v, errp)) {
            return false;
        }
    }
    return true;
}
