/*
 * The demo machine's kernel: the data of a machine that runs, and nothing that runs it.
 *
 * Every object is initialised by the compiler and the linker, so that an image of the sections is an image of the
 * machine's memory. Structs and members have the names of Linux 6.1, so that what reads a Linux image reads this one;
 * their layout is our own, so that it reads nothing without the profile that is made from this file. What runs is listed
 * in machine.h, where memory is in kernel.lds.
 */
#include "machine.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;
typedef s64 ktime_t;
typedef int pid_t;
typedef _Bool bool;

#define NULL ((void *)0)
#define PAGE_SIZE 4096
#define __slab __attribute__((section(".slab"), used))
#define __used __attribute__((used))
#define __page_aligned __attribute__((aligned(PAGE_SIZE)))

/* --- Addresses -------------------------------------------------------------------------------------------------- */

#define KERNEL_MAP 0xffffffff80000000UL
#define DIRECT_MAP 0xffff888000000000UL
#define MODULES_AT 0x1c00000UL

/* Physical addresses of what lies in the kernel's image, and of what lies in the direct map. The linker computes them:
 * they are sums, because it can add to an address and nothing else. */
#define PA_KERNEL(object) ((unsigned long)(object) - KERNEL_MAP)
#define PA_DIRECT(object) ((unsigned long)(object) - DIRECT_MAP)

/* --- Types ------------------------------------------------------------------------------------------------------ */

struct list_head {
	struct list_head *next, *prev;
};

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	unsigned int val;
} kuid_t;

typedef struct {
	unsigned int val;
} kgid_t;

struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};

typedef struct {
	unsigned long pgd;
} pgd_t;

struct new_utsname {
	char sysname[65];
	char nodename[65];
	char release[65];
	char version[65];
	char machine[65];
	char domainname[65];
};

struct uts_namespace {
	struct new_utsname name;
};

struct cred {
	atomic_t usage;
	kuid_t uid;
	kgid_t gid;
	kuid_t suid;
	kgid_t sgid;
	kuid_t euid;
	kgid_t egid;
	kuid_t fsuid;
	kgid_t fsgid;
	unsigned int securebits;
};

struct mm_struct {
	struct {
		unsigned long mmap_base;
		unsigned long task_size;
		pgd_t *pgd;
		atomic_t mm_users;
		atomic_t mm_count;
		int map_count;
		unsigned long total_vm;
		unsigned long start_code, end_code, start_data, end_data;
		unsigned long start_brk, brk, start_stack;
		unsigned long arg_start, arg_end, env_start, env_end;
	};
	unsigned long cpu_bitmap[];
};

struct thread_info {
	unsigned long flags;
	unsigned long syscall_work;
	u32 status;
	u32 cpu;
};

struct signal_struct {
	atomic_t live;
	int nr_threads;
	struct list_head thread_head;
};

enum pid_type { PIDTYPE_PID, PIDTYPE_TGID, PIDTYPE_PGID, PIDTYPE_SID, PIDTYPE_MAX };

struct task_struct {
	struct thread_info thread_info;
	unsigned int __state;
	void *stack;
	unsigned int flags;
	int on_cpu;
	int prio;
	int static_prio;
	struct list_head tasks;
	struct mm_struct *mm;
	struct mm_struct *active_mm;
	int exit_state;
	int exit_code;
	unsigned in_execve : 1;
	unsigned in_iowait : 1;
	pid_t pid;
	pid_t tgid;
	struct task_struct *real_parent;
	struct task_struct *parent;
	struct list_head children;
	struct list_head sibling;
	struct task_struct *group_leader;
	struct list_head thread_group;
	struct list_head thread_node;
	u64 utime;
	u64 stime;
	u64 start_time;
	u64 start_boottime;
	const struct cred *real_cred;
	const struct cred *cred;
	char comm[16];
	struct signal_struct *signal;
};

enum module_state { MODULE_STATE_LIVE, MODULE_STATE_COMING, MODULE_STATE_GOING, MODULE_STATE_UNFORMED };

struct module_layout {
	void *base;
	unsigned int size;
	unsigned int text_size;
	unsigned int ro_size;
	unsigned int ro_after_init_size;
};

struct module {
	enum module_state state;
	struct list_head list;
	char name[64 - sizeof(unsigned long)];
	const char *version;
	const char *srcversion;
	int (*init)(void);
	struct module_layout core_layout __attribute__((aligned(64)));
	struct module_layout init_layout;
	char *args;
};

struct timekeeper {
	u64 xtime_sec;
	unsigned long ktime_sec;
	struct timespec64 wall_to_monotonic;
	ktime_t offs_real;
	ktime_t offs_boot;
	ktime_t offs_tai;
};

/* --- Code, so that the profile has functions --------------------------------------------------------------------- */

void startup_64(void)
{
	for (;;)
		__asm__ volatile("hlt");
}

