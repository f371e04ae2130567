//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cpu returns what the threads of the processes have run, in sum. A thread that
// ends takes its time along; the programs here keep theirs.
func cpu(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil || len(paths) == 0 {
			return 0, fmt.Errorf("cpu: process %d has ended", pid)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path) //nolint:gosec // of /proc
			if err != nil {
				continue // the thread ended in between
			}
			ran, _, _ := strings.Cut(string(text), " ")
			n, err := strconv.ParseInt(ran, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("cpu: %s: %w", path, err)
			}
			sum += time.Duration(n)
		}
	}
	return sum, nil
}

// writes returns how many write(2) and writev(2) calls the processes have made.
func writes(pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		n, err := field(fmt.Sprintf("/proc/%d/io", pid), "syscw:")
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// rss returns the resident memory of the processes, in bytes: what they share
// counts for each.
func rss(pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		n, err := field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
		if err != nil {
			return 0, err
		}
		sum += n << 10
	}
	return sum, nil
}

// field returns the first number after a name in a file of /proc.
func field(path, name string) (int64, error) {
	text, err := os.ReadFile(path) //nolint:gosec // of /proc
	if err != nil {
		return 0, fmt.Errorf("proc: %w", err)
	}
	_, after, found := strings.Cut(string(text), name)
	values := strings.Fields(after)
	if !found || len(values) == 0 {
		return 0, fmt.Errorf("proc: %s has no %s", path, name)
	}
	return strconv.ParseInt(values[0], 10, 64)
}

// descriptors returns how many a process has open.
func descriptors(pid int) (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries), err
}

// median returns the middle of values, or the mean of the two middle ones.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
