/* Memory in which a step too far is a crash: for NumPy's arrays, and for maps of files.

An array ends at a page that nobody may touch, and a map has one behind it. What was freed or unmapped is closed, too,
and its place is not used again for a while: whoever still has the address crashes, where he would have read what came
there next. New arrays are full of 0xA5, so that what is read before it is written is not zero by chance. The bytes
between the beginning of an array's first page and the array are 0xA5 as well, and compared when it is freed.

    install()   Python: the arrays that this thread makes from now on; a thread has to ask for itself
    counts()    Python: arrays made, arrays freed, maps made, maps closed
    guarded_mmap, guarded_munmap   as mmap and munmap, for ctypes
*/

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#include <numpy/arrayobject.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096UL
#define KEPT 8192
#define FILL 0xA5

/* An array's memory: a page with its size, the array against its end, a closed page. */
struct head {
    size_t size, length;
};

static struct {
    char *base;
    size_t length;
} kept[KEPT];

static size_t next_kept, made, freed, mapped, closed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }

static size_t whole_pages(size_t size) { return (size + PAGE - 1) / PAGE * PAGE; }

static char *reserve(size_t length) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *base = mmap(NULL, length, PROT_NONE, flags, -1, 0);
    return base == MAP_FAILED ? NULL : base;
}

/* Close some pages; those that were closed long ago are given back. */
static void close_pages(char *base, size_t length, size_t *count) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    mmap(base, length, PROT_NONE, flags, -1, 0);
    pthread_mutex_lock(&lock);
    if (kept[next_kept].base) munmap(kept[next_kept].base, kept[next_kept].length);
    kept[next_kept].base = base;
    kept[next_kept].length = length;
    next_kept = (next_kept + 1) % KEPT;
    ++*count;
    pthread_mutex_unlock(&lock);
}

static struct head *head_of(void *array) {
    return (struct head *)((size_t)array / PAGE * PAGE - PAGE);
}

static void *new_array(size_t size, int fill) {
    if (size == 0) size = 1;
    size_t body = whole_pages(size), length = body + 2 * PAGE;
    char *base = reserve(length);
    if (!base) return NULL;
    if (mprotect(base, length - PAGE, PROT_READ | PROT_WRITE)) {
        munmap(base, length);
        return NULL;
    }
    struct head *head = (struct head *)base;
    head->size = size;
    head->length = length;
    char *array = base + PAGE + body - size;
    memset(base + PAGE, FILL, body - size);
    if (fill) memset(array, FILL, size);
    pthread_mutex_lock(&lock);
    ++made;
    pthread_mutex_unlock(&lock);
    return array;
}

static void *array_malloc(void *context, size_t size) { return new_array(size, 1); }

static void *array_calloc(void *context, size_t count, size_t size) {
    if (size && count > SIZE_MAX / size) return NULL;
    return new_array(count * size, 0);
}

static void array_free(void *context, void *array, size_t size) {
    if (!array) return;
    struct head *head = head_of(array);
    for (char *at = (char *)head + PAGE; at < (char *)array; at++) {
        if (*(unsigned char *)at != FILL) {
            fprintf(stderr, "guard_pages: something wrote before an array of %zu bytes\n", head->size);
            abort();
        }
    }
    close_pages((char *)head, head->length, &freed);
}

static void *array_realloc(void *context, void *array, size_t size) {
    void *other = new_array(size, 1);
    if (array && other) {
        size_t before = head_of(array)->size;
        memcpy(other, array, before < size ? before : size);
        array_free(context, array, before);
    }
    return other;
}

static PyDataMem_Handler handler = {
    "guard_pages", 1, {NULL, array_malloc, array_calloc, array_realloc, array_free}};

void *guarded_mmap(void *at, size_t size, int protection, int flags, int file, int64_t offset) {
    if (flags & MAP_FIXED) return mmap(at, size, protection, flags, file, offset);
    char *base = reserve(whole_pages(size) + PAGE);
    if (!base) return MAP_FAILED;
    void *map = mmap(base, size, protection, flags | MAP_FIXED, file, offset);
    if (map == MAP_FAILED) {
        munmap(base, whole_pages(size) + PAGE);
        return map;
    }
    pthread_mutex_lock(&lock);
    ++mapped;
    pthread_mutex_unlock(&lock);
    return map;
}

int guarded_munmap(void *map, size_t size) {
    close_pages(map, whole_pages(size) + PAGE, &closed);
    return 0;
}

static PyObject *install(PyObject *self, PyObject *nothing) {
    PyObject *capsule = PyCapsule_New(&handler, "mem_handler", NULL);
    PyObject *old = capsule ? PyDataMem_SetHandler(capsule) : NULL;
    Py_XDECREF(capsule);
    if (!old) return NULL;
    Py_DECREF(old);
    Py_RETURN_NONE;
}

static PyObject *counts(PyObject *self, PyObject *nothing) {
    return Py_BuildValue("(nnnn)", (Py_ssize_t)made, (Py_ssize_t)freed, (Py_ssize_t)mapped, (Py_ssize_t)closed);
}

static PyMethodDef methods[] = {
    {"install", install, METH_NOARGS, "Put the arrays of this thread against guard pages."},
    {"counts", counts, METH_NOARGS, "Arrays made, arrays freed, maps made, maps closed."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "guard_pages", NULL, -1, methods};

PyMODINIT_FUNC PyInit_guard_pages(void) {
    import_array();
    pthread_atfork(before_fork, after_fork, after_fork);
    return PyModule_Create(&module);
}
