/*
 * The memory-debug object: what the operator says about debugging
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/boards.h"
#include "hw/qdev-core.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-memory-debug-object.h"
#include "qapi/visitor.h"
#include "qemu/ctype.h"
#include "qemu/cutils.h"
#include "qom/object_interfaces.h"
#include "system/memory-debug.h"
#include "system/memory-debug-object.h"

#define ROOT_VMCOREINFO "vmcoreinfo"

struct MemoryDebugObject {
    Object parent_obj;

    OnOffAuto enabled;
    bool readonly;
    MemoryDebugBackend backend;
    char *root;
    MemoryDebugPaging paging;
    MemoryDebugVcpuList *vcpus;

    bool applied;               /* from then on, only less is allowed */
};

OBJECT_DEFINE_SIMPLE_TYPE_WITH_INTERFACES(MemoryDebugObject,
                                          memory_debug_object,
                                          MEMORY_DEBUG_OBJECT, OBJECT,
                                          { TYPE_USER_CREATABLE }, { NULL })

static MemoryDebugObject *machine_object;

static const char *md_id(MemoryDebugObject *md)
{
    return object_get_canonical_path_component(OBJECT(md));
}

MemoryDebugObject *memory_debug_object(void)
{
    return machine_object;
}

MemoryDebugBackend memory_debug_object_backend(void)
{
    return machine_object ? machine_object->backend :
                            MEMORY_DEBUG_BACKEND_AUTO;
}

/*
 * Taking effect
 */

static void apply_limit(MemoryDebugObject *md)
{
    g_autofree char *why = NULL;

    if (md->enabled == ON_OFF_AUTO_OFF) {
        why = g_strdup_printf("property 'enabled' of memory-debug object '%s'"
                              " is off", md_id(md));
        memory_debug_limit(MEMORY_DEBUG_OFF, why);
    } else if (md->readonly) {
        why = g_strdup_printf("property 'readonly' of memory-debug object "
                              "'%s' is on", md_id(md));
        memory_debug_limit(MEMORY_DEBUG_READ_ONLY, why);
    }
}

/* enabled=on: can this guest be debugged? */
static bool check_possible(Error **errp)
{
    EncryptedGuest *eg = memory_debug_guest();
    const char *why;

    if (!eg && current_machine->cgs) {
        error_setg(errp, "debuggers cannot see the memory of a guest with '%s'"
                   ", only what the host sees",
                   object_get_typename(OBJECT(current_machine->cgs)));
        return false;
    }
    if (eg && !ENCRYPTED_GUEST_GET_CLASS(eg)->backend(eg, &why)) {
        error_setg(errp, "there is no way to read the private memory of this "
                   "guest: %s", why);
        return false;
    }
    return memory_debug_allowed(errp);
}

static bool check_backend(MemoryDebugObject *md, Error **errp)
{
    const char *wanted = MemoryDebugBackend_str(md->backend);
    EncryptedGuest *eg = memory_debug_guest();
    const char *why, *backend;

    if (md->backend == MEMORY_DEBUG_BACKEND_AUTO) {
        return true;
    }
    if (!eg) {
        error_setg(errp, "backend '%s' is for the private memory of an "
                   "encrypted guest, which this guest is not", wanted);
        return false;
    }
    backend = ENCRYPTED_GUEST_GET_CLASS(eg)->backend(eg, &why);
    if (g_strcmp0(backend, wanted)) {
        error_setg(errp, "backend '%s' is not available: this guest has %s%s%s"
                   " (%s)", wanted, backend ? "'" : "", backend ?: "none",
                   backend ? "'" : "", why);
        return false;
    }
    return true;
}

static bool apply(MemoryDebugObject *md, Error **errp)
{
    ERRP_GUARD();

    if (!check_backend(md, errp) ||
        (md->enabled == ON_OFF_AUTO_ON && !check_possible(errp))) {
        error_prepend(errp, "memory-debug object '%s': ",
                      md_id(md));
        return false;
    }
    apply_limit(md);
    md->applied = true;
    return true;
}

/* A limit that nobody applies must not go unnoticed */
static int check_is_machine_object(Object *obj, void *opaque)
{
    Error **errp = opaque;

    if (!object_dynamic_cast(obj, TYPE_MEMORY_DEBUG_OBJECT) ||
        obj == OBJECT(machine_object)) {
        return 0;
    }
    error_setg(errp, "memory-debug object '%s' has no effect: it takes "
               "-machine memory-debug=%s",
               object_get_canonical_path_component(obj),
               object_get_canonical_path_component(obj));
    return 1;
}

bool memory_debug_object_apply(Error **errp)
{
    if (object_child_foreach(object_get_objects_root(),
                             check_is_machine_object, errp)) {
        return false;
    }
    return !machine_object || apply(machine_object, errp);
}

