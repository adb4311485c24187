/*
 * A disk between a process and its files, for tests: it records what is written and synced, and
 * fails as it is told. Loaded with LD_PRELOAD.
 *
 * DISK_FOLDER   paths below it are on this disk
 * DISK_TRACE    where to append records; without it nothing is recorded
 * DISK_CONTROL  64 bytes that the test changes while the process runs: byte 0 is the state
 *               ('0' good, 'F' full, 'R' read-only, 'E' syncs fail), bytes 8 to 11 the
 *               milliseconds by which each sync is delayed, little-endian
 *
 * A record is a header and `length` bytes, appended in one call. What is written is recorded after
 * it was done and a sync before and after, so that what stands before the beginning of a sync is
 * covered by it. What leaves through a socket is recorded before it leaves.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 65536
#define SENT_BYTES_MAX 65536

struct record {
    uint32_t magic;
    uint32_t kind;
    uint64_t file;
    uint64_t offset;
    uint64_t length;
    uint64_t extra;
};

static const char *folder;
static size_t folder_length;
static int trace = -1;
static const volatile unsigned char *control;
static _Atomic uint64_t file_of[FILES_MAX];
static _Atomic uint64_t syncs;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_send)(int, const void *, size_t, int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);
static int (*real_rename)(const char *, const char *);

#define REAL(name) (*(void **)&real_##name = dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void)
{
    if (real_open)
        return;
    REAL(openat);
    REAL(close);
    REAL(write);
    REAL(pwrite);
    REAL(writev);
    REAL(send);
    REAL(ftruncate);
    REAL(fsync);
    REAL(fdatasync);
    REAL(unlink);
    REAL(rename);
    REAL(open);
    folder = getenv("DISK_FOLDER");
    folder_length = folder ? strlen(folder) : 0;
    const char *path = getenv("DISK_TRACE");
    if (path)
        trace = real_open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    path = getenv("DISK_CONTROL");
    if (path) {
        int fd = real_open(path, O_RDONLY | O_CLOEXEC);
        void *mapped = mmap(0, 64, PROT_READ, MAP_SHARED, fd, 0);
        control = mapped == MAP_FAILED ? 0 : mapped;
        real_close(fd);
    }
}

static void record(char kind, uint64_t file, uint64_t offset, const void *bytes, size_t length,
                   uint64_t extra)
{
    if (trace < 0)
        return;
    int kept = errno;
    struct record head = {0x6b736964, (uint32_t)kind, file, offset, length, extra};
    struct iovec both[2] = {{&head, sizeof head}, {(void *)bytes, length}};
    if (real_writev(trace, both, 2) != (ssize_t)(sizeof head + length))
        abort(); /* A trace with a hole would prove nothing. */
    errno = kept;
}

static uint64_t file(int fd)
{
    return fd >= 0 && fd < FILES_MAX ? atomic_load(&file_of[fd]) : 0;
}

/* Whether a change of a file fails now; errno says how. */
static int broken(void)
{
    switch (control ? control[0] : '0') {
    case 'F':
        errno = ENOSPC;
        return 1;
    case 'R':
        errno = EROFS;
        return 1;
    default:
        return 0;
    }
}

static int ours(const char *path)
{
    return folder && path && strncmp(path, folder, folder_length) == 0;
}

static int opened(int fd, const char *path, int is_new)
{
    struct stat about;
    if (fd < 0 || fd >= FILES_MAX || fstat(fd, &about) != 0)
        return fd;
    atomic_store(&file_of[fd], (uint64_t)about.st_ino);
    char kind = S_ISDIR(about.st_mode) ? 'D' : 'O';
    record(kind, about.st_ino, about.st_size, path, strlen(path), is_new);
    return fd;
}

#define OPEN(path, flags, call)                                                                    \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                         \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode = va_arg(more, mode_t);                                                               \
        va_end(more);                                                                              \
    }                                                                                              \
    begin();                                                                                       \
    if (!ours(path))                                                                               \
        return call;                                                                               \
    int is_new = ((flags) & O_CREAT) && access(path, F_OK) != 0;                                   \
    if (is_new && broken())                                                                        \
        return -1;                                                                                 \
    return opened(call, path, is_new);

