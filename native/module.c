/* storehouse._native: what Python is too slow for. Each function has a twin in Python with the same tests; without this
 * module everything works, more slowly. It uses the limited API alone, so that one build serves every Python from 3.11. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "crc32c.h"
#include "highwayhash.h"

#include <string.h>

/* Bytes from which on others may run meanwhile: less is done before they had the interpreter's lock (some 20 us where the
 * portable implementation runs). */
enum { ALONE = 32 << 10 };

static const hh_implementation *implementations;
static const crc32c_implementation *crc32c_ways;
static crc32c_function *crc32c;

static PyObject *highwayhash256(PyObject *module, PyObject *args) {
    Py_buffer key, data;
    const char *name = NULL;
    const hh_implementation *chosen = implementations;
    uint8_t digest[HH_DIGEST_SIZE];
    PyObject *result = NULL;
    (void)module;

    if (!PyArg_ParseTuple(args, "y*y*|z:highwayhash256", &key, &data, &name)) return NULL;
    if (key.len != HH_KEY_SIZE) {
        PyErr_Format(PyExc_ValueError, "a key has %d bytes, not %zd", HH_KEY_SIZE, key.len);
        goto done;
    }
    if (name != NULL) {
        while (chosen->name != NULL && strcmp(chosen->name, name) != 0) chosen++;
        if (chosen->name == NULL) {
            PyErr_Format(PyExc_ValueError, "there is no implementation %.100s here", name);
            goto done;
        }
    }
    if (data.len < ALONE) {
        chosen->digest(key.buf, data.buf, (size_t)data.len, digest);
    } else {
        Py_BEGIN_ALLOW_THREADS
        chosen->digest(key.buf, data.buf, (size_t)data.len, digest);
        Py_END_ALLOW_THREADS
    }
    result = PyBytes_FromStringAndSize((const char *)digest, HH_DIGEST_SIZE);
done:
    PyBuffer_Release(&key);
    PyBuffer_Release(&data);
    return result;
}

/* -- the append log: docs/formats/appendlog.md ---------------------------------------------------------------- */

enum { LENGTH = 4, ENTRY = 32, CHECKED = 28 };

/* For tests: what the functions below compute. */
static PyObject *crc32c_of(PyObject *module, PyObject *args) {
    Py_buffer data;
    const char *name;
    unsigned int crc;
    const crc32c_implementation *chosen = crc32c_ways;
    PyObject *result = NULL;
    (void)module;

    if (!PyArg_ParseTuple(args, "y*Is:crc32c", &data, &crc, &name)) return NULL;
    while (chosen->name != NULL && strcmp(chosen->name, name) != 0) chosen++;
    if (chosen->name == NULL)
        PyErr_Format(PyExc_ValueError, "there is no implementation %.100s here", name);
    else
        result = PyLong_FromUnsignedLong(chosen->update(crc, data.buf, (size_t)data.len));
    PyBuffer_Release(&data);
    return result;
}

/* An entry's time has this bit if the next record belongs to the same append. */
static const uint64_t CONTINUES = 1ULL << 63;

/* From so many bytes of records on, other threads may run meanwhile. */
enum { RECORDS_ALONE = 64 << 10 };

static uint8_t *put32(uint8_t *to, uint32_t value) {
    for (int i = 0; i < 4; i++, value >>= 8) *to++ = (uint8_t)value;
    return to;
}

static uint8_t *put64(uint8_t *to, uint64_t value) {
    for (int i = 0; i < 8; i++, value >>= 8) *to++ = (uint8_t)value;
    return to;
}

static void put_entry(uint8_t *to, uint64_t offset, uint64_t time, const uint8_t *payload, uint32_t size, uint32_t hash) {
    uint8_t *at = put64(put64(to, offset), time);
    put32(put32(put32(at, size), crc32c(0, payload, size)), hash);
    put32(to + CHECKED, crc32c(0, to, CHECKED));
}

typedef struct {
    const uint8_t *data;
    uint32_t size, hash;
} record;

/* Records to encode. Their payloads are in a tuple or in a list of copies: nobody can change or free these while the
 * lock is released. */
typedef struct {
    PyObject *items, *copies;
    record *records;
    Py_ssize_t count, size; /* size: of the records, with their lengths */
} batch;

