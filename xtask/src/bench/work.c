/* The work whose cost is measured: system calls that an enforcement tool sits on. Static and without dependencies, so
 * that what is measured is the kernel.
 *
 *   work CONDITION SCALE_PERCENT [landlock | apparmor PROFILE]
 *   true                     the same program by another name: what is executed, and does nothing
 *
 * One JSON line for each test. Every operation must end as the condition has it (denied or not), or the program fails:
 * a run in which nothing was enforced is no result. The paths are fixed, since their bytes are part of the cost. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLOSED_PORT 9 /* discard: nobody listens */
#define LISTENING_PORT 7777
#define DENIED_PORT 4444 /* nobody listens, and the policies deny it */

enum outcome { DONE, DENIED };
static int listener = -1;

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(1);
}

static enum outcome refused(const char *what)
{
	if (errno != EPERM && errno != EACCES)
		fail(what);
	return DENIED;
}

static enum outcome open_close(const char *path)
{
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return refused(path);
	close(fd);
	return DONE;
}

static enum outcome open2(void) { return open_close("/b/f"); }
static enum outcome open6(void) { return open_close("/b/d2/d3/d4/d5/f"); }
static enum outcome open12(void) { return open_close("/b/d2/d3/d4/d5/d6/d7/d8/d9/d10/d11/f"); }
static enum outcome open2_long(void) { return open_close("/b/test_name_of_24_bytes.py"); }
static enum outcome open_denied(void) { return open_close("/secret/key"); }

static struct sockaddr_in loopback(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static enum outcome connect_to(uint16_t port)
{
	struct sockaddr_in address = loopback(port);
	struct linger reset = { 1, 0 }; /* no connection lingers in the kernel and makes later ones dearer */
	enum outcome outcome = DONE;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0)
		fail("socket");
	if (connect(fd, (void *)&address, sizeof address)) {
		if (errno != ECONNREFUSED)
			outcome = refused("connect");
	} else {
		int accepted = accept(listener, NULL, NULL);
		if (accepted < 0)
			fail("accept");
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		close(accepted);
	}
	close(fd);
	return outcome;
}

static enum outcome connect_closed(void) { return connect_to(CLOSED_PORT); }
static enum outcome connect_accept(void) { return connect_to(LISTENING_PORT); }
static enum outcome connect_denied(void) { return connect_to(DENIED_PORT); }

static enum outcome fork_exec(void)
{
	char *argv[] = { "/b/true", NULL }, *environment[] = { NULL };
	int status;
	pid_t child = fork();
	if (child < 0)
		fail("fork");
	if (!child) {
		execve(argv[0], argv, environment);
		_exit(127);
	}
	if (waitpid(child, &status, 0) != child || status)
		fail("the executed program");
	return DONE;
}

static const struct test {
	const char *name;
	enum outcome (*operation)(void);
	int chunks, operations, forbidden;
} TESTS[] = {
	{ "open2", open2, 5, 400, 0 },
	{ "open6", open6, 5, 400, 0 },
	{ "open12", open12, 5, 400, 0 },
	{ "open2-long", open2_long, 5, 400, 0 },
	{ "connect-closed", connect_closed, 5, 240, 0 },
	{ "connect-accept", connect_accept, 5, 160, 0 },
	{ "fork-exec", fork_exec, 5, 160, 0 },
	{ "open-denied", open_denied, 5, 60, 1 },
	{ "connect-denied", connect_denied, 5, 60, 1 },
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double nanoseconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

/* Nanoseconds per operation. */
static double chunk(const struct test *test, int operations, enum outcome expected)
{
	double start = nanoseconds();
	for (int i = 0; i < operations; i++)
		if (test->operation() != expected) {
			fprintf(stderr, "%s: not decided as expected\n", test->name);
			exit(1);
		}
	return (nanoseconds() - start) / operations;
}

static void allow_below(int ruleset, const char *path, uint64_t access)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = open(path, O_PATH) };
	if (rule.parent_fd < 0 || syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
		fail(path);
	close(rule.parent_fd);
}

/* Three path rules; where the kernel's Landlock knows connections, also the two ports. */
static int landlock(void)
{
	struct { uint64_t files, network; } handled = { (1ull << 13) - 1, 1ull << 1 }; /* all of ABI 1; TCP connect */
	struct { uint64_t access, port; } ports[] = { { 1ull << 1, CLOSED_PORT }, { 1ull << 1, LISTENING_PORT } };
	uint64_t read = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
	int abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int ruleset = syscall(SYS_landlock_create_ruleset, &handled, abi >= 4 ? 16 : 8, 0);
	if (ruleset < 0)
		fail("landlock");
	allow_below(ruleset, "/b", read);
	allow_below(ruleset, "/usr", read);
	allow_below(ruleset, "/dev", handled.files);
	for (int i = 0; abi >= 4 && i < 2; i++)
		if (syscall(SYS_landlock_add_rule, ruleset, 2, &ports[i], 0))
			fail("landlock ports");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_landlock_restrict_self, ruleset, 0))
		fail("landlock_restrict_self");
	return abi >= 4;
}

static void apparmor(const char *profile)
{
	char request[128];
	int length = snprintf(request, sizeof request, "changeprofile %s", profile);
	int fd = open("/proc/self/attr/apparmor/current", O_WRONLY);
	if (fd < 0 || write(fd, request, length) != length)
		fail("apparmor");
	close(fd);
}

int main(int argc, char **argv)
{
	/* Which denials the condition has: of files, of connections. */
	int files, connections, one = 1;
	struct sockaddr_in address = loopback(LISTENING_PORT);
	if (argc < 3)
		return strcmp(argv[0], "/b/true") ? 2 : 0;
	files = connections = !strncmp(argv[1], "tagged", 6);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (void *)&address, sizeof address) || listen(listener, 128))
		fail("listen");
	if (argc > 3 && !strcmp(argv[3], "landlock")) {
		files = 1;
		connections = landlock();
	} else if (argc > 3 && !strcmp(argv[3], "wait")) {
		if (getchar() == EOF)
			fail("waiting");
	} else if (argc > 4) {
		files = 1;
		apparmor(argv[4]);
	}
	for (unsigned t = 0; t < sizeof TESTS / sizeof *TESTS; t++) {
		const struct test *test = &TESTS[t];
		int forbidden = test->forbidden && (test->operation == open_denied ? files : connections);
		enum outcome expected = forbidden ? DENIED : DONE;
		int operations = test->operations * atoi(argv[2]) / 100;
		double measured[64];
		if (operations < 1)
			operations = 1;
		chunk(test, operations / 4 + 1, expected); /* warms caches up */
		for (int c = 0; c < test->chunks; c++)
			measured[c] = chunk(test, operations, expected);
		qsort(measured, test->chunks, sizeof *measured, by_value);
		printf("{\"condition\":\"%s\",\"test\":\"%s\",\"least_ns\":%.1f,\"median_ns\":%.1f}\n", argv[1], test->name,
		       measured[0], measured[test->chunks / 2]);
		fflush(stdout);
	}
	return 0;
}
