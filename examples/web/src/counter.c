/* counter: a web service that counts visits in SQLite and says what machine it runs on.
 *
 *   GET /         {"visits": 3, "machine": "aarch64", "pointer_bits": 64}
 *   GET /healthz  ok
 *
 * PORT (8080) and DATABASE (/data/visits.db) come from the environment. One request at a time: SQLite has
 * one writer anyway.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/utsname.h>
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
#define REQUEST_SECONDS 5

static volatile sig_atomic_t stopping;

static void stop(int number) {
    (void)number;
    stopping = 1;
}

static void fail(const char *what, const char *why) {
    fprintf(stderr, "counter: %s: %s\n", what, why);
    exit(1);
}

static sqlite3 *open_database(const char *path) {
    sqlite3 *database;
    const char *schema = "CREATE TABLE IF NOT EXISTS visits (at INTEGER NOT NULL)";
    if (sqlite3_open(path, &database) != SQLITE_OK ||
        sqlite3_exec(database, schema, NULL, NULL, NULL) != SQLITE_OK)
        fail(path, sqlite3_errmsg(database));
    return database;
}

static int read_count(void *count, int columns, char **values, char **names) {
    (void)columns;
    (void)names;
    *(long *)count = values[0] ? strtol(values[0], NULL, 10) : 0;
    return 0;
}

static long visit(sqlite3 *database) {
    long count = -1;
    const char *add = "INSERT INTO visits VALUES (unixepoch()); SELECT count(*) FROM visits";
    if (sqlite3_exec(database, add, read_count, &count, NULL) != SQLITE_OK)
        fprintf(stderr, "counter: %s\n", sqlite3_errmsg(database));
    return count;
}

static void respond(int client, const char *status, const char *type, const char *body) {
    char head[256];
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                          status, type, strlen(body));
    /* A client that went away is no error; SIGPIPE is ignored. */
    if (send(client, head, (size_t)length, 0) == length)
        (void)!send(client, body, strlen(body), 0);
}

static void serve(int client, sqlite3 *database) {
    char request[4096], body[256];
    struct timeval patience = {.tv_sec = REQUEST_SECONDS};
    struct utsname machine;
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    ssize_t length = recv(client, request, sizeof request - 1, 0);
    if (length <= 0)
        return;
    request[length] = '\0';
    uname(&machine);
    if (strncmp(request, "GET /healthz ", 13) == 0) {
        respond(client, "200 OK", "text/plain", "ok\n");
    } else if (strncmp(request, "GET / ", 6) == 0) {
        snprintf(body, sizeof body, "{\"visits\": %ld, \"machine\": \"%s\", \"pointer_bits\": %zu}\n",
                 visit(database), machine.machine, sizeof(void *) * CHAR_BIT);
        respond(client, "200 OK", "application/json", body);
    } else {
        respond(client, "404 Not Found", "text/plain", "not found\n");
    }
}

static int listen_on(const char *port) {
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (listener < 0 || bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, 64) < 0)
        fail(port, strerror(errno));
    return listener;
}

static void print_version(void) {
    struct utsname machine;
    uname(&machine);
    printf("counter %s, built for %s, pointers of %zu bits, SQLite %s, running on %s\n", VERSION, BUILT_FOR,
           sizeof(void *) * CHAR_BIT, sqlite3_libversion(), machine.machine);
}

int main(int count, char **words) {
    const char *port = getenv("PORT"), *path = getenv("DATABASE");
    struct sigaction on_stop = {.sa_handler = stop}; /* no SA_RESTART: accept() must return */
    if (count > 1 && strcmp(words[1], "--version") == 0) {
        print_version();
        return 0;
    }
    sigaction(SIGTERM, &on_stop, NULL);
    sigaction(SIGINT, &on_stop, NULL);
    signal(SIGPIPE, SIG_IGN);
    sqlite3 *database = open_database(path ? path : "/data/visits.db");
    int listener = listen_on(port ? port : "8080");
    while (!stopping) {
        int client = accept(listener, NULL, NULL);
        if (client < 0)
            continue;
        serve(client, database);
        close(client);
    }
    sqlite3_close(database);
    return 0;
}
