/*
 * The memory-debug object: limits of, and hints for, debuggers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/error-report.h"
#include "hw/boards.h"
#include "hw/qdev-core.h"
#include "qapi/error.h"
#include "qapi/qapi-types-memory-debug.h"
#include "qapi/qapi-visit-qom.h"
#include "qapi/visitor.h"
#include "qom/object_interfaces.h"
#include "system/memory-debug.h"
#include "system/memory-debug-object.h"

struct MemoryDebugObject {
    Object parent_obj;

    MemoryDebugAccess access;   /* if attached: atomic, only gets stricter */
    bool required;
    uint64_t root;
    MemoryDebugPaging paging;
    MemoryDebugFindRoot find_root;
    MemoryDebugVcpuList *vcpus;
};

OBJECT_DEFINE_SIMPLE_TYPE_WITH_INTERFACES(MemoryDebugObject,
                                          memory_debug_object,
                                          MEMORY_DEBUG_OBJECT, OBJECT,
                                          { TYPE_USER_CREATABLE }, { NULL })

static MemoryDebugObject *machine_object(void)
{
    return current_machine ? qatomic_read(&current_machine->memory_debug) :
                             NULL;
}

static const char *md_id(MemoryDebugObject *md)
{
    return object_get_canonical_path_component(OBJECT(md));
}

/*
 * Queries by the debug layer
 */

bool memory_debug_object_check(bool is_write, Error **errp)
{
    MemoryDebugObject *md = machine_object();
    MemoryDebugAccess access;

    if (!md) {
        return true;
    }
    access = qatomic_read(&md->access);
    if (access == MEMORY_DEBUG_ACCESS_READ_WRITE ||
        (access == MEMORY_DEBUG_ACCESS_READ_ONLY && !is_write)) {
        return true;
    }
    error_setg(errp, "property 'access' of memory-debug object '%s' is '%s'",
               md_id(md), MemoryDebugAccess_str(access));
    return false;
}

static MemoryDebugVcpu *find_vcpu(MemoryDebugObject *md, int cpu_index)
{
    for (MemoryDebugVcpuList *l = md->vcpus; l; l = l->next) {
        if (l->value->cpu_index == cpu_index) {
            return l->value;
        }
    }
    return NULL;
}

/* A root without a mode is a guess, and guesses show wrong memory */
static bool check_paging(uint64_t root, MemoryDebugPaging paging,
                         Error **errp)
{
    if (root && paging == MEMORY_DEBUG_PAGING_AUTO) {
        error_setg(errp, "property 'root' requires a 'paging' mode other than "
                   "'auto'");
        return false;
    }
    return true;
}

bool memory_debug_object_tables(int cpu_index, MemoryDebugTables *tables,
                                Error **errp)
{
    MemoryDebugObject *md = machine_object();
    MemoryDebugVcpu *vcpu = md ? find_vcpu(md, cpu_index) : NULL;

    *tables = (MemoryDebugTables) {};
    if (vcpu) {
        tables->root = vcpu->root;
        tables->paging = vcpu->paging;
    } else if (md) {
        tables->root = md->root;
        tables->paging = md->paging;
        tables->from_vmcoreinfo = !md->root && md->find_root ==
                                  MEMORY_DEBUG_FIND_ROOT_VMCOREINFO;
    }
    if (!tables->root && !tables->from_vmcoreinfo) {
        g_autofree char *which = md ? g_strdup_printf("memory-debug object "
                                                      "'%s'", md_id(md)) :
                                      g_strdup("a memory-debug object");

        error_setg(errp, "the registers of this guest are protected, and its "
                   "page tables are not known: set root and paging, or "
                   "find-root=vmcoreinfo, on %s", which);
        return false;
    }
    return check_paging(tables->root, tables->paging, errp);
}

/*
 * The machine's object
 */

void memory_debug_object_check_link(const Object *obj, const char *name,
                                    Object *target, Error **errp)
{
    MemoryDebugObject *old = MACHINE(obj)->memory_debug;
    MemoryDebugObject *md = (MemoryDebugObject *)target;

    if (old && old != md) {
        error_setg(errp, "memory-debug object '%s' cannot be detached from the "
                   "machine", md_id(old));
    } else if (!old && md && phase_check(PHASE_MACHINE_INITIALIZED)) {
        if (!MACHINE(obj)->cgs) {
            error_setg(errp, "the memory-debug object is for confidential "
                       "guests only");
        } else if (md->required) {
            error_setg(errp, "property 'required' has no effect after the "
                       "machine has been created");
        }
    }
}

