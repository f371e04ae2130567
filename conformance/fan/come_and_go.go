//go:build linux

package main

import (
	"syscall"
	"time"
)

// churn opens subscribers at a rate for a while and closes each after it was
// held; every fourth is cut off with RST.
func (l *load) churn(g *group, o order) (report, error) {
	type held struct {
		s     *subscriber
		until time.Time
	}
	var open []held
	var made int64
	closeUntil := func(now time.Time) {
		for len(open) > 0 && !open[0].until.After(now) {
			s := open[0].s
			if made%4 == 0 {
				_ = syscall.SetsockoptLinger(s.fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
			}
			_ = syscall.Close(s.fd)
			open = open[1:]
		}
	}
	start := time.Now()
	for made < int64(o.Count) {
		due := start.Add(time.Duration(made) * time.Second / time.Duration(o.Rate))
		time.Sleep(time.Until(due))
		one := o
		if o.Kind == "" { // both in turn
			one.Kind, one.Path = kindSSE, o.Path
			if made%2 == 1 {
				one.Kind = kindWebSocket
			}
		}
		s, err := subscribe(g, one)
		if err != nil {
			closeUntil(time.Now().Add(o.Hold))
			return report{Made: made}, err
		}
		made++
		open = append(open, held{s, time.Now().Add(o.Hold)})
		closeUntil(time.Now())
	}
	closeUntil(time.Now().Add(2 * o.Hold))
	return report{Made: made}, nil
}
