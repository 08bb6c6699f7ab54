/*
 * The demo machine: what runs on it. Compiled into the kernel (kernel.c) and into the program that prints the truth
 * (truth.c), so that the two cannot disagree.
 *
 * TASK(id, pid, tgid, comm, uid, gid, flags, start_ms, parent, prev, next, first_child, last_child)
 *   parent, prev and next sibling, first and last child: an id; `none` ends a list. `init` is init_task.
 *   start_ms: when it was started, in milliseconds since boot.
 * USER(id, args): a task with a user address space, and its arguments, one after the other, each with its NUL.
 * MODULE(id, name, pages): a kernel module; the list of modules has the one loaded last at its head, as here.
 */

#define DEMO_RELEASE "6.1.0-quaid-demo"
#define DEMO_BANNER                                                                                                    \
	"Linux version " DEMO_RELEASE " (builder@quaid-demo) (gcc, GNU ld) #1 SMP PREEMPT_DYNAMIC Wed Mar  4 04:00:00 UTC 2026"
/* Seconds from 1970 to the boot: 2026-03-04T04:30:00Z. */
#define DEMO_BOOT_SECONDS 1772598600L

#define PF_IDLE 0x00000002
#define PF_KTHREAD 0x00200000
#define PF_FORKNOEXEC 0x00000040

#define DEMO_TASKS(TASK)                                                                                               \
	TASK(systemd, 1, 1, "systemd", 0, 0, 0x400100, 40, init, none, kthreadd, journald, getty)                      \
	TASK(kthreadd, 2, 2, "kthreadd", 0, 0, PF_KTHREAD, 40, init, systemd, none, rcu_gp, kswapd)                    \
	TASK(rcu_gp, 3, 3, "rcu_gp", 0, 0, PF_KTHREAD, 44, kthreadd, none, kworker, none, none)                        \
	TASK(kworker, 7, 7, "kworker/0:1-eve", 0, 0, PF_KTHREAD, 48, kthreadd, rcu_gp, kswapd, none, none)             \
	TASK(kswapd, 31, 31, "kswapd0", 0, 0, PF_KTHREAD, 120, kthreadd, kworker, none, none, none)                    \
	TASK(journald, 214, 214, "systemd-journal", 0, 0, 0x400100, 2210, systemd, none, sshd, none, none)             \
	TASK(sshd, 388, 388, "sshd", 0, 0, 0x400100, 3950, systemd, journald, getty, session, session)                 \
	TASK(getty, 391, 391, "agetty", 0, 0, 0x400000, 4003, systemd, sshd, none, none, none)                         \
	TASK(session, 502, 502, "sshd", 1000, 1000, 0x400140, 61250, sshd, none, none, shell, shell)                   \
	TASK(shell, 503, 503, "bash", 1000, 1000, 0x400000, 61400, session, none, none, miner, vim)                    \
	TASK(miner, 666, 666, "odd name;", 65534, 65534, 0x400040, 95001, shell, none, vim, none, none)                \
	TASK(vim, 671, 671, "vim", 1000, 1000, 0x400000, 102817, shell, miner, none, none, none)

#define DEMO_USERS(USER)                                                                                               \
	USER(systemd, "/sbin/init\0splash\0")                                                                          \
	USER(journald, "/lib/systemd/systemd-journald\0")                                                              \
	USER(sshd, "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups\0")                                        \
	USER(getty, "/sbin/agetty\0-o\0-p -- \\u\0--noclear\0tty1\0linux\0")                                           \
	USER(session, "sshd: user@pts/0\0")                                                                            \
	USER(shell, "-bash\0")                                                                                         \
	USER(miner, "./odd name;\0--quiet\0")                                                                          \
	USER(vim, "vim\0/home/user/notes.txt\0")

#define DEMO_MODULES(MODULE)                                                                                           \
	MODULE(demo, "quaid_demo", 3)                                                                               \
	MODULE(ext4, "ext4", 9)                                                                                        \
	MODULE(jbd2, "jbd2", 5)                                                                                        \
	MODULE(mbcache, "mbcache", 2)                                                                                  \
	MODULE(virtio_net, "virtio_net", 4)

/* A module is so many pages of code, and a page with its struct module. */
#define DEMO_MODULE_BYTES(pages) (((pages) + 1) * 4096)
