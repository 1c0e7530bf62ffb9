/* Preloaded into a server under test: makes calls on the store's files fail or take long, as a bad disk does.

   BADDISK names a file of 5 native ints, which the test writes and every process that loads this maps:
     [0] milliseconds that a sync takes   [1] errno of a sync   [2] errno of a write   [3] errno of a read
     [4] syncs that are under way now or were ever made (counted up by us) */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static volatile int *orders;

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("BADDISK");
    int file = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *found = mmap(NULL, 5 * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (found != MAP_FAILED)
            orders = found;
        close(file);
    }
}

static int is_store(int descriptor)
{
    char link[64], path[4096];
    ssize_t length;
    if (!orders)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strstr(path, "/tcsql.db") != NULL && strstr(path, "-shm") == NULL;
}

static int refuses(int descriptor, int order)
{
    if (!orders || !orders[order] || !is_store(descriptor))
        return 0;
    errno = orders[order];
    return 1;
}

static int sync_is_bad(int descriptor)
{
    if (!is_store(descriptor))
        return 0;
    __sync_fetch_and_add((int *)&orders[4], 1);
    for (int slept = 0; slept < orders[0]; slept += 10)
        usleep(10000);
    return refuses(descriptor, 1);
}

#define REAL(type, name, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

int fsync(int descriptor)
{
    return sync_is_bad(descriptor) ? -1 : REAL(int, "fsync", int)(descriptor);
}

int fdatasync(int descriptor)
{
    return sync_is_bad(descriptor) ? -1 : REAL(int, "fdatasync", int)(descriptor);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t at)
{
    return refuses(descriptor, 2) ? -1 : REAL(ssize_t, "pwrite", int, const void *, size_t, off_t)(descriptor, data, size, at);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t at)
{
    return refuses(descriptor, 2) ? -1 : REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t)(descriptor, data, size, at);
}

ssize_t pread(int descriptor, void *data, size_t size, off_t at)
{
    return refuses(descriptor, 3) ? -1 : REAL(ssize_t, "pread", int, void *, size_t, off_t)(descriptor, data, size, at);
}

ssize_t pread64(int descriptor, void *data, size_t size, off64_t at)
{
    return refuses(descriptor, 3) ? -1 : REAL(ssize_t, "pread64", int, void *, size_t, off64_t)(descriptor, data, size, at);
}
