/* storehouse._native: what Python is too slow for. Each function has a twin in Python with the same tests; without this
 * module everything works, more slowly. It uses the limited API alone, so that one build serves every Python from 3.11. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "highwayhash.h"

#include <string.h>

/* Bytes from which on others may run meanwhile: less is done before they had the interpreter's lock (some 20 us where the
 * portable implementation runs). */
enum { ALONE = 32 << 10 };

static const hh_implementation *implementations;

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

static PyMethodDef methods[] = {
    {"highwayhash256", highwayhash256, METH_VARARGS,
     "highwayhash256(key, data, implementation=None, /)\n--\n\n"
     "The HighwayHash of data, 32 bytes, under a key of 32 bytes; both bytes-like. Of IMPLEMENTATIONS the first is used\n"
     "unless another is named. From 32 KiB on the interpreter's lock is released."},
    {NULL, NULL, 0, NULL},
};

static int exec_module(PyObject *module) {
    PyObject *names = PyList_New(0), *names_tuple;
    int failed = names == NULL;
    implementations = hh_implementations();
    for (const hh_implementation *each = implementations; !failed && each->name != NULL; each++) {
        PyObject *name = PyUnicode_FromString(each->name);
        failed = name == NULL || PyList_Append(names, name) < 0;
        Py_XDECREF(name);
    }
    names_tuple = failed ? NULL : PyList_AsTuple(names);
    Py_XDECREF(names);
    failed = names_tuple == NULL || PyModule_AddObjectRef(module, "IMPLEMENTATIONS", names_tuple) < 0;
    Py_XDECREF(names_tuple);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)exec_module},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "storehouse._native", "What Python is too slow for.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