/* The caller closes it, also after a failure. */
static int open_batch(batch *to, PyObject *sequence) {
    memset(to, 0, sizeof *to);
    to->items = PySequence_Tuple(sequence);
    if (to->items == NULL) return -1;
    to->count = PyTuple_Size(to->items);
    if (to->count <= PY_SSIZE_T_MAX / ENTRY)
        to->records = PyMem_Malloc((size_t)(to->count ? to->count : 1) * sizeof *to->records);
    if (to->records != NULL) return 0;
    PyErr_NoMemory();
    return -1;
}

static void close_batch(batch *of) {
    PyMem_Free(of->records);
    Py_XDECREF(of->items);
    Py_XDECREF(of->copies);
}

/* Take the payload of an item. Anything but a bytes object is copied to one. */
static int read_payload(batch *to, Py_ssize_t i, PyObject *payload) {
    char *data;
    Py_ssize_t size;
    if (!PyBytes_Check(payload)) {
        int failed;
        if (to->copies == NULL && (to->copies = PyList_New(0)) == NULL) return -1;
        payload = PyBytes_FromObject(payload);
        failed = payload == NULL || PyList_Append(to->copies, payload) < 0;
        Py_XDECREF(payload);
        if (failed) return -1;
    }
    if (PyBytes_AsStringAndSize(payload, &data, &size) < 0) return -1;
    if ((uint64_t)size > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "a record cannot have %zd bytes", size);
        return -1;
    }
    if (size > PY_SSIZE_T_MAX - LENGTH - to->size) {
        PyErr_NoMemory();
        return -1;
    }
    to->records[i].data = (const uint8_t *)data;
    to->records[i].size = (uint32_t)size;
    to->size += LENGTH + size;
    return 0;
}

static PyObject *encode_appends(PyObject *module, PyObject *args) {
    PyObject *appends, *entries = NULL, *records = NULL, *result = NULL;
    unsigned long long offset, time;
    batch some;
    uint8_t *entry, *at;
    PyThreadState *released = NULL;
    (void)module;

    if (!PyArg_ParseTuple(args, "OKK:encode_appends", &appends, &offset, &time)) return NULL;
    if (open_batch(&some, appends) < 0) goto done;
    for (Py_ssize_t i = 0; i < some.count; i++) {
        PyObject *pair = PyTuple_GetItem(some.items, i);
        unsigned long hash;
        if (!PyTuple_Check(pair) || PyTuple_Size(pair) != 2) {
            PyErr_SetString(PyExc_TypeError, "an append is a payload and the hash of an identifier");
            goto done;
        }
        if (read_payload(&some, i, PyTuple_GetItem(pair, 0)) < 0) goto done;
        hash = PyLong_AsUnsignedLong(PyTuple_GetItem(pair, 1));
        if (hash == (unsigned long)-1 && PyErr_Occurred()) goto done;
        if (hash > UINT32_MAX) {
            PyErr_SetString(PyExc_OverflowError, "the hash of an identifier has 32 bits");
            goto done;
        }
        some.records[i].hash = (uint32_t)hash;
    }
    entries = PyBytes_FromStringAndSize(NULL, some.count * ENTRY);
    records = PyBytes_FromStringAndSize(NULL, some.size);
    if (entries == NULL || records == NULL) goto done;
    entry = (uint8_t *)PyBytes_AsString(entries);
    at = (uint8_t *)PyBytes_AsString(records);
    if (some.size >= RECORDS_ALONE) released = PyEval_SaveThread();
    for (Py_ssize_t i = 0; i < some.count; i++, entry += ENTRY) {
        const record each = some.records[i];
        put_entry(entry, offset, time, each.data, each.size, each.hash);
        at = put32(at, each.size);
        memcpy(at, each.data, each.size);
        at += each.size;
        offset += LENGTH + each.size;
    }
    if (released != NULL) PyEval_RestoreThread(released);
    result = PyTuple_Pack(2, entries, records);
done:
    close_batch(&some);
    Py_XDECREF(entries);
    Py_XDECREF(records);
    return result;
}

