/* Verbs about sockets. */
#define _GNU_SOURCE
#include "probe.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { WAIT_MS = 3000 };

static int tcp(void) {
    struct timeval wait = {WAIT_MS / 1000, 0};
    int socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0)
        refused_by_errno();
    setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    return socket_;
}

static struct sockaddr_in address_of(const char *host, const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number(port))};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        broken("%s is no address", host);
    return address;
}

static void connect_to(char **a) {
    struct sockaddr_in address = address_of(a[0], a[1]);
    answer(connect(tcp(), (struct sockaddr *)&address, sizeof address));
}

/* Data in the first packet, without a call of connect. */
static void fast_open(char **a) {
    struct sockaddr_in address = address_of(a[0], a[1]);
    answer(sendto(tcp(), "hello", 5, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&address, sizeof address));
}

static void multipath(char **a) {
    struct sockaddr_in address = address_of(a[0], a[1]);
    int socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 262);
    if (socket_ < 0)
        refused_by_errno();
    answer(connect(socket_, (struct sockaddr *)&address, sizeof address));
}

static void connect_own(char **a) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = tcp();
    (void)a;
    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        refused_by_errno();
    answer(connect(tcp(), (struct sockaddr *)&address, length));
}

static void send_datagram(char **a) {
    struct sockaddr_in address = address_of(a[0], a[1]);
    char text[16];
    struct timeval wait = {0, 300000};
    int socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0 || connect(socket_, (struct sockaddr *)&address, sizeof address) < 0 || send(socket_, "hello", 5, 0) < 0)
        refused_by_errno();
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    /* Who listens on the host answers nothing; a port without a listener does. */
    if (recv(socket_, text, sizeof text, 0) < 0 && errno != EAGAIN)
        refused_by_errno();
    got("sent");
}

static void send_own_datagram(char **a) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    char text[16];
    int receiver = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    (void)a;
    if (receiver < 0 || sender < 0 || bind(receiver, (struct sockaddr *)&address, length) < 0 ||
        getsockname(receiver, (struct sockaddr *)&address, &length) < 0 ||
        sendto(sender, "hello", 5, 0, (struct sockaddr *)&address, length) < 0)
        refused_by_errno();
    answer(recv(receiver, text, sizeof text, 0));
}

/* A name that begins with @ is abstract. */
static socklen_t local_address(struct sockaddr_un *address, const char *name) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    snprintf(address->sun_path, sizeof address->sun_path, "%s", name);
    if (name[0] == '@')
        address->sun_path[0] = 0;
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + (name[0] == '@' ? 0 : 1));
}

static void connect_local(char **a) {
    struct sockaddr_un address;
    socklen_t length = local_address(&address, a[0]);
    int socket_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0)
        refused_by_errno();
    answer(connect(socket_, (struct sockaddr *)&address, length));
}

static void connect_own_local(char **a) {
    struct sockaddr_un address;
    socklen_t length = local_address(&address, a[0]);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 1) < 0)
        refused_by_errno();
    connect_local(a);
}

static void send_local(char **a) {
    struct sockaddr_un address;
    socklen_t length = local_address(&address, a[0]);
    int socket_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0)
        refused_by_errno();
    answer(sendto(socket_, "hello", 5, 0, (struct sockaddr *)&address, length));
}

static void send_own_local(char **a) {
    struct sockaddr_un address;
    socklen_t length = local_address(&address, a[0]);
    int receiver = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (receiver < 0 || bind(receiver, (struct sockaddr *)&address, length) < 0)
        refused_by_errno();
    send_local(a);
}

static void see_interfaces(char **a) {
    struct if_nameindex *interfaces = if_nameindex();
    (void)a;
    if (!interfaces)
        refused_by_errno();
    for (struct if_nameindex *each = interfaces; each->if_index; each++)
        if (strcmp(each->if_name, "lo") != 0)
            got("%s", each->if_name);
    refused("loopback alone");
}

static void see_loopback(char **a) {
    (void)a;
    answer((long)if_nametoindex("lo") - 1);
}

