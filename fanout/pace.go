package fanout

import "time"

// What a client sends and nothing is done for, as all that comes on a connection
// that has been ended or only delivers, is read at paceBytes in paceTime, 1.3 MB/s:
// soon enough for one that has its last message on the way, while one that floods
// costs little. Before that it may send paceBytes at once, or Options.Burst.
const (
	paceBytes = 64 << 10
	paceTime  = 50 * time.Millisecond
)

func (o *Options) burst() int32 {
	if o.Burst > 0 {
		return int32(min(o.Burst, 1<<30))
	}
	return 4 << 20
}

// drained returns how many of the bytes that a client has sent too many count
// still, when it has sent none for so long: a leaky bucket.
func drained(bytes int32, after time.Duration) int32 {
	if after >= rest(bytes-paceBytes) {
		return 0
	}
	return bytes - int32(max(after, 0)*paceBytes/paceTime)
}

// rest returns how long a client is not read from that has sent so many bytes too
// many: until it may send paceBytes.
func rest(excess int32) time.Duration {
	return (time.Duration(excess) + paceBytes) * paceTime / paceBytes
}
