/* A disk whose faults can be switched on, preloaded into a process.
 *
 * Of the files below DISK_ROOT it keeps, in DISK_PLATTER, what a loss of power would leave at worst: of each file, by its
 * inode, the pages that were written before a sync that succeeded; of each folder the names it had when it was synced.
 * A sync that fails drops what was written before it, as Linux does: a later sync that succeeds says nothing of it.
 *
 * Switches are files in DISK_SWITCHES, looked for at each call:
 *   delay_ms     a sync takes so much longer
 *   hold         a sync does not return while it is there
 *   fail         a sync fails with EIO
 *   fail_write   a write fails with EIO
 *   full         a write fails with ENOSPC, half of it done
 * A byte is appended to `begun` when a sync begins, and to `synced` when it has succeeded.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096 };

/* Pages of a file that were written since its last sync. */
struct dirty {
  ino_t inode;
  unsigned char *pages;
  size_t count;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct dirty *files;
static size_t file_count;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (!found) {
    fprintf(stderr, "disk.c: no %s\n", name);
    abort();
  }
  return found;
}

static void broken(const char *what) {
  perror(what);
  abort();
}

static void name_in(char *path, const char *folder, const char *name) {
  if (snprintf(path, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX) abort();
}

/* Whether a file or folder is below the root. */
static int is_ours(int fd, struct stat *about) {
  const char *root = getenv("DISK_ROOT");
  char link[64], path[PATH_MAX];
  if (!root || fstat(fd, about) || !(S_ISREG(about->st_mode) || S_ISDIR(about->st_mode))) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  size_t wanted = strlen(root);
  if (length < 0) return 0;
  path[length] = 0;
  return !strncmp(path, root, wanted) && (path[wanted] == '/' || !path[wanted]);
}

static int is_on(const char *name) {
  char path[PATH_MAX];
  name_in(path, getenv("DISK_SWITCHES"), name);
  return access(path, F_OK) == 0;
}

static long number_of(const char *name) {
  char path[PATH_MAX];
  long number = 0;
  name_in(path, getenv("DISK_SWITCHES"), name);
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  if (fscanf(file, "%ld", &number) != 1) number = 0;
  fclose(file);
  return number;
}

static void count(const char *name) {
  char path[PATH_MAX];
  name_in(path, getenv("DISK_SWITCHES"), name);
  int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || REAL(write)(fd, ".", 1) != 1) broken(path);
  close(fd);
}

static void sleep_ms(long ms) {
  struct timespec rest = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&rest, &rest) && errno == EINTR) {}
}

static struct dirty *dirty_of(ino_t inode) {
  for (size_t i = 0; i < file_count; i++)
    if (files[i].inode == inode) return &files[i];
  files = realloc(files, ++file_count * sizeof *files);
  if (!files) abort();
  files[file_count - 1] = (struct dirty){inode, NULL, 0};
  return &files[file_count - 1];
}

/* Notes that bytes were written. The lock is held. */
static void mark(ino_t inode, off_t start, off_t bytes) {
  struct dirty *file = dirty_of(inode);
  size_t end = (start + bytes + PAGE - 1) / PAGE;
  if (bytes <= 0) return;
  if (end > file->count) {
    file->pages = realloc(file->pages, end);
    if (!file->pages) abort();
    memset(file->pages + file->count, 0, end - file->count);
    file->count = end;
  }
  memset(file->pages + start / PAGE, 1, end - start / PAGE);
}

static void forget(ino_t inode) {
  struct dirty *file = dirty_of(inode);
  if (file->count) memset(file->pages, 0, file->count);
}

/* Brings the pages of a file that were written onto the platter. */
static void keep_file(int fd, const struct stat *about) {
  char path[PATH_MAX], link[64], page[PAGE];
  snprintf(path, sizeof path, "%s/data/%lu", getenv("DISK_PLATTER"), (unsigned long)about->st_ino);
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  int to = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), from = open(link, O_RDONLY | O_CLOEXEC);
  if (to < 0 || from < 0 || REAL(ftruncate)(to, about->st_size)) broken(path);
  struct dirty *file = dirty_of(about->st_ino);
  for (size_t i = 0; i < file->count; i++) {
    if (!file->pages[i]) continue;
    ssize_t length = pread(from, page, PAGE, (off_t)i * PAGE);
    if (length < 0 || REAL(pwrite)(to, page, length, (off_t)i * PAGE) != length) broken(path);
  }
  close(from);
  close(to);
}