/* Asks the kernel to remove an interface that does not exist: whoever may not is told before it is looked for. */
static void remove_interface(char **a) {
    struct {
        struct nlmsghdr head;
        struct ifinfomsg link;
    } request = {.head = {.nlmsg_len = sizeof request, .nlmsg_type = RTM_DELLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
                 .link = {.ifi_family = AF_UNSPEC, .ifi_index = 0x7ffffff0}};
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char rest[256];
    } reply;
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    (void)a;
    if (netlink < 0 || send(netlink, &request, sizeof request, 0) < 0 || recv(netlink, &reply, sizeof reply, 0) < 0)
        refused_by_errno();
    errno = -reply.error.error;
    if (errno == EPERM || errno == EACCES)
        refused_by_errno();
    got("past the check: %s", strerrorname_np(errno));
}

static void mark_packets(char **a) {
    int mark = 1;
    (void)a;
    answer(setsockopt(tcp(), SOL_SOCKET, SO_MARK, &mark, sizeof mark));
}

static void set_option(char **a) {
    int on = 1;
    (void)a;
    answer(setsockopt(tcp(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
}

/* Whether the kernel's table of sockets has a listener on that port. */
static void see_listener(char **a) {
    char line[512], wanted[16];
    FILE *file = fopen("/proc/net/tcp", "re");
    if (!file)
        refused_by_errno();
    snprintf(wanted, sizeof wanted, ":%04lX", number(a[0]));
    while (fgets(line, sizeof line, file))
        if (strstr(line, wanted) && strstr(line, " 0A "))
            got("it is there");
    refused("not in the table");
}

static void read_table(char **a) {
    char text[64];
    int file = open("/proc/net/tcp", O_RDONLY | O_CLOEXEC);
    (void)a;
    answer(file < 0 ? -1 : read(file, text, sizeof text));
}

/* Turns \r, \n, \0 and \s into what they stand for. */
static size_t unescape(char *text) {
    char *to = text;
    for (char *from = text; *from; from++) {
        if (from[0] != '\\' || !from[1]) {
            *to++ = *from;
            continue;
        }
        from++;
        *to++ = *from == 'r' ? '\r' : *from == 'n' ? '\n' : *from == '0' ? '\0' : *from == 's' ? ' ' : *from;
    }
    return (size_t)(to - text);
}

/* Sends a request, as it is, to the proxy that the environment names; where there is none, opens what the request is for
 * by itself, as a program without a proxy would. GOT when the far side answers with that word. */
static void ask_proxy(char **a) {
    char host[256], text[1024];
    const char *proxy = getenv("http_proxy");
    unsigned port = 0;
    struct sockaddr_in address;
    size_t length = unescape(a[0]), n_read = 0;
    a[2][unescape(a[2])] = 0;
    if (proxy && sscanf(proxy, "http://%255[0-9.]:%u", host, &port) == 2) {
        snprintf(text, sizeof text, "%u", port);
        address = address_of(host, text);
    } else {
        address = address_of("127.0.0.1", a[1]);
    }
    int socket_ = tcp();
    if (connect(socket_, (struct sockaddr *)&address, sizeof address) < 0)
        refused_by_errno();
    if (send(socket_, a[0], length, MSG_NOSIGNAL) < 0)
        refused_by_errno();
    for (ssize_t n; n_read < sizeof text - 1 && (n = recv(socket_, text + n_read, sizeof text - 1 - n_read, 0)) > 0;) {
        n_read += (size_t)n;
        text[n_read] = 0;
        if (strstr(text, a[2]))
            got("the far side answered");
        /* Through a tunnel the far side is asked once more. */
        if (n_read == (size_t)n && strncmp(text, "HTTP/1.1 200", 12) == 0)
            send(socket_, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, MSG_NOSIGNAL);
    }
    text[n_read] = 0;
    text[strcspn(text, "\r\n")] = 0;
    refused("%s", n_read ? text : "no answer");
}

const struct verb network_verbs[] = {
    {"connect", 2, connect_to},
    {"fast-open", 2, fast_open},
    {"multipath", 2, multipath},
    {"connect-own", 0, connect_own},
    {"send-datagram", 2, send_datagram},
    {"send-own-datagram", 0, send_own_datagram},
    {"connect-local", 1, connect_local},
    {"connect-own-local", 1, connect_own_local},
    {"send-local", 1, send_local},
    {"send-own-local", 1, send_own_local},
    {"see-interfaces", 0, see_interfaces},
    {"see-loopback", 0, see_loopback},
    {"remove-interface", 0, remove_interface},
    {"mark-packets", 0, mark_packets},
    {"set-option", 0, set_option},
    {"see-listener", 1, see_listener},
    {"read-table", 0, read_table},
    {"ask-proxy", 3, ask_proxy},
    {NULL, 0, NULL},
};
