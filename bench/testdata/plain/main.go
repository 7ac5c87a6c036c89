// Command plain SOCKET [FD] serves the socket in the foreground, like a program that leaves the
// rest to other tools. When it serves, it sends READY=1 to NOTIFY_SOCKET, as sd_notify(3) does, and
// writes a line to the descriptor FD.
package main

import (
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	time.AfterFunc(5*time.Minute, func() { os.Exit(0) }) // in case it is not stopped
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	l, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		conn, err := net.Dial("unixgram", path)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := conn.Write([]byte("READY=1")); err != nil {
			log.Fatal(err)
		}
		conn.Close()
	}
	if len(os.Args) > 2 {
		fd, err := strconv.Atoi(os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "ready")
		if _, err := f.WriteString("\n"); err != nil {
			log.Fatal(err)
		}
		f.Close()
	}
	go func() {
		<-c
		l.Close()
	}()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		conn.Close()
	}
}