/* Brings the names of a folder onto the platter. */
static void keep_names(int fd, const struct stat *about) {
  char path[PATH_MAX], hidden[PATH_MAX + 8], link[64];
  snprintf(path, sizeof path, "%s/names/%lu", getenv("DISK_PLATTER"), (unsigned long)about->st_ino);
  snprintf(hidden, sizeof hidden, "%s.new", path);
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  FILE *names = fopen(hidden, "w");
  DIR *folder = opendir(link);
  if (!names || !folder) broken(path);
  for (struct dirent *entry; (entry = readdir(folder));)
    if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
      fprintf(names, "%lu %s\n", (unsigned long)entry->d_ino, entry->d_name);
  closedir(folder);
  if (fclose(names) || rename(hidden, path)) broken(path);
}

static int sync_with(int (*really)(int), int fd) {
  struct stat about;
  if (!is_ours(fd, &about)) return really(fd);
  count("begun");
  sleep_ms(number_of("delay_ms"));
  while (is_on("hold")) sleep_ms(1);
  if (really(fd)) return -1;
  pthread_mutex_lock(&lock);
  int fails = is_on("fail");
  if (fstat(fd, &about)) broken("fstat");
  if (!fails && S_ISDIR(about.st_mode)) keep_names(fd, &about);
  if (!fails && S_ISREG(about.st_mode)) keep_file(fd, &about);
  forget(about.st_ino);
  pthread_mutex_unlock(&lock);
  if (fails) {
    errno = EIO;
    return -1;
  }
  count("synced");
  return 0;
}

int fsync(int fd) { return sync_with(REAL(fsync), fd); }

int fdatasync(int fd) { return sync_with(REAL(fdatasync), fd); }

/* A write at a place, or where the file is. */
static ssize_t write_with(int fd, const struct iovec *parts, int count_of_parts, const off_t *place) {
  struct stat about;
  if (!is_ours(fd, &about))
    return place ? REAL(pwritev)(fd, parts, count_of_parts, *place) : REAL(writev)(fd, parts, count_of_parts);
  if (is_on("fail_write")) {
    errno = EIO;
    return -1;
  }
  struct iovec half = {parts[0].iov_base, parts[0].iov_len / 2};
  if (is_on("full")) {
    if (!half.iov_len) {
      errno = ENOSPC;
      return -1;
    }
    // The rest finds no room at the next call, or at the one after: a half of one byte is none.
    parts = &half;
    count_of_parts = 1;
  }
  pthread_mutex_lock(&lock);
  off_t start = place ? *place : lseek(fd, 0, SEEK_CUR);
  ssize_t written = place ? REAL(pwritev)(fd, parts, count_of_parts, *place) : REAL(writev)(fd, parts, count_of_parts);
  int error = errno;
  // Appended where the end was, wherever the file stood before.
  if (!place && fcntl(fd, F_GETFL) & O_APPEND) start = lseek(fd, 0, SEEK_CUR) - written;
  mark(about.st_ino, start, written);
  pthread_mutex_unlock(&lock);
  errno = error;
  return written;
}

ssize_t write(int fd, const void *bytes, size_t length) {
  return write_with(fd, &(struct iovec){(void *)bytes, length}, 1, NULL);
}

ssize_t writev(int fd, const struct iovec *parts, int count_of_parts) {
  return write_with(fd, parts, count_of_parts, NULL);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t place) {
  return write_with(fd, &(struct iovec){(void *)bytes, length}, 1, &place);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t place) {
  return write_with(fd, &(struct iovec){(void *)bytes, length}, 1, &place);
}

static int truncate_with(int fd, off_t size) {
  struct stat about;
  if (!is_ours(fd, &about)) return REAL(ftruncate)(fd, size);
  pthread_mutex_lock(&lock);
  // What is new reads as zeros, and must reach the platter too; what is cut off leaves it with the next sync.
  mark(about.st_ino, about.st_size, size - about.st_size);
  int failed = REAL(ftruncate)(fd, size);
  pthread_mutex_unlock(&lock);
  return failed;
}

int ftruncate(int fd, off_t size) { return truncate_with(fd, size); }

int ftruncate64(int fd, off_t size) { return truncate_with(fd, size); }
