//! Attempts at the network: listeners of the host, the run's own status API, and the way around the proxy.

use super::attempt::{Attempt, Class, Round};

const fn net(name: &'static str, attack: &'static str, twin: &'static str) -> Attempt {
    Attempt::new(Class::Network, name, attack, twin)
}

/// A request to the proxy. Without one the same is asked of the target itself.
const fn proxied(name: &'static str, attack: &'static str) -> Attempt {
    net(name, attack, TUNNEL).round(Round::Proxy)
}

const TUNNEL: &str = r"ask-proxy CONNECT\s127.0.0.1:{allowed}\sHTTP/1.1\r\nHost:\s127.0.0.1:{allowed}\r\n\r\n {allowed} by-a-rule";
const DEPENDS: &str = "not every host has it";
const NO_SUPERVISOR: &str = "without a supervisor there is none to reach";

pub const ATTEMPTS: &[Attempt] = &[
    net("host-loopback", "connect 127.0.0.1 {port}", "connect-own"),
    net("host-address", "connect {address} {port}", "connect-own"),
    net("fast-open", "fast-open 127.0.0.1 {port}", "connect-own"),
    net("multipath", "multipath 127.0.0.1 {port}", "connect-own").unproven(DEPENDS),
    net(
        "host-datagram",
        "send-datagram 127.0.0.1 {udp}",
        "send-own-datagram",
    ),
    net(
        "address-datagram",
        "send-datagram {address} {udp}",
        "send-own-datagram",
    ),
    net("status-port", "connect 127.0.0.1 {api}", "connect-own"),
    net(
        "status-socket",
        "connect-local {api-socket}",
        "connect-own-local {workspace}/own.sock",
    ),
    net(
        "abstract-socket",
        "connect-local @{stream}",
        "connect-own-local @{tag}-own",
    ),
    net(
        "abstract-datagram",
        "send-local @{datagram}",
        "send-own-local @{tag}-own-datagram",
    ),
    net(
        "path-socket",
        "connect-local {outside}/path.sock",
        "connect-own-local {workspace}/own-2.sock",
    ),
    net(
        "linked-socket",
        "connect-local {workspace}/socket-out",
        "connect-own-local $TMPDIR/{tag}-own.sock",
    ),
    net("see-interfaces", "see-interfaces", "see-loopback").unproven(DEPENDS),
    net("remove-interface", "remove-interface", "see-loopback").root(),
    net("mark-packets", "mark-packets", "set-option").root(),
    net("see-listener", "see-listener {port}", "read-table"),
    proxied(
        "tunnel-to-loopback",
        r"ask-proxy CONNECT\s127.0.0.1:{port}\sHTTP/1.1\r\nHost:\s127.0.0.1:{port}\r\n\r\n {port} open",
    ),
    proxied(
        "request-to-loopback",
        r"ask-proxy GET\shttp://127.0.0.1:{port}/\sHTTP/1.1\r\nHost:\s127.0.0.1:{port}\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-to-name",
        r"ask-proxy CONNECT\slocalhost:{port}\sHTTP/1.1\r\nHost:\slocalhost:{port}\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-to-dotted-name",
        r"ask-proxy CONNECT\slocalhost.:{port}\sHTTP/1.1\r\nHost:\sx\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-to-mapped",
        r"ask-proxy CONNECT\s[::ffff:127.0.0.1]:{port}\sHTTP/1.1\r\nHost:\sx\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-to-number",
        r"ask-proxy CONNECT\s2130706433:{port}\sHTTP/1.1\r\nHost:\sx\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-to-hexadecimal",
        r"ask-proxy CONNECT\s0x7f000001:{port}\sHTTP/1.1\r\nHost:\sx\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-to-short",
        r"ask-proxy CONNECT\s127.1:{port}\sHTTP/1.1\r\nHost:\sx\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-to-octal",
        r"ask-proxy CONNECT\s0177.0.0.1:{port}\sHTTP/1.1\r\nHost:\sx\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-to-any",
        r"ask-proxy CONNECT\s0.0.0.0:{port}\sHTTP/1.1\r\nHost:\sx\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-to-neighbour",
        r"ask-proxy CONNECT\s127.0.0.2:{port}\sHTTP/1.1\r\nHost:\sx\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-to-host",
        r"ask-proxy CONNECT\s{address}:{port}\sHTTP/1.1\r\nHost:\sx\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-past-nul",
        r"ask-proxy CONNECT\s127.0.0.1:{port}\0.example.com:80\sHTTP/1.1\r\nHost:\sx\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-with-user",
        r"ask-proxy CONNECT\sexample.com@127.0.0.1:{port}\sHTTP/1.1\r\nHost:\sx\r\n\r\n {port} open",
    ),
    proxied(
        "request-for-another-host",
        r"ask-proxy GET\shttp://127.0.0.1:{allowed}/\sHTTP/1.1\r\nHost:\s127.0.0.1:{port}\r\n\r\n {port} open",
    ),
    proxied(
        "request-of-two-lengths",
        r"ask-proxy POST\shttp://127.0.0.1:{allowed}/\sHTTP/1.1\r\nHost:\s127.0.0.1:{allowed}\r\nContent-Length:\s0\r\nContent-Length:\s9\r\n\r\n {port} open",
    ),
    proxied(
        "request-in-two-forms",
        r"ask-proxy POST\shttp://127.0.0.1:{allowed}/\sHTTP/1.1\r\nHost:\s127.0.0.1:{allowed}\r\nContent-Length:\s5\r\nTransfer-Encoding:\schunked\r\n\r\n0\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-to-status",
        r"ask-proxy CONNECT\s127.0.0.1:{api}\sHTTP/1.1\r\nHost:\sx\r\n\r\n {api} 1.1\s200",
    )
    .unproven(NO_SUPERVISOR),
    proxied(
        "second-request",
        r"ask-proxy GET\shttp://127.0.0.1:{allowed}/\sHTTP/1.1\r\nHost:\s127.0.0.1:{allowed}\r\n\r\nGET\shttp://127.0.0.1:{port}/\sHTTP/1.1\r\nHost:\s127.0.0.1:{port}\r\n\r\n {port} must-not",
    ),
    proxied(
        "request-with-user",
        r"ask-proxy GET\shttp://127.0.0.1:{allowed}@127.0.0.1:{port}/\sHTTP/1.1\r\nHost:\s127.0.0.1:{port}\r\n\r\n {port} open",
    ),
    proxied(
        "request-with-fragment",
        r"ask-proxy GET\shttp://127.0.0.1:{port}#@127.0.0.1:{allowed}/\sHTTP/1.1\r\nHost:\s127.0.0.1:{port}\r\n\r\n {port} open",
    ),
    proxied(
        "request-on-two-lines",
        r"ask-proxy GET\shttp://127.0.0.1:{allowed}/\sHTTP/1.1\nHost:\s127.0.0.1:{allowed}\n\n {port} open",
    ),
    proxied(
        "tunnel-to-scope",
        r"ask-proxy CONNECT\s[::1%25lo]:{port}\sHTTP/1.1\r\nHost:\sx\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-to-loopback-6",
        r"ask-proxy CONNECT\s[::1]:{port}\sHTTP/1.1\r\nHost:\sx\r\n\r\n {port} open",
    ),
    proxied(
        "tunnel-to-metadata",
        r"ask-proxy CONNECT\s169.254.169.254:80\sHTTP/1.1\r\nHost:\sx\r\n\r\n {port} 1.1\s200",
    ),
    proxied("past-the-proxy", "connect 127.0.0.1 {allowed}"),
    proxied("past-the-proxy-to-host", "connect {address} {allowed}"),
];
