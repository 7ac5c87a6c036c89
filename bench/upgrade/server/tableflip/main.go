// Command tableflip DIR ADDRESS is an HTTP server that answers with the content of DIR/version at
// its start. HUP upgrades it, as in the documentation of tableflip.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
)

func main() {
	dir, address := os.Args[1], os.Args[2]
	upgrader, err := tableflip.New(tableflip.Options{PIDFile: filepath.Join(dir, "tableflip.pid")})
	check(err)
	defer upgrader.Stop()
	go func() {
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		for range hangup {
			if err := upgrader.Upgrade(); err != nil {
				log.Println("upgrade failed:", err)
			}
		}
	}()
	go func() {
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		<-term
		upgrader.Stop()
	}()
	version, err := os.ReadFile(filepath.Join(dir, "version"))
	check(err)
	listener, err := upgrader.Listen("tcp", address)
	check(err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(version) })}
	go func() {
		if err := server.Serve(listener); err != http.ErrServerClosed {
			log.Println(err)
		}
	}()
	check(upgrader.Ready())
	<-upgrader.Exit()
	time.AfterFunc(30*time.Second, func() { os.Exit(1) })
	_ = server.Shutdown(context.Background())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