static int warn_if_unused(Object *obj, void *opaque)
{
    if (object_dynamic_cast(obj, TYPE_MEMORY_DEBUG_OBJECT) &&
        obj != OBJECT(machine_object())) {
        warn_report("memory-debug object '%s' has no effect without -machine "
                    "memory-debug=%s", md_id(MEMORY_DEBUG_OBJECT(obj)),
                    md_id(MEMORY_DEBUG_OBJECT(obj)));
    }
    return 0;
}

/* A limit that would have no effect must not go unnoticed */
static bool check_normal_guest(MemoryDebugObject *md, Error **errp)
{
    if (md->access != MEMORY_DEBUG_ACCESS_READ_WRITE) {
        error_setg(errp, "access=%s has no effect on a guest that is not "
                   "confidential", MemoryDebugAccess_str(md->access));
        return false;
    }
    warn_report("memory-debug object '%s' has no effect on a guest that is not"
                " confidential", md_id(md));
    return true;
}

/* Not memory_debug_check(): RAM that is still incoming is no obstacle here */
static bool check_confidential_guest(ConfidentialGuestSupport *cgs,
                                     Error **errp)
{
    g_autoptr(MemoryDebugGuestInfo) info = g_new0(MemoryDebugGuestInfo, 1);
    ConfidentialGuestSupportClass *cgsc =
        CONFIDENTIAL_GUEST_SUPPORT_GET_CLASS(cgs);

    if (!memory_debug_object_check(false, errp) ||
        !cgsc->debug_check(cgs, errp)) {
        return false;
    }
    cgsc->debug_describe(cgs, info);
    if (!info->has_backend) {
        error_setg(errp, "private memory cannot be read: %s",
                   info->backend_reason ?: "there is no backend");
        return false;
    }
    return true;
}

static bool check_required(MemoryDebugObject *md, Error **errp)
{
    ConfidentialGuestSupport *cgs = current_machine->cgs;

    if (!cgs) {
        return check_normal_guest(md, errp);
    }
    return !md->required || check_confidential_guest(cgs, errp);
}

bool memory_debug_object_start(Error **errp)
{
    ERRP_GUARD();
    MemoryDebugObject *md = machine_object();

    object_child_foreach(object_get_objects_root(), warn_if_unused, NULL);
    if (!md || check_required(md, errp)) {
        return true;
    }
    error_prepend(errp, "memory-debug object '%s': ", md_id(md));
    return false;
}

/*
 * Properties
 */

static int md_get_access(Object *obj, Error **errp)
{
    return MEMORY_DEBUG_OBJECT(obj)->access;
}

static void md_set_access(Object *obj, int value, Error **errp)
{
    MemoryDebugObject *md = MEMORY_DEBUG_OBJECT(obj);

    QEMU_BUILD_BUG_ON(MEMORY_DEBUG_ACCESS_NONE >
                      MEMORY_DEBUG_ACCESS_READ_ONLY ||
                      MEMORY_DEBUG_ACCESS_READ_ONLY >
                      MEMORY_DEBUG_ACCESS_READ_WRITE);
    if (md == machine_object()) {
        if (value > md->access) {
            error_setg(errp, "property 'access' can only be made stricter: the"
                       " machine uses the object");
            return;
        }
        if (value != md->access && phase_check(PHASE_MACHINE_READY) &&
            !current_machine->cgs) {
            error_setg(errp, "property 'access' has no effect on a guest that "
                       "is not confidential");
            return;
        }
    }
    qatomic_set(&md->access, value);
}

static bool md_get_required(Object *obj, Error **errp)
{
    return MEMORY_DEBUG_OBJECT(obj)->required;
}

static void md_set_required(Object *obj, bool value, Error **errp)
{
    MemoryDebugObject *md = MEMORY_DEBUG_OBJECT(obj);

    if (md == machine_object()) {
        error_setg(errp, "property 'required' cannot be changed: the machine "
                   "uses the object");
        return;
    }
    md->required = value;
}

/* What was read and translated by other page tables must not show up again */
static void tables_changed(Object *obj)
{
    if (MEMORY_DEBUG_OBJECT(obj) == machine_object()) {
        memory_debug_new_view();
        /* for threads that read now; who reads later is told what fails */
        memory_debug_find_mapped(NULL);
    }
}

static void md_get_root(Object *obj, Visitor *v, const char *name,
                        void *opaque, Error **errp)
{
    visit_type_uint64(v, name, &MEMORY_DEBUG_OBJECT(obj)->root, errp);
}

