/* A web service that greets and tells which platform it was compiled for. */
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef VERSION
#define VERSION "development"
#endif

enum { DESCRIPTION_MAX = 512, DEFAULT_PORT = 8080 };

static void describe(char *text) {
  struct utsname machine;
  if (uname(&machine) != 0) {
    strcpy(machine.machine, "unknown");
  }
  snprintf(text, DESCRIPTION_MAX, "greeter %s: %zu-bit, machine %s, libmicrohttpd %s\n", VERSION,
           sizeof(void *) * 8, machine.machine, MHD_get_version());
}

static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload, size_t *upload_size,
                              void **state) {
  (void)context, (void)version, (void)upload, (void)upload_size, (void)state;
  char text[DESCRIPTION_MAX];
  unsigned int status = MHD_HTTP_OK;
  if (strcmp(method, "GET") != 0) {
    status = MHD_HTTP_METHOD_NOT_ALLOWED;
    strcpy(text, "only GET is answered\n");
  } else if (strcmp(url, "/") == 0) {
    describe(text);
  } else if (strcmp(url, "/health") == 0) {
    strcpy(text, "ok\n");
  } else {
    status = MHD_HTTP_NOT_FOUND;
    strcpy(text, "nothing here\n");
  }
  struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
  enum MHD_Result queued = MHD_queue_response(connection, status, response);
  MHD_destroy_response(response);
  return queued;
}

static int serve(unsigned short port) {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGINT);
  sigaddset(&stop, SIGTERM);
  sigprocmask(SIG_BLOCK, &stop, NULL);
  struct MHD_Daemon *daemon =
      MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, port, NULL, NULL, &answer, NULL, MHD_OPTION_END);
  if (daemon == NULL) {
    fprintf(stderr, "greeter: port %u cannot be opened\n", port);
    return EXIT_FAILURE;
  }
  printf("greeter: listening on port %u\n", port);
  fflush(stdout);
  int received;
  sigwait(&stop, &received);
  MHD_stop_daemon(daemon);
  return EXIT_SUCCESS;
}

int main(int count, char **words) {
  if (count == 2 && strcmp(words[1], "--describe") == 0) {
    char text[DESCRIPTION_MAX];
    describe(text);
    fputs(text, stdout);
    return EXIT_SUCCESS;
  }
  long port = DEFAULT_PORT;
  if (count == 3 && strcmp(words[1], "--port") == 0) {
    port = strtol(words[2], NULL, 10);
  } else if (count != 1) {
    fprintf(stderr, "usage: greeter [--port PORT | --describe]\n");
    return 2;
  }
  if (port < 1 || port > 65535) {
    fprintf(stderr, "greeter: %s is not a port\n", words[2]);
    return 2;
  }
  return serve((unsigned short)port);
}
