// Command godaemon PIDFILE SOCKET READY serves on the socket in the background, on go-daemon alone. It calls the socket READY when it does,
// for there is no other way to tell.
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
		return // before there is a service
	}
	time.AfterFunc(5*time.Minute, func() { os.Exit(0) }) // nobody has stopped it
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