/*
 * The machine's property
 */

static char *machine_get_memory_debug(Object *obj, Error **errp)
{
    return g_strdup(machine_object ? md_id(machine_object) : "");
}

static void machine_set_memory_debug(Object *obj, const char *value,
                                     Error **errp)
{
    Object *md = object_resolve_path_component(object_get_objects_root(),
                                               value);

    if (!object_dynamic_cast(md, TYPE_MEMORY_DEBUG_OBJECT)) {
        error_setg(errp, "there is no memory-debug object '%s'", value);
        return;
    }
    if (machine_object && md != OBJECT(machine_object)) {
        error_setg(errp, "the machine has the memory-debug object '%s', which"
                   " stays", md_id(machine_object));
        return;
    }
    if (machine_object ||
        (phase_check(PHASE_MACHINE_READY) &&
         !apply(MEMORY_DEBUG_OBJECT(md), errp))) {
        return;
    }
    machine_object = MEMORY_DEBUG_OBJECT(object_ref(md));
}

void memory_debug_object_add_machine_property(ObjectClass *oc)
{
    object_class_property_add_str(oc, "memory-debug",
                                  machine_get_memory_debug,
                                  machine_set_memory_debug);
    object_class_property_set_description(oc, "memory-debug",
        "ID of the memory-debug object that says what debuggers may do");
}

/*
 * Page tables
 */

static bool root_is_address(const char *root)
{
    return root && *root && !g_str_equal(root, ROOT_VMCOREINFO);
}

static bool parse_root(const char *root, MemoryDebugTables *tables,
                       Error **errp)
{
    uint64_t address;

    *tables = (MemoryDebugTables) {
        .from_vmcoreinfo = !g_strcmp0(root, ROOT_VMCOREINFO),
    };
    if (!root_is_address(root)) {
        return true;
    }
    if (!qemu_isdigit(*root) || qemu_strtou64(root, NULL, 0, &address)) {
        error_setg(errp, "property 'root' must be a guest-physical address or "
                   "'" ROOT_VMCOREINFO "', not '%s'", root);
        return false;
    }
    tables->root = address;
    return true;
}

