"""A libzmq socket that a test drives over pipes: one line of JSON each way.

xpub            binds; out {"endpoint"}, {"subscribed": hex} for each subscription; in {"send": [hex, ...]}, {"close": true}, {"bind": endpoint}
sub E T         connects to E, subscribes to T; out {"frames": [hex, ...]} for each message
simulated D P   the simulated engine's own publisher (package in folder D) on port P; in {"publish": [event, ...]}
proxy [X Y]     XSUB/XPUB broker, bound to X and Y; out {"broker": {"xsub", "xpub"}}
"""

import json
import sys
import threading

import zmq


def say(**fields):
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def xpub(context, heartbeat):
    control = context.socket(zmq.PULL)
    control.bind("inproc://control")

    def read():
        push = context.socket(zmq.PUSH)
        push.connect("inproc://control")
        for line in sys.stdin:
            push.send(line.encode())
        push.send(b'{"end": true}')

    threading.Thread(target=read, daemon=True).start()

    def bind(endpoint):
        socket = context.socket(zmq.XPUB)
        socket.linger = 0
        if heartbeat:
            socket.heartbeat_ivl = 50
            socket.heartbeat_timeout = 2000
        socket.bind(endpoint)
        say(endpoint=socket.last_endpoint.decode())
        return socket

    socket = bind("tcp://127.0.0.1:*")
    while True:
        poller = zmq.Poller()
        poller.register(control, zmq.POLLIN)
        if socket is not None:
            poller.register(socket, zmq.POLLIN)
        ready = dict(poller.poll())
        if socket is not None and socket in ready:
            say(subscribed=socket.recv().hex())
        if control in ready:
            command = json.loads(control.recv())
            if "send" in command:
                socket.send_multipart([bytes.fromhex(part) for part in command["send"]])
            elif "close" in command:
                socket.close()
                socket = None
                say(closed=True)
            elif "bind" in command:
                socket = bind(command["bind"])
            else:
                return


def sub(context, endpoint, topic):
    socket = context.socket(zmq.SUB)
    socket.linger = 0
    socket.rcvhwm = 100000
    socket.connect(endpoint)
    socket.subscribe(topic)
    while True:
        say(frames=[part.hex() for part in socket.recv_multipart()])


def proxy(context, xsub="tcp://127.0.0.1:*", xpub="tcp://127.0.0.1:*"):
    front = context.socket(zmq.XSUB)
    front.bind(xsub)
    back = context.socket(zmq.XPUB)
    back.bind(xpub)
    say(broker={"xsub": front.last_endpoint.decode(), "xpub": back.last_endpoint.decode()})
    zmq.proxy(front, back)


def simulated(folder, port):
    sys.path.insert(0, folder)
    from vllm.simulation.kv_events import KVEventPublisher

    publisher = KVEventPublisher({"topic": "", "endpoint": "tcp://*:" + port, "hwm": 1000}, 0)
    say(ready=True)
    for line in sys.stdin:
        publisher.publish(json.loads(line)["publish"])


def main():
    context = zmq.Context()
    kind = sys.argv[1]
    if kind == "xpub":
        xpub(context, "heartbeat" in sys.argv)
    elif kind == "sub":
        sub(context, sys.argv[2], sys.argv[3])
    elif kind == "simulated":
        simulated(sys.argv[2], sys.argv[3])
    else:
        proxy(context, *sys.argv[2:])


main()