void start_kernel(void)
{
	startup_64();
}

/* --- What the kernel says of itself ------------------------------------------------------------------------------ */

const char linux_banner[] __used = DEMO_BANNER "\n";

struct uts_namespace init_uts_ns __used = {
	.name = {
		.sysname = "Linux",
		.nodename = "quaid-demo",
		.release = DEMO_RELEASE,
		.version = "#1 SMP PREEMPT_DYNAMIC Wed Mar  4 04:00:00 UTC 2026",
		.machine = "x86_64",
		.domainname = "(none)",
	},
};

/* Two minutes after the boot. Time of day is monotonic time less wall_to_monotonic. */
struct {
	u32 seq;
	struct timekeeper timekeeper;
} tk_core __used = {
	.timekeeper = {
		.xtime_sec = DEMO_BOOT_SECONDS + 120,
		.ktime_sec = 120,
		.wall_to_monotonic = { .tv_sec = -DEMO_BOOT_SECONDS },
		.offs_real = DEMO_BOOT_SECONDS * 1000000000L,
	},
};

unsigned long phys_base __used = 0;
unsigned long page_offset_base __used = DIRECT_MAP;
unsigned int __pgtable_l5_enabled __used = 0;

/* The debug record of a firmware module (CodeView, "RSDS"), as UEFI firmware leaves many in memory. */
struct {
	char signature[4];
	u8 guid[16];
	u32 age;
	char pdb[32];
} __attribute__((packed)) firmware_debug __attribute__((section(".firmware"), used)) = {
	.signature = { 'R', 'S', 'D', 'S' },
	.guid = { 0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0x88, 0x77, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x01 },
	.age = 1,
	.pdb = "QuaidDemoFirmware.pdb",
};

/* --- Page tables ------------------------------------------------------------------------------------------------- */

#define PTES 512
#define _PAGE_TABLE 0x067UL			/* present, writable, user, accessed, dirty */
#define _PAGE_KERNEL_TABLE 0x063UL
#define _PAGE_KERNEL 0x8000000000000163UL	/* and global, not executable */
#define _PAGE_KERNEL_LARGE 0x1e3UL		/* and 2 MiB */
#define _PAGE_DATA_LARGE 0x80000000000001e3UL
#define _PAGE_USER 0x8000000000000067UL

#define LARGE4(at, flags) (at) * 0x200000UL + (flags), ((at) + 1) * 0x200000UL + (flags), ((at) + 2) * 0x200000UL + (flags), ((at) + 3) * 0x200000UL + (flags)
#define ALL_MEMORY(flags) LARGE4(0, flags), LARGE4(4, flags), LARGE4(8, flags), LARGE4(12, flags)

#define PAGE4(at) MODULES_AT + (at) * 0x1000UL + _PAGE_KERNEL, MODULES_AT + ((at) + 1) * 0x1000UL + _PAGE_KERNEL, MODULES_AT + ((at) + 2) * 0x1000UL + _PAGE_KERNEL, MODULES_AT + ((at) + 3) * 0x1000UL + _PAGE_KERNEL
#define PAGE16(at) PAGE4(at), PAGE4((at) + 4), PAGE4((at) + 8), PAGE4((at) + 12)

unsigned long level2_kernel_pgt[PTES] __page_aligned = { ALL_MEMORY(_PAGE_KERNEL_LARGE) };
unsigned long level2_direct_pgt[PTES] __page_aligned = { ALL_MEMORY(_PAGE_DATA_LARGE) };
unsigned long level1_modules_pgt[PTES] __page_aligned = { PAGE16(0), PAGE16(16) };
unsigned long level2_modules_pgt[PTES] __page_aligned = { PA_KERNEL(level1_modules_pgt) + _PAGE_KERNEL_TABLE };
unsigned long level3_kernel_pgt[PTES] __page_aligned = {
	[510] = PA_KERNEL(level2_kernel_pgt) + _PAGE_KERNEL_TABLE,
	[511] = PA_KERNEL(level2_modules_pgt) + _PAGE_KERNEL_TABLE,
};
unsigned long level3_direct_pgt[PTES] __page_aligned = { PA_KERNEL(level2_direct_pgt) + _PAGE_KERNEL_TABLE };

/* The upper half, which every address space has: the direct map, the kernel's image and the modules. */
#define KERNEL_HALF                                                                                                    \
	[273] = { PA_KERNEL(level3_direct_pgt) + _PAGE_KERNEL_TABLE },                                                 \
	[511] = { PA_KERNEL(level3_kernel_pgt) + _PAGE_KERNEL_TABLE }

pgd_t init_top_pgt[PTES] __page_aligned = { KERNEL_HALF };

/* --- Address spaces ---------------------------------------------------------------------------------------------- */