int open(const char *path, int flags, ...)
{
    OPEN(path, flags, real_open(path, flags, mode))
}

int open64(const char *path, int flags, ...)
{
    OPEN(path, flags, real_open(path, flags, mode))
}

int openat(int at, const char *path, int flags, ...)
{
    OPEN(path, flags, real_openat(at, path, flags, mode))
}

int openat64(int at, const char *path, int flags, ...)
{
    OPEN(path, flags, real_openat(at, path, flags, mode))
}

int close(int fd)
{
    begin();
    if (fd >= 0 && fd < FILES_MAX)
        atomic_store(&file_of[fd], 0);
    return real_close(fd);
}

static ssize_t write_file(int fd, const void *bytes, size_t length, off_t offset)
{
    if (broken())
        return -1;
    ssize_t done = real_pwrite(fd, bytes, length, offset);
    if (done > 0)
        record('W', file(fd), offset, bytes, done, 0);
    return done;
}

/* What leaves with a token in it. */
static void leaves(const void *bytes, size_t length)
{
    if (length <= SENT_BYTES_MAX && memmem(bytes, length, "access_token", 12))
        record('N', 0, 0, bytes, length, 0);
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    begin();
    if (!file(fd)) {
        leaves(bytes, length);
        return real_write(fd, bytes, length);
    }
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = write_file(fd, bytes, length, offset);
    if (done > 0)
        lseek(fd, offset + done, SEEK_SET);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    begin();
    if (!file(fd))
        return real_pwrite(fd, bytes, length, offset);
    return write_file(fd, bytes, length, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset)
{
    return pwrite(fd, bytes, length, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    begin();
    if (file(fd))
        return count > 0 ? write(fd, parts[0].iov_base, parts[0].iov_len) : 0;
    size_t length = 0;
    char sent[SENT_BYTES_MAX];
    for (int part = 0; part < count && length + parts[part].iov_len <= sizeof sent; part++) {
        memcpy(sent + length, parts[part].iov_base, parts[part].iov_len);
        length += parts[part].iov_len;
    }
    leaves(sent, length);
    return real_writev(fd, parts, count);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags)
{
    begin();
    leaves(bytes, length);
    return real_send(fd, bytes, length, flags);
}

int ftruncate(int fd, off_t size)
{
    begin();
    if (!file(fd))
        return real_ftruncate(fd, size);
    if (broken())
        return -1;
    int done = real_ftruncate(fd, size);
    if (done == 0)
        record('T', file(fd), size, 0, 0, 0);
    return done;
}

int ftruncate64(int fd, off_t size)
{
    return ftruncate(fd, size);
}

static int sync_file(int fd, int (*real)(int))
{
    uint64_t number = atomic_fetch_add(&syncs, 1);
    record('s', file(fd), 0, 0, 0, number);
    if (control) {
        uint32_t delay = control[8] | control[9] << 8 | control[10] << 16 | control[11] << 24;
        struct timespec time = {delay / 1000, (long)(delay % 1000) * 1000000};
        if (delay)
            nanosleep(&time, 0);
        if (control[0] == 'E') {
            errno = EIO;
            return -1;
        }
    }
    int done = real(fd);
    if (done == 0)
        record('S', file(fd), 0, 0, 0, number);
    return done;
}

int fsync(int fd)
{
    begin();
    return file(fd) ? sync_file(fd, real_fsync) : real_fsync(fd);
}

int fdatasync(int fd)
{
    begin();
    return file(fd) ? sync_file(fd, real_fdatasync) : real_fdatasync(fd);
}

int unlink(const char *path)
{
    begin();
    int done = real_unlink(path);
    if (done == 0 && ours(path))
        record('U', 0, 0, path, strlen(path), 0);
    return done;
}

int rename(const char *from, const char *to)
{
    begin();
    int done = real_rename(from, to);
    if (done == 0 && ours(to)) {
        char both[2 * PATH_MAX];
        int length = snprintf(both, sizeof both, "%s\n%s", from, to);
        record('R', 0, 0, both, (size_t)length, 0);
    }
    return done;
}
