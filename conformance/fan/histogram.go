//go:build linux

package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// histogram counts delays in buckets that are less than 1 % wide.
type histogram struct {
	counts [64 << bucketBits]atomic.Int64
}

const bucketBits = 7

// bucketOf returns the bucket of a delay in nanoseconds: the place of its first
// bit, and the bits after that.
func bucketOf(delay int64) uint16 {
	v := uint64(max(delay, 0)) + 1<<bucketBits
	shift := bits.Len64(v) - 1 - bucketBits
	return uint16(shift<<bucketBits | int(v>>shift)&(1<<bucketBits-1))
}

// upTo returns the largest delay of a bucket.
func upTo(bucket uint16) time.Duration {
	shift := bucket >> bucketBits
	v := uint64(bucket&(1<<bucketBits-1)) + 1<<bucketBits + 1
	return time.Duration(v<<shift - 1 - 1<<bucketBits)
}

func (h *histogram) add(delay int64) { h.counts[bucketOf(delay)].Add(1) }

// take returns the counts that are not zero, and forgets them.
func (h *histogram) take() map[uint16]int64 {
	all := make(map[uint16]int64)
	for i := range h.counts {
		if n := h.counts[i].Swap(0); n > 0 {
			all[uint16(i)] = n
		}
	}
	return all
}

// quantile returns the delay that the share q of those counted do not exceed.
func quantile(counts map[uint16]int64, q float64) time.Duration {
	total := int64(0)
	last := uint16(0)
	for bucket, n := range counts {
		total += n
		last = max(last, bucket)
	}
	below := int64(0)
	for bucket := range last + 1 {
		if below += counts[bucket]; below > 0 && float64(below) >= q*float64(total) {
			return upTo(bucket)
		}
	}
	return 0
}
