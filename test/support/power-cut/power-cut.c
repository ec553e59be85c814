/*
 * A file system that loses what was not synced when the power is cut (FUSE, as LazyFS does).
 *
 * `power-cut MOUNTPOINT`: everything is in memory, twice: as programs see it, and as it is on the disk.
 * fsync of a file brings its bytes to the disk, fsync of a directory every name changed since then.
 * Writing a number into MOUNTPOINT/.cut cuts the power: from that moment every call fails, and of what
 * was not synced the disk has a part that the number decides: any of the pages, some of them torn at
 * a sector, in any order; of the changes of names the first few, in their order. Writing `all` loses
 * all that was not synced. When the file system is unmounted after that, it is mounted again with what
 * the disk has, and says `mounted`.
 * Writing 1 into MOUNTPOINT/.read-only makes every change fail with EROFS, also of files that are open
 * for writing, as a kernel does that has found a fault on the disk; writing 0 ends that.
 * Writing into MOUNTPOINT/.end ends the process at the next unmount.
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096
#define SECTOR 512
#define NAMES_MAX 4096
#define OPS_MAX 65536
#define PATH_BYTES 256

struct bytes { char *at; size_t size, room; };
struct inode { mode_t kind; struct bytes seen, disk; };
struct name { char path[PATH_BYTES]; struct inode *inode; };
struct names { struct name all[NAMES_MAX]; int count; };
/* A change of names: `inode` at `path`, or nothing where it is NULL. */
struct change { char path[PATH_BYTES]; struct inode *inode; int with_next; };

static struct names seen, disk;
static struct change changes[OPS_MAX];
static int change_count, dead, ended, read_only;
static struct inode cut_file = {.kind = S_IFREG}, end_file = {.kind = S_IFREG}, read_only_file = {.kind = S_IFREG};
static unsigned long long rng;

static unsigned chance(unsigned below) {
  rng = rng * 6364136223846793005ULL + 1442695040888963407ULL;
  return (unsigned)((rng >> 33) % below);
}

static void *need(void *p) { if (!p) { perror("power-cut"); abort(); } return p; }

static void resize(struct bytes *b, size_t size) {
  if (size > b->room) {
    b->room = size * 2;
    b->at = need(realloc(b->at, b->room));
  }
  if (size > b->size) memset(b->at + b->size, 0, size - b->size);
  b->size = size;
}

static void copy(struct bytes *to, const struct bytes *from) {
  resize(to, from->size);
  if (from->size) memcpy(to->at, from->at, from->size);
}

static struct name *find(struct names *in, const char *path) {
  for (int i = 0; i < in->count; i++) if (!strcmp(in->all[i].path, path)) return &in->all[i];
  return NULL;
}

static void put(struct names *in, const char *path, struct inode *inode) {
  struct name *known = find(in, path);
  if (!inode) { if (known) *known = in->all[--in->count]; return; }
  if (!known) {
    if (in->count == NAMES_MAX) abort();
    known = &in->all[in->count++];
    snprintf(known->path, PATH_BYTES, "%s", path);
  }
  known->inode = inode;
}

static void change(const char *path, struct inode *inode, int with_next) {
  if (change_count == OPS_MAX) abort();
  struct change *c = &changes[change_count++];
  snprintf(c->path, PATH_BYTES, "%s", path);
  c->inode = inode;
  c->with_next = with_next;
  put(&seen, path, inode);
}

/* What the disk has of one file: any of the pages that were not synced, some of them torn. */
static void lose(struct inode *f, unsigned keep_percent) {
  size_t old = f->disk.size, size = old;
  if (keep_percent && chance(2)) size = f->seen.size;
  struct bytes after = {0};
  copy(&after, &f->disk);
  for (size_t at = 0; at < f->seen.size; at += PAGE) {
    if (chance(100) >= keep_percent) continue;
    size_t n = f->seen.size - at < PAGE ? f->seen.size - at : PAGE;
    if (chance(4) == 0 && n == PAGE) n = SECTOR * chance(PAGE / SECTOR);
    if (!n) continue;
    if (at + n > after.size) resize(&after, at + n);
    if (after.size > size) size = after.size;
    memcpy(after.at + at, f->seen.at + at, n);
  }
  resize(&after, size);
  copy(&f->disk, &after);
  free(after.at);
}

