// Command load is the traffic of the referee: the service behind the gateway (serve) and the
// clients in front of it. Every client prints, one JSON object a line, {"mark":"begin"} when what it
// measures begins and {"mark":"end", …} with its figures when that ends, so that the referee can
// read the CPU time of the gateway over the same interval.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Options of all clients.
type options struct {
	target      string
	warmup      time.Duration
	length      time.Duration
	connections int
	direction   string
	size        int
	loaded      bool
	rate        float64
}

// Figures of a measurement; what is zero does not apply.
type figures struct {
	Mark string `json:"mark"`
	// Of the interval measured.
	Seconds float64 `json:"seconds,omitempty"`
	// Of the traffic, where the interval has more than that.
	Active float64 `json:"active,omitempty"`
	// Payload, both directions together.
	Bytes int64 `json:"bytes,omitempty"`
	// Transactions, or datagrams that came back.
	Count int64   `json:"count,omitempty"`
	P50   float64 `json:"p50_us,omitempty"`
	P99   float64 `json:"p99_us,omitempty"`
	// Why the figure may be less than what the gateway could do.
	Note string `json:"note,omitempty"`
}

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: load serve|bulk|connect|rtt|udp|ping|idle|start|aead [options]"))
	}
	var o options
	set := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	set.StringVar(&o.target, "target", "", "address and port of the service")
	set.DurationVar(&o.warmup, "warmup", time.Second, "traffic before what is measured")
	set.DurationVar(&o.length, "length", 5*time.Second, "of what is measured")
	set.IntVar(&o.connections, "connections", 1, "at once")
	set.StringVar(&o.direction, "direction", "down", "down: the service sends; paced: it sends 500 Mbit/s; up: the client; both")
	set.IntVar(&o.size, "size", 64, "bytes of a datagram's payload")
	set.BoolVar(&o.loaded, "loaded", false, "beside a bulk flow")
	set.Float64Var(&o.rate, "rate", 1000, "ping: per second")
	counter := set.String("counter", "", "file in which the service counts what it read to the end")
	port := set.Int("port", 0, "serve: port of TCP and UDP; start: port that is waited for")
	network := set.String("network", "udp", "start: protocol of that port")
	set.Parse(os.Args[2:])
	if *counter != "" {
		if err := shareCounter(*counter); err != nil {
			fail(err)
		}
	}
	var err error
	switch os.Args[1] {
	case "serve":
		err = serve(*port)
	case "bulk":
		err = bulk(o)
	case "connect":
		err = connect(o)
	case "rtt":
		err = rtt(o)
	case "udp":
		err = udp(o)
	case "ping":
		err = ping(o)
	case "idle":
		err = idle(o)
	case "start":
		err = start(*network, *port, set.Args())
	case "aead":
		err = aead(o)
	default:
		err = fmt.Errorf("no such command: %s", os.Args[1])
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "load:", err)
	os.Exit(1)
}

func begin() time.Time {
	print(figures{Mark: "begin"})
	return time.Now()
}

func end(since time.Time, f figures) {
	f.Mark = "end"
	f.Seconds = time.Since(since).Seconds()
	print(f)
}

func print(f figures) {
	line, _ := json.Marshal(f)
	os.Stdout.Write(append(line, '\n'))
}

// sleep is exact to some 60 µs. time.Sleep ends 1 ms late where the program has nothing else to do, for
// that is the unit in which the runtime waits for the network: a sender of one datagram every 250 µs
// then seemed too slow for its rate, the sooner the sooner its answers came.
func sleep(length time.Duration) {
	left := unix.NsecToTimespec(int64(length))
	for unix.Nanosleep(&left, &left) == unix.EINTR {
	}
}

// percentiles returns the median and the 99th percentile in microseconds.
func percentiles(samples []time.Duration) (p50, p99 float64) {
	if len(samples) == 0 {
		return 0, 0
	}
	slices.Sort(samples)
	at := func(share float64) float64 {
		return float64(samples[int(share*float64(len(samples)-1))].Nanoseconds()) / 1000
	}
	return at(0.5), at(0.99)
}