struct mm_struct init_mm = {
	{ .pgd = init_top_pgt, .mm_users = { 2 }, .mm_count = { 1 } },
};

/* A process has one page of stack at the top of its half, where its arguments are. */
#define STACK_PAGE 0x7ffd0a3ff000UL
#define ARGS_AT 0x3a8
#define INDEX(level) ((STACK_PAGE >> (level)) & (PTES - 1))

#define USER(id, text)                                                                                                 \
	static struct { char before[ARGS_AT]; char args[PAGE_SIZE - ARGS_AT]; } id##_page __slab __page_aligned =      \
		{ .args = text };                                                                                      \
	static unsigned long id##_pte[PTES] __slab __page_aligned = { [INDEX(12)] = PA_DIRECT(&id##_page) + _PAGE_USER }; \
	static unsigned long id##_pmd[PTES] __slab __page_aligned = { [INDEX(21)] = PA_DIRECT(id##_pte) + _PAGE_TABLE }; \
	static unsigned long id##_pud[PTES] __slab __page_aligned = { [INDEX(30)] = PA_DIRECT(id##_pmd) + _PAGE_TABLE }; \
	static pgd_t id##_pgd[PTES] __slab __page_aligned = {                                                          \
		[INDEX(39)] = { PA_DIRECT(id##_pud) + _PAGE_TABLE }, KERNEL_HALF };                                    \
	static struct mm_struct id##_mm __slab = { {                                                                   \
		.pgd = id##_pgd, .mm_users = { 1 }, .mm_count = { 1 }, .map_count = 1, .total_vm = 1,                  \
		.task_size = 0x7ffffffff000UL, .start_stack = STACK_PAGE + ARGS_AT - 8,                                \
		.arg_start = STACK_PAGE + ARGS_AT, .arg_end = STACK_PAGE + ARGS_AT + sizeof(text) - 1,                 \
		.env_start = STACK_PAGE + ARGS_AT + sizeof(text) - 1, .env_end = STACK_PAGE + ARGS_AT + sizeof(text) - 1, \
	} };
DEMO_USERS(USER)
#undef USER

/* --- Tasks ------------------------------------------------------------------------------------------------------- */

/* Numbers of the tasks in the array below; first and last are init_task, whose place is not in it. */
enum {
	NR_none = -2,
	NR_init = -1,
#define TASK(id, ...) NR_##id,
	DEMO_TASKS(TASK)
#undef TASK
	NR_TASKS
};

/* Which tasks have an address space: kernel threads have none. */
enum {
#define USER(id, text) HAS_MM_##id = 1,
	DEMO_USERS(USER)
#undef USER
	HAS_MM_kthreadd = 0, HAS_MM_rcu_gp = 0, HAS_MM_kworker = 0, HAS_MM_kswapd = 0
};
#define kthreadd_mm init_mm
#define rcu_gp_mm init_mm
#define kworker_mm init_mm
#define kswapd_mm init_mm

extern struct task_struct init_task;
extern struct task_struct tasks[NR_TASKS];
extern struct signal_struct signals[NR_TASKS];
extern struct signal_struct init_signals;
extern struct cred creds[NR_TASKS];
extern struct cred init_cred;

#define TASK_AT(nr) ((nr) < 0 || (nr) >= NR_TASKS ? &init_task : &tasks[(nr) < 0 || (nr) >= NR_TASKS ? 0 : (nr)])

/* The neighbour in a list of children: a sibling, or at the ends the parent's head. */
#define SIBLING(nr, parent_nr) ((nr) == NR_none ? &TASK_AT(parent_nr)->children : &TASK_AT(nr)->sibling)
/* The first or last child: its own head where there is none. */
#define CHILD(nr, own_nr) ((nr) == NR_none ? &TASK_AT(own_nr)->children : &TASK_AT(nr)->sibling)

struct cred init_cred = { .usage = { 4 } };
struct signal_struct init_signals = {
	.live = { 1 }, .nr_threads = 1, .thread_head = { &init_task.thread_node, &init_task.thread_node },
};

struct task_struct init_task = {
	.thread_info = { .cpu = 0 },
	.flags = PF_KTHREAD | PF_IDLE,
	.on_cpu = 1,
	.prio = 120,
	.static_prio = 120,
	.tasks = { &tasks[0].tasks, &tasks[NR_TASKS - 1].tasks },
	.active_mm = &init_mm,
	.real_parent = &init_task,
	.parent = &init_task,
	.children = { &tasks[NR_systemd].sibling, &tasks[NR_kthreadd].sibling },
	.sibling = { &init_task.sibling, &init_task.sibling },
	.group_leader = &init_task,
	.thread_group = { &init_task.thread_group, &init_task.thread_group },
	.thread_node = { &init_signals.thread_head, &init_signals.thread_head },
	.real_cred = &init_cred,
	.cred = &init_cred,
	.comm = "swapper/0",
	.signal = &init_signals,
};

