//go:build linux

package main

import (
	"fmt"
	"slices"
)

// duel is what turns of floor and server have cost.
type duel struct {
	floor, server, ratios []float64
}

// alternate lets two targets take turns, so many of each after one that warms up,
// changing who is first.
func (d *duel) alternate(rounds int, floor, server *target, cost func(*target) (float64, error)) error {
	for round := range rounds + 1 {
		pair := []*target{floor, server}
		if round%2 == 1 {
			pair = []*target{server, floor}
		}
		costs := make(map[*target]float64)
		for _, t := range pair {
			c, err := cost(t)
			if err != nil {
				return err
			}
			costs[t] = c
		}
		if round > 0 {
			d.add(costs[floor], costs[server])
		}
	}
	return nil
}

func (d *duel) add(floor, server float64) {
	d.floor, d.server = append(d.floor, floor), append(d.server, server)
	d.ratios = append(d.ratios, server/floor)
}

// String is the columns of a table: both medians, that of the ratios, and
// between what a half of them and all are.
func (d *duel) String() string { return d.columns(2) }

// columns is String with so many digits of the ratios.
func (d *duel) columns(digits int) string {
	sorted := slices.Sorted(slices.Values(d.ratios))
	n := len(sorted)
	return fmt.Sprintf("%.2f | %.2f | **%.*f** | %.*f–%.*f | %.*f–%.*f", median(d.floor), median(d.server), digits, median(sorted),
		digits, sorted[n/4], digits, sorted[n-1-n/4], digits, sorted[0], digits, sorted[n-1])
}

const duelHead = "floor, µs | Fairlead, µs | ratio, median | middle half | all"