/* An address without a mode is a guess, and guesses show wrong memory */
static bool check_paging(const char *root, MemoryDebugPaging paging,
                         Error **errp)
{
    if (root_is_address(root) && paging == MEMORY_DEBUG_PAGING_AUTO) {
        error_setg(errp, "property 'root' is an address, so property 'paging'"
                   " must say which paging mode it is for");
        return false;
    }
    return true;
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

static void no_root(Error **errp)
{
    if (machine_object) {
        error_setg(errp, "the registers of this guest are protected and its "
                   "page tables not known: set root and paging of "
                   "memory-debug object '%s', or root=" ROOT_VMCOREINFO " to "
                   "have them found in the guest", md_id(machine_object));
    } else {
        error_setg(errp, "the registers of this guest are protected and its "
                   "page tables not known: it takes a memory-debug object "
                   "with root and paging, or with root=" ROOT_VMCOREINFO " to "
                   "have them found in the guest");
    }
}

bool memory_debug_object_tables(int cpu_index, MemoryDebugTables *tables,
                                Error **errp)
{
    MemoryDebugObject *md = machine_object;
    MemoryDebugVcpu *vcpu = md ? find_vcpu(md, cpu_index) : NULL;
    const char *root = vcpu ? vcpu->root : md ? md->root : NULL;
    MemoryDebugPaging paging = vcpu ? vcpu->paging :
                               md ? md->paging : MEMORY_DEBUG_PAGING_AUTO;

    if (!root || !*root) {
        no_root(errp);
        return false;
    }
    if (!parse_root(root, tables, errp) ||
        !check_paging(root, paging, errp)) {
        return false;
    }
    tables->paging = paging;
    return true;
}

/*
 * Properties
 */

static int md_get_enabled(Object *obj, Error **errp)
{
    return MEMORY_DEBUG_OBJECT(obj)->enabled;
}

static void md_set_enabled(Object *obj, int value, Error **errp)
{
    MemoryDebugObject *md = MEMORY_DEBUG_OBJECT(obj);

    if (md->applied && value != md->enabled && value != ON_OFF_AUTO_OFF) {
        error_setg(errp, "property 'enabled' can only be changed to off once "
                   "the machine is there");
        return;
    }
    md->enabled = value;
    if (md->applied) {
        apply_limit(md);
    }
}

static bool md_get_readonly(Object *obj, Error **errp)
{
    return MEMORY_DEBUG_OBJECT(obj)->readonly;
}

static void md_set_readonly(Object *obj, bool value, Error **errp)
{
    MemoryDebugObject *md = MEMORY_DEBUG_OBJECT(obj);

    if (md->applied && md->readonly && !value) {
        error_setg(errp, "property 'readonly' can only be changed to on once "
                   "the machine is there");
        return;
    }
    md->readonly = value;
    if (md->applied) {
        apply_limit(md);
    }
}

static int md_get_backend(Object *obj, Error **errp)
{
    return MEMORY_DEBUG_OBJECT(obj)->backend;
}

static void md_set_backend(Object *obj, int value, Error **errp)
{
    MemoryDebugObject *md = MEMORY_DEBUG_OBJECT(obj);

    if (md->applied && value != md->backend) {
        error_setg(errp, "property 'backend' cannot be changed once the "
                   "machine is there");
        return;
    }
    md->backend = value;
}

static char *md_get_root(Object *obj, Error **errp)
{
    return g_strdup(MEMORY_DEBUG_OBJECT(obj)->root);
}

static void md_set_root(Object *obj, const char *value, Error **errp)
{
    MemoryDebugObject *md = MEMORY_DEBUG_OBJECT(obj);
    MemoryDebugTables tables;

    if (parse_root(value, &tables, errp)) {
        g_free(md->root);
        md->root = g_strdup(value);
    }
}

static int md_get_paging(Object *obj, Error **errp)
{
    return MEMORY_DEBUG_OBJECT(obj)->paging;
}

static void md_set_paging(Object *obj, int value, Error **errp)
{
    MEMORY_DEBUG_OBJECT(obj)->paging = value;
}

static bool check_vcpus(MemoryDebugVcpuList *list, Error **errp)
{
    MemoryDebugTables tables;

    for (; list; list = list->next) {
        if (!parse_root(list->value->root, &tables, errp) ||
            !check_paging(list->value->root, list->value->paging, errp)) {
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
    if (!check_vcpus(list, errp)) {
        qapi_free_MemoryDebugVcpuList(list);
        return;
    }
    qapi_free_MemoryDebugVcpuList(md->vcpus);
    md->vcpus = list;
}

static void md_complete(UserCreatable *uc, Error **errp)
{
    MemoryDebugObject *md = MEMORY_DEBUG_OBJECT(uc);

    check_paging(md->root, md->paging, errp);
}

static bool md_can_be_deleted(UserCreatable *uc)
{
    return MEMORY_DEBUG_OBJECT(uc) != machine_object;
}

static void add_access_properties(ObjectClass *oc)
{
    object_class_property_add_enum(oc, "enabled", "OnOffAuto",
                                   &OnOffAuto_lookup,
                                   md_get_enabled,
                                   md_set_enabled);
    object_class_property_set_description(oc, "enabled",
        "on: do not start where guest memory cannot be debugged; "
        "off: forbid it; auto (default): what the guest's policy allows");
    object_class_property_add_bool(oc, "readonly", md_get_readonly,
                                   md_set_readonly);
    object_class_property_set_description(oc, "readonly",
        "debuggers cannot write to guest memory (default: off)");
    object_class_property_add_enum(oc, "backend", "MemoryDebugBackend",
                                   &MemoryDebugBackend_lookup,
                                   md_get_backend,
                                   md_set_backend);
    object_class_property_set_description(oc, "backend",
        "how to read private memory: auto (default), unified, sev-dbg, "
        "simulated");
}

static void add_table_properties(ObjectClass *oc)
{
    object_class_property_add_str(oc, "root", md_get_root,
                                  md_set_root);
    object_class_property_set_description(oc, "root",
        "page tables of a guest with protected registers: guest-physical "
        "address of the root, or 'vmcoreinfo' to find Linux's");
    object_class_property_add_enum(oc, "paging", "MemoryDebugPaging",
                                   &MemoryDebugPaging_lookup,
                                   md_get_paging,
                                   md_set_paging);
    object_class_property_set_description(oc, "paging",
        "paging mode for root: pae, 4level, 5level; auto (default) with "
        "root=vmcoreinfo only");
    object_class_property_add(oc, "vcpus", "MemoryDebugVcpu list",
                              md_get_vcpus, md_set_vcpus,
                              NULL, NULL);
    object_class_property_set_description(oc, "vcpus",
        "cpu-index, root and paging of single vCPUs");
}

static void memory_debug_object_class_init(ObjectClass *oc, const void *data)
{
    UserCreatableClass *ucc = USER_CREATABLE_CLASS(oc);

    ucc->complete = md_complete;
    ucc->can_be_deleted = md_can_be_deleted;
    add_access_properties(oc);
    add_table_properties(oc);
}

static void memory_debug_object_init(Object *obj)
{
}

static void memory_debug_object_finalize(Object *obj)
{
    MemoryDebugObject *md = MEMORY_DEBUG_OBJECT(obj);

    g_free(md->root);
    qapi_free_MemoryDebugVcpuList(md->vcpus);
}
