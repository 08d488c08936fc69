"""Every call of the client toxiproxy-python, and what it does to connections through a link.

python_client.rs runs this with the host and port of `nightmail link --api`. A server of its own stands behind the links.
"""

import socket
import sys
import threading
import time
from contextlib import closing

from toxiproxy import Proxy, Toxiproxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

WITHIN_S = 20


def echo_server():
    """Sends back what it gets. Returns where it listens."""
    listener = socket.create_server(("127.0.0.1", 0))

    def echo(connection):
        with closing(connection):
            while data := connection.recv(65536):
                connection.sendall(data)

    def serve():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=echo, args=[connection], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return "%s:%d" % listener.getsockname()


def dial(proxy):
    host, port = proxy.listen.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=WITHIN_S)


def round_trip_s(connection, size=1):
    """Sends so many bytes and gets them back. How long that took."""
    began = time.monotonic()
    connection.sendall(bytes(size))
    got = 0
    while got < size:
        data = connection.recv(65536)
        assert data, "the connection ended after %d of %d bytes" % (got, size)
        got += len(data)
    return time.monotonic() - began


def rest(connection):
    """What comes until the other end has said all, or has reset the connection."""
    got = b""
    try:
        while data := connection.recv(65536):
            got += data
    except ConnectionResetError:
        pass
    return got


def carries(proxy):
    try:
        with closing(dial(proxy)) as connection:
            round_trip_s(connection)
        return True
    except ConnectionError:
        return False


def raises(error, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except error as raised:
        return str(raised)
    raise AssertionError("%s was not raised" % error.__name__)


def server_is_found(server):
    assert server.running()
    assert server.version() == b'{"version": "2.12.0"}\n', server.version()
    assert server.proxies() == {}


def proxies_come_and_go(server):
    upstream = echo_server()
    db = server.create(upstream=upstream, name="db")
    assert isinstance(db, Proxy)
    assert (db.name, db.upstream, db.enabled) == ("db", upstream, True)
    assert carries(db)
    off = server.create(upstream=upstream, name="off", listen="127.0.0.1:0", enabled=False)
    assert not off.enabled
    assert set(server.proxies()) == {"db", "off"}
    assert server.get_proxy("db").listen == db.listen
    assert server.get_proxy("nobody") is None
    raises(ProxyExists, server.create, upstream=upstream, name="db")
    assert server.destroy(off) and server.get_proxy("off") is None
    assert server.destroy("db") is False, "a name is no proxy"
    assert db.destroy() and not carries(db)
    assert "proxy not found" in raises(NotFound, db.destroy)


def populating_makes_and_replaces(server):
    upstream = echo_server()
    wanted = [{"name": name, "listen": "127.0.0.1:0", "upstream": upstream} for name in ("a", "b")]
    made = server.populate(wanted)
    assert [proxy.name for proxy in made] == ["a", "b"]
    assert all(carries(proxy) for proxy in made)
    same = [{"name": "a", "listen": made[0].listen, "upstream": upstream}]
    assert server.populate(same) == [], "it is there already"
    other = echo_server()
    replaced = server.populate([{"name": "a", "listen": made[0].listen, "upstream": other}])
    assert [proxy.upstream for proxy in replaced] == [other]
    assert carries(replaced[0])
    server.destroy_all()
    assert server.proxies() == {}


def a_proxy_is_down_and_up_again(server):
    db = server.create(upstream=echo_server(), name="db")
    live = dial(db)
    round_trip_s(live)
    with db.down():
        assert rest(live) == b"", "what it carried has ended"
        assert not carries(db)
        assert not server.get_proxy("db").enabled
    assert carries(db)
    db.disable()
    assert not db.enabled and not carries(db)
    db.enable()
    assert db.enabled and carries(db)


def toxics_act_and_go(server):
    db = server.get_proxy("db")
    assert db.toxics() == {}
    live = dial(db)
    db.add_toxic(type="latency", attributes={"latency": 150, "jitter": 5})
    assert round_trip_s(live) >= 0.145
    toxic = db.get_toxic("latency_downstream")
    assert (toxic.type, toxic.stream, toxic.toxicity) == ("latency", "downstream", 1.0)
    assert toxic.attributes == {"latency": 150, "jitter": 5}
    assert db.get_toxic("nobody") is None
    assert "toxic already exists" in raises(ProxyExists, db.add_toxic, type="latency")
    assert "invalid toxic type" in raises(InvalidToxic, db.add_toxic, type="nonsense")
    assert "stream was invalid" in raises(InvalidToxic, db.add_toxic, type="latency", stream="up")
    assert db.destroy_toxic("latency_downstream")
    assert "toxic not found" in raises(NotFound, db.destroy_toxic, "latency_downstream")
    assert min(round_trip_s(live) for _ in range(10)) < 0.145, "the same connection, as before"

    db.add_toxic(name="cut", type="limit_data", stream="upstream", toxicity=1.0, attributes={"bytes": 10})
    with closing(dial(db)) as connection:
        connection.sendall(bytes(100))
        assert len(rest(connection)) <= 10
    assert list(db.toxics()) == ["cut"]
    db.disable()
    assert server.reset()
    assert db.toxics() == {} and carries(db)


def every_type_of_toxic_is_taken(server):
    db = server.get_proxy("db")
    attributes = {
        "latency": {"latency": 1, "jitter": 1},
        "bandwidth": {"rate": 1000},
        "slow_close": {"delay": 1},
        "timeout": {"timeout": 1000},
        "reset_peer": {"timeout": 1000},
        "slicer": {"average_size": 64, "size_variation": 8, "delay": 1},
        "limit_data": {"bytes": 1000},
        "blackhole": {},
        "corrupt": {"probability": 0.5},
        "stall": {"byte": 1, "duration": 1},
    }
    for kind, wanted in attributes.items():
        db.add_toxic(type=kind, stream="upstream", toxicity=0.5, attributes=wanted)
        toxic = db.get_toxic(kind + "_upstream")
        assert (toxic.attributes, toxic.toxicity) == (wanted, 0.5), kind
    assert list(db.toxics()) == [kind + "_upstream" for kind in attributes]
    server.destroy_all()


def main(host, port):
    server = Toxiproxy()
    server.update_api_consumer(host, int(port))
    for step in [
        server_is_found,
        proxies_come_and_go,
        populating_makes_and_replaces,
        a_proxy_is_down_and_up_again,
        toxics_act_and_go,
        every_type_of_toxic_is_taken,
    ]:
        step(server)
        print("ok:", step.__name__.replace("_", " "))


if __name__ == "__main__":
    main(*sys.argv[1:])