static void md_set_root(Object *obj, Visitor *v, const char *name,
                        void *opaque, Error **errp)
{
    if (visit_type_uint64(v, name, &MEMORY_DEBUG_OBJECT(obj)->root, errp)) {
        tables_changed(obj);
    }
}

static int md_get_paging(Object *obj, Error **errp)
{
    return MEMORY_DEBUG_OBJECT(obj)->paging;
}

static void md_set_paging(Object *obj, int value, Error **errp)
{
    MEMORY_DEBUG_OBJECT(obj)->paging = value;
    tables_changed(obj);
}

static int md_get_find_root(Object *obj, Error **errp)
{
    return MEMORY_DEBUG_OBJECT(obj)->find_root;
}

static void md_set_find_root(Object *obj, int value, Error **errp)
{
    MEMORY_DEBUG_OBJECT(obj)->find_root = value;
    tables_changed(obj);
}

static bool check_vcpus(MemoryDebugVcpuList *list, Error **errp)
{
    for (; list; list = list->next) {
        if (!check_paging(list->value->root, list->value->paging, errp)) {
            return false;
        }
    }
    return true;
}

static void md_get_vcpus(Object *obj, Visitor *v, const char *name,
                         void *opaque, Error **errp)
{
    visit_type_MemoryDebugVcpuList(v, name, &MEMORY_DEBUG_OBJECT(obj)->vcpus,
                                   errp);
}

static void md_set_vcpus(Object *obj, Visitor *v, const char *name,
                         void *opaque, Error **errp)
{
    MemoryDebugObject *md = MEMORY_DEBUG_OBJECT(obj);
    MemoryDebugVcpuList *list = NULL;

    if (!visit_type_MemoryDebugVcpuList(v, name, &list, errp)) {
        return;
    }
    if (check_vcpus(list, errp)) {
        qapi_free_MemoryDebugVcpuList(md->vcpus);
        md->vcpus = list;
        tables_changed(obj);
    } else {
        qapi_free_MemoryDebugVcpuList(list);
    }
}

static void md_complete(UserCreatable *uc, Error **errp)
{
    MemoryDebugObject *md = MEMORY_DEBUG_OBJECT(uc);

    check_paging(md->root, md->paging, errp);
}

static bool md_can_be_deleted(UserCreatable *uc)
{
    return MEMORY_DEBUG_OBJECT(uc) != machine_object();
}

static void memory_debug_object_class_init(ObjectClass *oc, const void *data)
{
    UserCreatableClass *ucc = USER_CREATABLE_CLASS(oc);

    ucc->complete = md_complete;
    ucc->can_be_deleted = md_can_be_deleted;
    object_class_property_add_enum(oc, "access", "MemoryDebugAccess",
                                   &MemoryDebugAccess_lookup,
                                   md_get_access, md_set_access);
    object_class_property_set_description(oc, "access",
        "what debuggers may do, if the guest's policy allows it, too");
    object_class_property_add_bool(oc, "required", md_get_required,
                                   md_set_required);
    object_class_property_set_description(oc, "required",
        "do not start if the guest's memory cannot be read");
    object_class_property_add(oc, "root", "uint64", md_get_root, md_set_root,
                              NULL, NULL);
    object_class_property_set_description(oc, "root",
        "root of the page tables of a guest with protected registers "
        "(guest-physical address)");
    object_class_property_add_enum(oc, "paging", "MemoryDebugPaging",
                                   &MemoryDebugPaging_lookup,
                                   md_get_paging, md_set_paging);
    object_class_property_set_description(oc, "paging",
        "paging mode of these page tables");
    object_class_property_add_enum(oc, "find-root", "MemoryDebugFindRoot",
                                   &MemoryDebugFindRoot_lookup,
                                   md_get_find_root, md_set_find_root);
    object_class_property_set_description(oc, "find-root",
        "where to find the root if it is not set");
    object_class_property_add(oc, "vcpus", "MemoryDebugVcpu list",
                              md_get_vcpus, md_set_vcpus, NULL, NULL);
    object_class_property_set_description(oc, "vcpus",
        "page tables of single vCPUs");
}

static void memory_debug_object_init(Object *obj)
{
    MEMORY_DEBUG_OBJECT(obj)->access = MEMORY_DEBUG_ACCESS_READ_WRITE;
}

static void memory_debug_object_finalize(Object *obj)
{
    qapi_free_MemoryDebugVcpuList(MEMORY_DEBUG_OBJECT(obj)->vcpus);
}
