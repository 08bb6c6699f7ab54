/* Prints what runs on the demo machine (machine.h), one record a line, fields separated by tabs:
 *
 *   banner  TEXT
 *   task    PID  PPID  UID  GID  START  NAME      every process; START is UTC
 *   args    PID  ARGUMENTS                        separated by a space; of tasks with a user address space only
 *   module  NAME  SIZE                            SIZE in bytes
 *
 * in the order of the kernel's lists.
 */
#include <stdio.h>
#include <time.h>
#include "machine.h"

enum { PID_init = 0,
#define TASK(id, pid, ...) PID_##id = (pid),
	DEMO_TASKS(TASK)
#undef TASK
};

static void task(int pid, int ppid, int uid, int gid, long start_ms, const char *name)
{
	time_t start = DEMO_BOOT_SECONDS + start_ms / 1000;
	char text[32];

	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime(&start));
	printf("task\t%d\t%d\t%d\t%d\t%s\t%s\n", pid, ppid, uid, gid, text, name);
}

static void args(int pid, const char *text, size_t bytes)
{
	printf("args\t%d\t", pid);
	for (size_t i = 0; i + 1 < bytes; i++)
		putchar(text[i] ? text[i] : ' ');
	putchar('\n');
}

int main(void)
{
	printf("banner\t%s\n", DEMO_BANNER);
	task(0, 0, 0, 0, 0, "swapper/0");
#define TASK(id, pid, tgid, comm, uid, gid, flags, start_ms, parent, ...) task(pid, PID_##parent, uid, gid, start_ms, comm);
	DEMO_TASKS(TASK)
#define USER(id, text) args(PID_##id, text, sizeof(text) - 1);
	DEMO_USERS(USER)
#define MODULE(id, name, pages) printf("module\t%s\t%d\n", name, DEMO_MODULE_BYTES(pages));
	DEMO_MODULES(MODULE)
	return 0;
}
