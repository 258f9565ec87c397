"""A small internet inside one network namespace: names, servers with public addresses, and servers that nobody should reach.

usage: world.py DIRECTORY. It writes DIRECTORY/up when it serves and a line for each request to DIRECTORY/seen.
"""

import socket
import struct
import sys
import threading
import time

DIRECTORY = sys.argv[1]
PUBLIC = "93.184.216.34"
INNER = "127.0.0.1"
PRIVATE = "10.1.2.3"
METADATA = "169.254.169.254"
LOCK = threading.Lock()
turns = {"rebind.test": 0}


def addresses(name):
    if name == "rebind.test":
        # Another address at every second question.
        turns[name] += 1
        return [PUBLIC if turns[name] % 2 else INNER]
    return {
        "site.test": [PUBLIC],
        "www.site.test": [PUBLIC],
        "other.test": [PUBLIC],
        "inner.test": [INNER],
        "mixed.test": [INNER, PUBLIC],
        "private.test": [PRIVATE],
        "metadata.test": [METADATA],
    }.get(name)


def see(line):
    with LOCK, open(DIRECTORY + "/seen", "a") as seen:
        seen.write(line + "\n")


def serve_names(server):
    while True:
        question, client = server.recvfrom(2048)
        at, labels = 12, []
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        at += 5
        name = ".".join(labels)
        is_v4 = question[at - 3] == 1
        found = addresses(name) if is_v4 else ([] if name in turns or addresses(name) else None)
        flags = 0x8180 if found is not None else 0x8183
        answer = question[:2] + struct.pack(">HHHHH", flags, 1, len(found or []), 0, 0) + question[12:at]
        for address in found or []:
            answer += struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(address)
        server.sendto(answer, client)


def serve_http(place, server):
    while True:
        client, _ = server.accept()
        threading.Thread(target=answer_http, args=(place, client), daemon=True).start()


def answer_http(place, client):
    with client:
        text = b""
        while b"\r\n\r\n" not in text:
            piece = client.recv(4096)
            if not piece:
                see(f"{place} {text!r}")
                return
            text += piece
        line = text.split(b"\r\n")[0].decode()
        see(f"{place} {line}")
        path = line.split(" ")[1]
        if path == "/redirect":
            head = "HTTP/1.1 302 Found\r\nLocation: http://inner.test/\r\nContent-Length: 0\r\n\r\n"
            client.sendall(head.encode())
        elif path == "/endless":
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while True:
                    client.sendall(b"more\n")
                    time.sleep(0.02)
            except OSError:
                pass
        elif path == "/large":
            body = b"0123456789" * 500_000
            client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        else:
            body = f"this is {place}\n"
            client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())


def main():
    open(DIRECTORY + "/seen", "w").close()
    places = [
        ("public", PUBLIC, 80),
        ("public", PUBLIC, 443),
        ("public", PUBLIC, 8080),
        ("inner", INNER, 80),
        ("inner", INNER, 8000),
        ("private", PRIVATE, 80),
        ("metadata", METADATA, 80),
    ]
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind((INNER, 53))
    threading.Thread(target=serve_names, args=(names,), daemon=True).start()
    for place, address, port in places:
        server = socket.create_server((address, port), backlog=512)
        threading.Thread(target=serve_http, args=(place, server), daemon=True).start()
    open(DIRECTORY + "/up", "w").close()
    threading.Event().wait()


main()
