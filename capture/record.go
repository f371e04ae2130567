package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/sse"
	"github.com/fairlead-edge/fairlead/topic"
)

// readSize is the room offered to the upstream's body, in bytes: several
// events of the usual size, and little for a million quiet streams.
const readSize = 8 << 10

var buffers = sync.Pool{New: func() any { return new([readSize]byte) }}

// maxUpstreamID is the longest id of the upstream that is remembered, in bytes;
// no request could carry a longer one.
const maxUpstreamID = 4 << 10

// recorder appends a body to the stream's log. It belongs to the stream's
// goroutine.
type recorder struct {
	s        *stream
	next     uint64 // number of the next event
	events   []fairlead.Event
	size     int64
	last     uint64 // number of the last event with data
	upstream string // the upstream's own id in force
	tail     []byte // what follows the last whole event
	burst    burst
}

// drain records body to its end and returns how it broke, if it did.
func (s *stream) drain(resp *http.Response) *fairlead.Error {
	// A body that does not heed the context heeds this.
	unblock := context.AfterFunc(s.ctx, func() { _ = resp.Body.Close() })
	defer unblock()
	defer resp.Body.Close()
	rec := &recorder{s: s, next: 1, upstream: s.base, burst: burst{last: time.Now()}}
	take := rec.takeBytes
	split := &sse.Splitter{Max: int(s.cfg.MaxEvent)}
	if s.form == asEvents {
		take = func(piece []byte) error { return rec.takeEvents(split, piece) }
	}
	room := buffers.Get().(*[readSize]byte)
	defer buffers.Put(room)
	buf := room[:]
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			if failed := take(buf[:n]); failed != nil {
				return rec.broken(failed)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return rec.broken(err)
		}
	}
	s.mu.Lock()
	s.tail, s.trailers = rec.tail, resp.Trailer
	s.mu.Unlock()
	return nil
}

// broken returns the fault that err stands for.
func (rec *recorder) broken(err error) *fairlead.Error {
	if why, ok := errors.AsType[*fairlead.Error](context.Cause(rec.s.ctx)); ok {
		return why
	}
	if errors.Is(err, sse.ErrTooLarge) {
		return fairlead.Errorf(fairlead.TooLarge, "the upstream sent an event of more than %d bytes", rec.s.cfg.MaxEvent)
	}
	if why, ok := errors.AsType[*fairlead.Error](err); ok {
		return why
	}
	return fairlead.Errorf(fairlead.Fault, "the upstream broke off before the end of its response")
}

// takeEvents records the events that piece completes.
func (rec *recorder) takeEvents(split *sse.Splitter, piece []byte) error {
	split.Feed(piece)
	for b, ok := split.Next(); ok; b, ok = split.Next() {
		rec.add(b)
	}
	if err := rec.flush(); err != nil {
		return err
	}
	if n := split.Pending(); n <= len(piece) {
		rec.tail = append(rec.tail[:0], piece[len(piece)-n:]...)
	} else {
		rec.tail = append(rec.tail, piece...)
	}
	return split.Err()
}

// add prepares one block. One with data but without an id gets its cursor.
func (rec *recorder) add(b sse.Block) {
	var data []byte
	if b.HasData {
		rec.last = rec.next
	}
	switch {
	case b.HasID && len(b.ID) <= maxUpstreamID:
		if rec.upstream != string(b.ID) {
			rec.upstream = string(b.ID)
		}
		data = bytes.Clone(b.Raw)
	case b.HasID || !b.HasData:
		data = bytes.Clone(b.Raw)
	default:
		data = make([]byte, 0, len("id: \r\n")+maxCursor+len(b.Raw))
		data = append(data, "id: "...)
		data = appendCursor(data, rec.s.id, rec.next)
		data = append(data, lineEnd(b.Raw)...)
		data = append(data, b.Raw...)
	}
	rec.put(fairlead.Event{Data: data, Key: rec.upstream})
}

// lineEnd returns the end of a block's first line.
func lineEnd(raw []byte) string {
	i := bytes.IndexAny(raw, "\r\n")
	switch {
	case i < 0 || raw[i] == '\n':
		return "\n"
	case i+1 < len(raw) && raw[i+1] == '\n':
		return "\r\n"
	}
	return "\r"
}

// takeBytes records a piece as it is. Its key is the offset it begins at.
func (rec *recorder) takeBytes(piece []byte) error {
	var offset [8]byte
	binary.BigEndian.PutUint64(offset[:], uint64(rec.s.length)) // written by this goroutine only
	rec.put(fairlead.Event{Data: bytes.Clone(piece), Key: string(offset[:])})
	if err := rec.flush(); err != nil {
		return err
	}
	rec.s.mu.Lock()
	rec.s.length += int64(len(piece))
	rec.s.mu.Unlock()
	return nil
}

func (rec *recorder) put(e fairlead.Event) {
	rec.events = append(rec.events, e)
	rec.size += topic.RecordOverhead + int64(len(e.Data)+len(e.Key))
	rec.next++
}

// flush appends what was put.
func (rec *recorder) flush() error {
	if len(rec.events) == 0 {
		return nil
	}
	s := rec.s
	began := time.Now()
	if s.form == asEvents && rec.burst.came(began, len(rec.events)) {
		s.store.count.bursts.Add(1)
	}
	err := rec.append()
	if e, ok := errors.AsType[*fairlead.Error](err); ok && e.Code == fairlead.TooLarge {
		// Perhaps only because the log was being trimmed.
		s.trimmed()
		err = rec.append()
	}
	if err != nil {
		return err
	}
	if time.Since(began) >= s.store.cfg.Patience {
		s.dropStuck(began)
	}
	s.mu.Lock()
	s.lastEvent = rec.last
	s.mu.Unlock()
	s.store.count.events.Add(uint64(len(rec.events)))
	s.charge(rec.size)
	clear(rec.events)
	rec.events, rec.size = rec.events[:0], 0
	return nil
}

func (rec *recorder) append() error {
	_, err := rec.s.log.Append(rec.s.ctx, topic.Batch{Events: rec.events})
	return err
}

// trimmed returns when no trim is in progress.
func (s *stream) trimmed() {
	s.mu.Lock()
	defer s.mu.Unlock()
}

// dropStuck takes the place of the bodies that have not been read from since
// before the append began that waited for them, so that they do not hold back
// the next one as well.
func (s *stream) dropStuck(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.bodies {
		if at := b.busy.Load(); at != 0 && at <= since.UnixNano() {
			b.lose()
		}
	}
}

// mergeTrailer copies the values of the upstream's trailer to a response's.
func mergeTrailer(dst, src http.Header) {
	for name, values := range src {
		dst[name] = slices.Clone(values)
	}
}