static PyObject *encode_entries(PyObject *module, PyObject *args) {
    PyObject *payloads, *entries = NULL, *offsets = NULL, *result = NULL;
    unsigned long long offset, time;
    unsigned int hash;
    int is_last;
    batch some;
    uint8_t *entry;
    PyThreadState *released = NULL;
    (void)module;

    if (!PyArg_ParseTuple(args, "OKKIp:encode_entries", &payloads, &offset, &time, &hash, &is_last)) return NULL;
    if (open_batch(&some, payloads) < 0) goto done;
    entries = PyBytes_FromStringAndSize(NULL, some.count * ENTRY);
    offsets = PyTuple_New(some.count);
    if (entries == NULL || offsets == NULL) goto done;
    for (Py_ssize_t i = 0; i < some.count; i++) {
        PyObject *number = PyLong_FromUnsignedLongLong(offset + (uint64_t)some.size);
        if (number == NULL || PyTuple_SetItem(offsets, i, number) < 0) goto done; /* it takes the reference */
        if (read_payload(&some, i, PyTuple_GetItem(some.items, i)) < 0) goto done;
    }
    entry = (uint8_t *)PyBytes_AsString(entries);
    if (some.size >= RECORDS_ALONE) released = PyEval_SaveThread();
    for (Py_ssize_t i = 0; i < some.count; i++, entry += ENTRY) {
        const record each = some.records[i];
        put_entry(entry, offset, is_last && i == some.count - 1 ? time : time | CONTINUES, each.data, each.size, hash);
        offset += LENGTH + each.size;
    }
    if (released != NULL) PyEval_RestoreThread(released);
    result = PyTuple_Pack(2, entries, offsets);
done:
    close_batch(&some);
    Py_XDECREF(entries);
    Py_XDECREF(offsets);
    return result;
}

static PyMethodDef methods[] = {
    {"highwayhash256", highwayhash256, METH_VARARGS,
     "highwayhash256(key, data, implementation=None, /)\n--\n\n"
     "The HighwayHash of data, 32 bytes, under a key of 32 bytes; both bytes-like. Of IMPLEMENTATIONS the first is used\n"
     "unless another is named. From 32 KiB on the interpreter's lock is released."},
    {"crc32c", crc32c_of, METH_VARARGS,
     "crc32c(data, crc, implementation, /)\n--\n\n"
     "The CRC32C of data behind what crc is that of, by one of CRC32C_IMPLEMENTATIONS. The interpreter's lock is kept."},
    {"encode_appends", encode_appends, METH_VARARGS,
     "encode_appends(appends, offset, time, /)\n--\n\n"
     "The index entries and the records, each in one piece, of appends of a record each, (payload, hash of the\n"
     "identifier), which follow each other in a bucket file from an offset on. From 64 KiB on the interpreter's lock is\n"
     "released."},
    {"encode_entries", encode_entries, METH_VARARGS,
     "encode_entries(payloads, offset, time, hash, is_last, /)\n--\n\n"
     "The index entries, in one piece, and the offsets of the records of one append. From 64 KiB on the interpreter's\n"
     "lock is released."},
    {NULL, NULL, 0, NULL},
};

/* Names as a tuple of the module. */
static int add_names(PyObject *module, const char *attribute, const char *const *names, Py_ssize_t count) {
    PyObject *tuple = PyTuple_New(count);
    int failed = tuple == NULL;
    for (Py_ssize_t i = 0; !failed && i < count; i++) {
        PyObject *name = PyUnicode_FromString(names[i]);
        failed = name == NULL || PyTuple_SetItem(tuple, i, name) < 0; /* it takes the reference */
    }
    failed = failed || PyModule_AddObjectRef(module, attribute, tuple) < 0;
    Py_XDECREF(tuple);
    return failed ? -1 : 0;
}

static int exec_module(PyObject *module) {
    const char *names[8];
    Py_ssize_t count = 0;
    implementations = hh_implementations();
    crc32c_ways = crc32c_implementations();
    crc32c = crc32c_ways->update;
    for (const hh_implementation *each = implementations; each->name != NULL; each++) names[count++] = each->name;
    if (add_names(module, "IMPLEMENTATIONS", names, count) < 0) return -1;
    count = 0;
    for (const crc32c_implementation *each = crc32c_ways; each->name != NULL; each++) names[count++] = each->name;
    return add_names(module, "CRC32C_IMPLEMENTATIONS", names, count);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)exec_module},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "storehouse._native", "What Python is too slow for.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
