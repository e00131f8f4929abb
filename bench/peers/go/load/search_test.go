package main

import (
	"testing"
	"time"
)

// machine is a gateway that carries up to capacity, and loses at any rate while it is disturbed.
type machine struct {
	capacity float64
	now      time.Duration
	// disturbed are intervals of time.
	disturbed [][2]time.Duration
	// Whether what is disturbed is the sender: then nothing is lost.
	late   bool
	trials int
}

func (m *machine) try(rate float64) (passed, late bool) {
	from := m.now
	m.now += trialLength
	m.trials++
	for _, d := range m.disturbed {
		if from < d[1] && m.now > d[0] {
			return m.late, m.late
		}
	}
	return rate <= m.capacity, rate > 1_000_000
}

func (m *machine) search() float64 {
	rate, _ := search(m.try, func(d time.Duration) { m.now += d }, func() bool {
		return m.now < searchLength
	})
	return rate
}

func TestSearchFindsTheCapacity(t *testing.T) {
	for _, capacity := range []float64{130, 900, 3_500, 4_000, 31_500, 58_000, 193_000} {
		m := machine{capacity: capacity}
		if found := m.search(); found > capacity || found < capacity/precision {
			t.Errorf("%.0f for a capacity of %.0f, in %v", found, capacity, m.now)
		}
	}
}

func TestSearchSurvivesADisturbanceAnywhere(t *testing.T) {
	const capacity = 58_000
	for _, length := range []time.Duration{10 * time.Millisecond, 1500 * time.Millisecond, 4 * time.Second} {
		for from := time.Duration(0); from < 15*time.Second; from += 100 * time.Millisecond {
			for _, late := range []bool{false, true} {
				m := machine{capacity: capacity, disturbed: [][2]time.Duration{{from, from + length}}, late: late}
				if found := m.search(); found > 1.05*capacity || found < capacity/1.1 {
					t.Errorf("%.0f when disturbed for %v at %v, late: %v", found, length, from, late)
				}
			}
		}
	}
}

func TestSearchEnds(t *testing.T) {
	none := machine{capacity: 0}
	if found := none.search(); found != 0 {
		t.Errorf("%.0f where nothing passes", found)
	}
	fast := machine{capacity: 1e12}
	if fast.search() == 0 {
		t.Error("nothing found where everything passes")
	}
	// Every second trial fails: none of the rates is out of reach, and no time either.
	flaky := machine{capacity: 58_000}
	for at := time.Duration(0); at < time.Hour; at += time.Second {
		flaky.disturbed = append(flaky.disturbed, [2]time.Duration{at, at + 300*time.Millisecond})
	}
	flaky.search()
	if flaky.now > searchLength+5*time.Second {
		t.Errorf("%v", flaky.now)
	}
}
