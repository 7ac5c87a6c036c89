"""service.py PIDFILE SOCKET serves on the socket in the background, on python-daemon."""

import signal
import socket
import sys

import daemon
import daemon.pidfile

with daemon.DaemonContext(pidfile=daemon.pidfile.TimeoutPIDLockFile(sys.argv[1], 0)):
    signal.alarm(300)  # in case it is not stopped
    server = socket.socket(socket.AF_UNIX)
    server.bind(sys.argv[2])
    server.listen()
    while True:
        server.accept()[0].close()
