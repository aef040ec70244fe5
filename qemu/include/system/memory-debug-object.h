/*
 * The memory-debug object: what the operator says about debugging
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_MEMORY_DEBUG_OBJECT_H
#define SYSTEM_MEMORY_DEBUG_OBJECT_H

#include "exec/hwaddr.h"
#include "qapi/qapi-types-memory-debug-object.h"
#include "qom/object.h"

/*
 * -object memory-debug,id=ID with -machine memory-debug=ID.  Its properties
 * are documented in qapi/memory-debug-object.json.  The object only takes
 * away: what it forbids goes to memory_debug_limit(), where all accesses ask.
 *
 * All functions are called with the BQL held.
 */
#define TYPE_MEMORY_DEBUG_OBJECT "memory-debug"
OBJECT_DECLARE_SIMPLE_TYPE(MemoryDebugObject, MEMORY_DEBUG_OBJECT)

/* The machine's object, or NULL.  Once set, it stays. */
MemoryDebugObject *memory_debug_object(void);

/**
 * memory_debug_object_add_machine_property: "memory-debug" of machines
 *
 * @oc: TYPE_MACHINE's class
 */
void memory_debug_object_add_machine_property(ObjectClass *oc);

/**
 * memory_debug_object_apply: let the machine's object take effect
 *
 * Called once, when the machine is complete, so that an encrypted guest
 * knows its policy and its backend, and before the first debugger.  Returns
 * false with @errp set when the object's properties ask for what this guest
 * does not have.  Nothing is wrong with no object.
 */
bool memory_debug_object_apply(Error **errp);

/**
 * memory_debug_object_backend: the backend that the operator wants
 *
 * An EncryptedGuest with several backends takes this one, if it is not
 * MEMORY_DEBUG_BACKEND_AUTO.  It need not fail when it cannot:
 * memory_debug_object_apply() compares.  Valid from the accelerator's
 * initialisation on.
 */
MemoryDebugBackend memory_debug_object_backend(void);

/**
 * MemoryDebugTables: what the operator says of a vCPU's page tables
 *
 * @from_vmcoreinfo: the root is to be found in the guest's VMCOREINFO
 * @root: its guest-physical address, where not @from_vmcoreinfo
 * @paging: MEMORY_DEBUG_PAGING_AUTO only with @from_vmcoreinfo
 */
typedef struct MemoryDebugTables {
    bool from_vmcoreinfo;
    hwaddr root;
    MemoryDebugPaging paging;
} MemoryDebugTables;

/**
 * memory_debug_object_tables: the page tables of a vCPU whose registers are
 * protected
 *
 * Returns false with @errp set when the operator has not said enough; the
 * error names the ways in which that can be done.
 */
bool memory_debug_object_tables(int cpu_index, MemoryDebugTables *tables,
                                Error **errp);

#endif
