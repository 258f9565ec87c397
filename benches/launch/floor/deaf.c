// Makes as many processes as it is told that ignore signals, every second one in a session of its own, and ends.
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM};
    for (unsigned i = 0; i < sizeof ignored / sizeof *ignored; i++) signal(ignored[i], SIG_IGN);
    int n_processes = argc > 1 ? atoi(argv[1]) : 0;
    for (int i = 0; i < n_processes; i++) {
        pid_t child = fork();
        if (child < 0) return 1;
        if (child > 0) continue;
        if (i % 2 == 0) setsid();
        for (;;) sleep(600);
    }
    return 0;
}
