/* portwait: wait until somebody listens on a TCP port; for start-up scripts and health checks.
 *
 *   portwait 10.0.0.5:5432 30    exit 0 as soon as the port is open, 1 if it is not within 30 s
 */
#include <arpa/inet.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#ifndef VERSION
#define VERSION "0"
#endif
#if defined(__x86_64__)
#define BUILT_FOR "x86_64"
#elif defined(__i386__)
#define BUILT_FOR "i386"
#elif defined(__aarch64__)
#define BUILT_FOR "aarch64"
#else
#define BUILT_FOR "another machine"
#endif

static int is_open(const struct sockaddr_in *there) {
    struct timeval patience = {.tv_sec = 1};
    int one = socket(AF_INET, SOCK_STREAM, 0);
    if (one < 0)
        return 0;
    setsockopt(one, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* bounds connect() too */
    int opened = connect(one, (const struct sockaddr *)there, sizeof *there) == 0;
    close(one);
    return opened;
}

static int usage(void) {
    fprintf(stderr, "usage: portwait ADDRESS:PORT [SECONDS] | --version\n");
    return 2;
}

int main(int count, char **words) {
    struct sockaddr_in there = {.sin_family = AF_INET};
    const struct timespec pause = {.tv_nsec = 100L * 1000 * 1000};
    struct utsname machine;
    if (count == 2 && strcmp(words[1], "--version") == 0) {
        uname(&machine);
        printf("portwait %s, built for %s, pointers of %zu bits, running on %s\n", VERSION, BUILT_FOR,
               sizeof(void *) * CHAR_BIT, machine.machine);
        return 0;
    }
    char *colon = count == 2 || count == 3 ? strrchr(words[1], ':') : NULL;
    if (colon == NULL)
        return usage();
    *colon = '\0';
    there.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, words[1], &there.sin_addr) != 1)
        return usage();
    time_t end = time(NULL) + (count == 3 ? atoi(words[2]) : 30);
    while (!is_open(&there)) {
        if (time(NULL) >= end) {
            fprintf(stderr, "portwait: %s:%s is not open\n", words[1], colon + 1);
            return 1;
        }
        nanosleep(&pause, NULL);
    }
    return 0;
}
