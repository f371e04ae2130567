package capture

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/fairlead-edge/fairlead/topic"
)

// seeker reads a recorded body of bytes from any offset.
type seeker struct {
	s      *stream
	base   int64
	length int64 // of an ended one
	at     int64

	r     *topic.Reader
	piece []byte
	items [1]topic.Item
}

// Seek is that of an ended body.
func (k *seeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += k.at
	case io.SeekEnd:
		offset += k.length
	}
	if offset < 0 {
		return 0, errors.New("capture: seek before the beginning")
	}
	k.Close()
	k.at = offset
	return offset, nil
}

// Read is that of an ended body, where nothing has to be waited for.
func (k *seeker) Read(p []byte) (int, error) { return k.read(context.Background(), p) }

// Close leaves the log.
func (k *seeker) Close() {
	if k.r != nil {
		k.r.Close()
		k.r, k.piece = nil, nil
	}
}

// covers reports whether what the request asks for can all be there although
// the part before base is not.
func (k *seeker) covers(r *http.Request) bool {
	first, _, _, ok := parseLiveRange(r.Header.Get("Range"), k.length)
	return ok && first >= k.base
}

func (k *seeker) read(ctx context.Context, p []byte) (int, error) {
	if k.r == nil {
		if err := k.open(); err != nil {
			return 0, err
		}
	}
	for len(k.piece) == 0 {
		if _, err := k.r.Next(ctx, k.items[:]); err != nil {
			return 0, err
		}
		switch item := &k.items[0]; item.Kind {
		case topic.KindEvent:
			k.piece = item.Record.Event.Data
			if skip := k.at - offsetIn(item.Record); skip > 0 {
				k.piece = k.piece[min(skip, int64(len(k.piece))):]
			}
		case topic.KindEnd:
			return 0, io.EOF
		case topic.KindFault:
			return 0, item.Fault
		case topic.KindGap, topic.KindLag:
			return 0, errLost
		}
	}
	n := copy(p, k.piece)
	k.piece = k.piece[n:]
	k.at += int64(n)
	return n, nil
}

// open attaches a reader before the piece that holds the offset, which it
// finds by halving.
func (k *seeker) open() error {
	earliest, latest := k.s.bounds()
	low, high := max(earliest, 1), latest // the first piece that may begin after the offset
	for low <= high {
		middle := low + (high-low)/2
		if record := k.s.record(middle); record != nil && offsetIn(record) > k.at {
			high = middle - 1
		} else {
			low = middle + 1
		}
	}
	k.r = topic.NewReader()
	return k.r.Add(k.s.log, k.s.at(max(high, 1)-1))
}

// endless is the least last position that asks for all that comes: beyond any
// body that can be held (RFC 8673 §2.2 leaves the value to the parties).
const endless = 1 << 40

// parseLiveRange reads a Range of one part for a body of length bytes so far,
// with last at most what is there unless follow.
func parseLiveRange(value string, length int64) (first, last int64, follow, ok bool) {
	spec, ok := strings.CutPrefix(value, "bytes=")
	from, to, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok || !dash {
		return 0, 0, false, false
	}
	number := func(s string) (int64, bool) {
		n, err := strconv.ParseUint(s, 10, 64)
		if errors.Is(err, strconv.ErrRange) {
			n, err = math.MaxInt64, nil
		}
		return int64(min(n, math.MaxInt64)), err == nil
	}
	if from == "" {
		n, ok := number(to)
		return max(length-n, 0), length - 1, false, ok && n > 0
	}
	first, ok = number(from)
	if !ok || to == "" {
		return first, length - 1, false, ok
	}
	last, ok = number(to)
	if !ok || last < first {
		return 0, 0, false, false
	}
	if last >= endless {
		return first, last, true, true
	}
	return first, min(last, length-1), false, true
}

var _ io.ReadSeeker = (*seeker)(nil)
