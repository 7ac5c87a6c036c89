// Command godaemon PIDFILE SOCKET READY serves SOCKET in the background, with go-daemon alone. When
// it serves, it connects to the socket READY, because go-daemon itself cannot report readiness.
package main

import (
	"log"
	"net"
	"os"
	"time"

	"github.com/sevlyar/go-daemon"
)

func main() {
	context := daemon.Context{PidFileName: os.Args[1], PidFilePerm: 0o644, WorkDir: "/"}
	child, err := context.Reborn()
	if err != nil {
		log.Fatal(err)
	}
	if child != nil {
		return // the launcher returns before the service is ready
	}
	time.AfterFunc(5*time.Minute, func() { os.Exit(0) }) // in case it is not stopped
	l, err := net.Listen("unix", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	ready, err := net.Dial("unix", os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	ready.Close()
	for {
		conn, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		conn.Close()
	}
}
