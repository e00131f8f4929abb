package main

import "time"

const (
	// precision ends the search: the rates that passed and failed are so close.
	precision   = 1.04
	lowestTried = 125.0
	firstTried  = 4000.0
)

// pauses are waited before a rate that failed is tried again, so that what disturbed it, a burst of
// something else on the machine, may be over. A rate counts as failed when it has failed once more
// than there are pauses.
var pauses = []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, time.Second}

// longPause is waited before the search is ended because the sender seems too slow.
const longPause = 3 * time.Second

// search returns the highest rate that passes, by doubling and bisection; 0: none does.
//
// A disturbance may be longer than all tries of a rate. So the rate that bounds the search from above
// is tried once more at its end, when seconds have passed: if it passes then, the search goes on
// upwards from there. The same goes for a rate at which the sender was too slow: it may have been held
// up.
//
// try reports whether a rate passed, and whether the sender was too slow for it. more reports whether
// there is time left.
func search(
	try func(rate float64) (passed, late bool), sleep func(time.Duration), more func() bool,
) (rate float64, note string) {
	passes := func(rate float64) (bool, bool) {
		alwaysLate := true
		for attempt := 0; ; attempt++ {
			passed, late := try(rate)
			if passed && !late {
				return true, false
			}
			alwaysLate = alwaysLate && passed
			if attempt == len(pauses) {
				return alwaysLate, alwaysLate
			}
			sleep(pauses[attempt])
		}
	}
	low, high := 0.0, firstTried
	for {
		// Upwards to the first rate that fails.
		for more() {
			passed, late := passes(high)
			if passed && late {
				sleep(longPause)
				passed, late = passes(high)
			}
			if !passed {
				break
			}
			if late {
				return high, "the client cannot send faster"
			}
			low, high = high, 2*high
		}
		// Downwards to one that passes.
		for rate := high / 2; low == 0; rate /= 2 {
			if rate < lowestTried {
				return 0, ""
			}
			if passed, late := passes(rate); passed && !late {
				low = rate
			} else {
				high = rate
			}
		}
		for high/low > precision && more() {
			middle := (high + low) / 2
			if passed, late := passes(middle); passed && !late {
				low = middle
			} else {
				high = middle
			}
		}
		if !more() {
			return low, ""
		}
		if passed, late := try(high); !passed || late {
			return low, ""
		}
		low, high = high, 2*high
	}
}