static void cut(const char *how) {
  int all = !strncmp(how, "all", 3);
  rng = strtoull(how, NULL, 10) * 2862933555777941757ULL + 3037000493ULL;
  unsigned keep[] = {0, 20, 50, 100};
  unsigned keep_percent = all ? 0 : keep[chance(4)];
  int until = all ? 0 : chance(change_count + 1);
  while (until > 0 && until < change_count && changes[until - 1].with_next) until--;
  for (int i = 0; i < until; i++) put(&disk, changes[i].path, changes[i].inode);
  for (int i = 0; i < disk.count; i++) lose(disk.all[i].inode, keep_percent);
  dead = 1;
}

/* The power is back: what is seen is what the disk has. */
static void restart(void) {
  change_count = 0;
  seen = disk;
  for (int i = 0; i < seen.count; i++) copy(&seen.all[i].inode->seen, &seen.all[i].inode->disk);
  dead = 0;
}

static struct inode *inode_of(const char *path, struct fuse_file_info *fi) {
  if (fi && fi->fh) return (struct inode *)(size_t)fi->fh;
  if (!strcmp(path, "/.cut")) return &cut_file;
  if (!strcmp(path, "/.end")) return &end_file;
  if (!strcmp(path, "/.read-only")) return &read_only_file;
  struct name *n = find(&seen, path);
  return n ? n->inode : NULL;
}
#define WRITABLE if (read_only) return -EROFS
#define ALIVE if (dead) return -EIO
#define INODE(var) ALIVE; struct inode *var = inode_of(path, fi); if (!var) return -ENOENT

static int fs_getattr(const char *path, struct stat *st, struct fuse_file_info *fi) {
  memset(st, 0, sizeof *st);
  if (path && !strcmp(path, "/")) { st->st_mode = S_IFDIR | 0700; st->st_nlink = 2; return 0; }
  INODE(f);
  st->st_mode = f->kind | (f->kind == S_IFDIR ? 0700 : 0600);
  st->st_nlink = 1;
  st->st_size = f->seen.size;
  st->st_blocks = (f->seen.size + 511) / 512;
  return 0;
}

static int fs_opendir(const char *path, struct fuse_file_info *fi) {
  ALIVE;
  fi->fh = (uint64_t)(size_t)need(strdup(path));
  return 0;
}
static int fs_releasedir(const char *path, struct fuse_file_info *fi) {
  (void)path;
  free((char *)(size_t)fi->fh);
  return 0;
}

static int fs_readdir(const char *unused, void *buf, fuse_fill_dir_t fill, off_t off,
                      struct fuse_file_info *fi, enum fuse_readdir_flags flags) {
  (void)unused; (void)off; (void)flags;
  ALIVE;
  const char *path = (const char *)(size_t)fi->fh;
  size_t n = strcmp(path, "/") ? strlen(path) : 0;
  fill(buf, ".", NULL, 0, 0);
  fill(buf, "..", NULL, 0, 0);
  for (int i = 0; i < seen.count; i++) {
    const char *p = seen.all[i].path;
    if (!strncmp(p, path, n) && p[n] == '/' && !strchr(p + n + 1, '/')) fill(buf, p + n + 1, NULL, 0, 0);
  }
  return 0;
}

static int fs_open(const char *path, struct fuse_file_info *fi) {
  struct fuse_file_info *none = NULL;
  ALIVE;
  struct inode *f = inode_of(path, none);
  if (!f) return -ENOENT;
  int is_switch = f == &cut_file || f == &end_file || f == &read_only_file;
  if (!is_switch && (fi->flags & O_ACCMODE) != O_RDONLY) WRITABLE;
  fi->fh = (uint64_t)(size_t)f;
  if (fi->flags & O_TRUNC) resize(&f->seen, 0);
  return 0;
}

static struct inode *made(const char *path, mode_t kind) {
  struct inode *f = need(calloc(1, sizeof *f));
  f->kind = kind;
  change(path, f, 0);
  return f;
}

static int fs_create(const char *path, mode_t mode, struct fuse_file_info *fi) {
  (void)mode;
  ALIVE;
  WRITABLE;
  if (strlen(path) >= PATH_BYTES) return -ENAMETOOLONG;
  fi->fh = (uint64_t)(size_t)made(path, S_IFREG);
  return 0;
}