struct task_struct tasks[NR_TASKS] __slab = {
#define TASK(id, _pid, _tgid, _comm, _uid, _gid, _flags, start_ms, _parent, _prev, _next, _first, _last)               \
	[NR_##id] = {                                                                                                  \
		.__state = 1,                                                                                          \
		.flags = _flags,                                                                                       \
		.prio = 120,                                                                                           \
		.static_prio = 120,                                                                                    \
		.tasks = { &TASK_AT(NR_##id + 1)->tasks, &TASK_AT(NR_##id - 1)->tasks },                               \
		.mm = HAS_MM_##id ? &id##_mm : NULL,                                                                   \
		.active_mm = HAS_MM_##id ? &id##_mm : &init_mm,                                                        \
		.pid = _pid,                                                                                           \
		.tgid = _tgid,                                                                                         \
		.real_parent = TASK_AT(NR_##_parent),                                                                  \
		.parent = TASK_AT(NR_##_parent),                                                                       \
		.children = { CHILD(NR_##_first, NR_##id), CHILD(NR_##_last, NR_##id) },                               \
		.sibling = { SIBLING(NR_##_next, NR_##_parent), SIBLING(NR_##_prev, NR_##_parent) },                   \
		.group_leader = &tasks[NR_##id],                                                                       \
		.thread_group = { &tasks[NR_##id].thread_group, &tasks[NR_##id].thread_group },                        \
		.thread_node = { &signals[NR_##id].thread_head, &signals[NR_##id].thread_head },                       \
		.utime = 1000000,                                                                                      \
		.stime = 2000000,                                                                                      \
		.start_time = start_ms * 1000000UL,                                                                    \
		.start_boottime = start_ms * 1000000UL,                                                                \
		.real_cred = &creds[NR_##id],                                                                          \
		.cred = &creds[NR_##id],                                                                               \
		.comm = _comm,                                                                                         \
		.signal = &signals[NR_##id],                                                                           \
	},
	DEMO_TASKS(TASK)
#undef TASK
};

struct cred creds[NR_TASKS] __slab = {
#define TASK(id, _pid, _tgid, _comm, _uid, _gid, ...)                                                                  \
	[NR_##id] = { { 1 }, { _uid }, { _gid }, { _uid }, { _gid }, { _uid }, { _gid }, { _uid }, { _gid } },
	DEMO_TASKS(TASK)
#undef TASK
};

struct signal_struct signals[NR_TASKS] __slab = {
#define TASK(id, ...)                                                                                                  \
	[NR_##id] = { { 1 }, 1, { &tasks[NR_##id].thread_node, &tasks[NR_##id].thread_node } },
	DEMO_TASKS(TASK)
#undef TASK
};

/* --- Modules ----------------------------------------------------------------------------------------------------- */

extern struct list_head modules;

enum {
#define MODULE(id, ...) MODULE_##id,
	DEMO_MODULES(MODULE)
#undef MODULE
	NR_MODULES
};

/* The memory of each module: its code, then the page with its struct module. */
#define MODULE(id, _name, pages)                                                                                       \
	static struct {                                                                                                \
		u8 text[(pages) * PAGE_SIZE];                                                                          \
		struct module this_module __page_aligned;                                                              \
	} id##_image __attribute__((section(".modules"), used)) __page_aligned;
DEMO_MODULES(MODULE)
#undef MODULE

/* The list of modules by number, so that each can name its neighbours. */
#define LINK(nr)                                                                                                       \
	((nr) == MODULE_demo ? &demo_image.this_module.list :                                                          \
	 (nr) == MODULE_ext4 ? &ext4_image.this_module.list :                                                          \
	 (nr) == MODULE_jbd2 ? &jbd2_image.this_module.list :                                                          \
	 (nr) == MODULE_mbcache ? &mbcache_image.this_module.list :                                                    \
	 (nr) == MODULE_virtio_net ? &virtio_net_image.this_module.list : &modules)

#define MODULE(id, _name, pages)                                                                                       \
	_Static_assert(sizeof(id##_image) == DEMO_MODULE_BYTES(pages), "truth.c prints this size");                    \
	static typeof(id##_image) id##_image = {                                                                       \
		.text = { 0xc3 },                                                                                      \
		.this_module = {                                                                                       \
			.state = MODULE_STATE_LIVE,                                                                    \
			.list = { LINK(MODULE_##id + 1), LINK(MODULE_##id - 1) },                                      \
			.name = _name,                                                                                 \
			.core_layout = { id##_image.text, sizeof(id##_image), (pages) * PAGE_SIZE, (pages) * PAGE_SIZE }, \
		},                                                                                                     \
	};
DEMO_MODULES(MODULE)
#undef MODULE

struct list_head modules = { LINK(0), LINK(NR_MODULES - 1) };
