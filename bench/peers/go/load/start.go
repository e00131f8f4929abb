package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// start executes a command and waits until a socket of this network namespace has the port.
// Its standard input is the command's.
func start(network string, port int, command []string) error {
	table := "/proc/self/net/" + network
	suffix := fmt.Sprintf(":%04X", port)
	if listens(table, suffix) {
		return fmt.Errorf("port %d is taken", port)
	}
	child := exec.Command(command[0], command[1:]...)
	child.Stdin = os.Stdin
	child.Stdout = os.Stderr
	child.Stderr = os.Stderr
	since := begin()
	if err := child.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	for !listens(table, suffix) && !listens(table+"6", suffix) {
		select {
		case err := <-ended:
			return fmt.Errorf("ended before it listened: %v", err)
		default:
		}
		if time.Since(since) > 20*time.Second {
			child.Process.Kill()
			return fmt.Errorf("does not listen after 20 s")
		}
		time.Sleep(200 * time.Microsecond)
	}
	end(since, figures{})
	child.Process.Kill()
	<-ended
	return nil
}

// listens looks for a local port in a table of /proc/net.
func listens(table, suffix string) bool {
	text, err := os.ReadFile(table)
	if err != nil {
		return false
	}
	for _, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.HasSuffix(fields[1], suffix) {
			return true
		}
	}
	return false
}