static int fs_mkdir(const char *path, mode_t mode) { (void)mode; ALIVE; WRITABLE; made(path, S_IFDIR); return 0; }
/* The agent's control socket; what is said over it does not come by here. */
static int fs_mknod(const char *path, mode_t mode, dev_t unused) {
  (void)unused;
  ALIVE;
  WRITABLE;
  if (strlen(path) >= PATH_BYTES) return -ENAMETOOLONG;
  made(path, mode & S_IFMT);
  return 0;
}
static int fs_unlink(const char *path) {
  ALIVE;
  WRITABLE;
  if (!find(&seen, path)) return -ENOENT;
  change(path, NULL, 0);
  return 0;
}

static int fs_rename(const char *from, const char *to, unsigned flags) {
  ALIVE;
  WRITABLE;
  struct name *n = find(&seen, from);
  if (!n) return -ENOENT;
  if (flags || n->inode->kind == S_IFDIR) return -EINVAL;
  struct inode *f = n->inode;
  change(to, f, 1);
  change(from, NULL, 0);
  return 0;
}

static int fs_read(const char *path, char *to, size_t n, off_t at, struct fuse_file_info *fi) {
  INODE(f);
  if ((size_t)at >= f->seen.size) return 0;
  if (n > f->seen.size - at) n = f->seen.size - at;
  memcpy(to, f->seen.at + at, n);
  return n;
}

static int fs_write(const char *path, const char *from, size_t n, off_t at, struct fuse_file_info *fi) {
  INODE(f);
  if (f == &cut_file) { cut(from); return n; }
  if (f == &end_file) { ended = 1; return n; }
  if (f == &read_only_file) { read_only = from[0] == '1'; return n; }
  WRITABLE;
  if (at + n > f->seen.size) resize(&f->seen, at + n);
  memcpy(f->seen.at + at, from, n);
  return n;
}

static int fs_truncate(const char *path, off_t size, struct fuse_file_info *fi) {
  INODE(f);
  if (f != &cut_file && f != &end_file && f != &read_only_file) WRITABLE;
  resize(&f->seen, size);
  return 0;
}

static int fs_fsync(const char *path, int data_only, struct fuse_file_info *fi) {
  (void)data_only;
  INODE(f);
  WRITABLE;
  copy(&f->disk, &f->seen);
  return 0;
}

static int fs_fsyncdir(const char *path, int data_only, struct fuse_file_info *fi) {
  (void)path; (void)data_only; (void)fi;
  ALIVE;
  for (int i = 0; i < change_count; i++) put(&disk, changes[i].path, changes[i].inode);
  change_count = 0;
  return 0;
}

static int fs_chmod(const char *path, mode_t mode, struct fuse_file_info *fi) {
  (void)path; (void)mode; (void)fi;
  ALIVE;
  return 0;
}
static int fs_utimens(const char *path, const struct timespec tv[2], struct fuse_file_info *fi) {
  (void)path; (void)tv; (void)fi;
  ALIVE;
  return 0;
}
static int fs_statfs(const char *path, struct statvfs *st) {
  (void)path;
  memset(st, 0, sizeof *st);
  st->f_bsize = st->f_frsize = PAGE;
  st->f_blocks = st->f_bfree = st->f_bavail = 1 << 20;
  st->f_namemax = PATH_BYTES - 1;
  return 0;
}

static void *fs_init(struct fuse_conn_info *conn, struct fuse_config *config) {
  (void)conn;
  config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
  config->hard_remove = 1;
  config->nullpath_ok = 1;
  printf("\"mounted\"\n");
  fflush(stdout);
  return NULL;
}

static const struct fuse_operations operations = {
  .init = fs_init, .getattr = fs_getattr, .opendir = fs_opendir, .readdir = fs_readdir,
  .releasedir = fs_releasedir, .open = fs_open,
  .create = fs_create, .mkdir = fs_mkdir, .mknod = fs_mknod, .unlink = fs_unlink, .rename = fs_rename, .read = fs_read,
  .write = fs_write, .truncate = fs_truncate, .fsync = fs_fsync, .fsyncdir = fs_fsyncdir,
  .chmod = fs_chmod, .utimens = fs_utimens, .statfs = fs_statfs,
};

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  while (!ended) {
    char *options[] = {argv[0], NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, options);
    struct fuse *fuse = fuse_new(&args, &operations, sizeof operations, NULL);
    if (!fuse || fuse_mount(fuse, argv[1])) return 1;
    fuse_loop(fuse);
    fuse_unmount(fuse);
    fuse_destroy(fuse);
    restart();
  }
  return 0;
}
