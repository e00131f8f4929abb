package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// idle opens o.connections, uses each once, and holds them until its standard input ends.
func idle(o options) error {
	conns := make([]*net.TCPConn, o.connections)
	slots := make(chan int)
	failed := make(chan error, o.connections)
	var workers sync.WaitGroup
	for range 32 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			buffer := make([]byte, 64)
			for slot := range slots {
				conn, err := open(o.target, echo)
				if err == nil {
					_, err = conn.Write(buffer)
				}
				if err == nil {
					_, err = io.ReadFull(conn, buffer)
				}
				if err != nil {
					failed <- fmt.Errorf("connection %d: %w", slot, err)
					continue
				}
				conns[slot] = conn
			}
		}()
	}
	for slot := range conns {
		slots <- slot
	}
	close(slots)
	workers.Wait()
	if len(failed) > 0 {
		return fmt.Errorf("%d connections failed; %w", len(failed), <-failed)
	}
	since := begin()
	io.Copy(io.Discard, os.Stdin)
	end(since, figures{Count: int64(len(conns))})
	return nil
}
