package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// serveBytes serves a recorded body of bytes on the stream's own URL: with
// ?offset= from there on and live, with Range as RFC 9110 §14 has it, and while
// the body still grows as RFC 8673 does.
func (s *stream) serveBytes(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if t := s.header["Content-Type"]; len(t) > 0 {
		h["Content-Type"] = t
	} else {
		h["Content-Type"] = nil // net/http would guess one
	}
	if c := s.header["Content-Encoding"]; len(c) > 0 {
		h["Content-Encoding"] = c
	}
	h.Set("Cache-Control", "private, no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Accept-Ranges", "bytes")
	h.Set("Etag", s.etag())

	offset, given, err := offsetOf(r)
	if err != nil {
		writeProblem(w, err)
		return
	}
	view := s.view()
	ranged := r.Header.Get("Range") != "" && !given
	switch {
	case ranged && view.phase == ended, !given && view.phase == ended && r.Method == http.MethodHead:
		// The standard library knows ranges, conditions and HEAD.
		body := &seeker{s: s, length: view.length, base: view.base}
		defer body.Close()
		if view.base > 0 && !body.covers(r) {
			writeProblem(w, errForgotten(view.base))
			return
		}
		http.ServeContent(w, r, "", time.Time{}, body)
	case ranged && view.phase == live:
		s.serveLiveRange(w, r, view)
	default:
		s.serveFrom(w, r, offset, view)
	}
}

// view is what a body of bytes was at one time.
type view struct {
	phase  phase
	base   int64 // offset of the oldest byte that is retained
	length int64
}

func (s *stream) view() view {
	s.mu.Lock()
	v := view{phase: s.phase, length: s.length}
	s.mu.Unlock()
	earliest, latest := s.bounds()
	if record := s.record(max(earliest, 1)); record != nil {
		v.base = offsetIn(record)
	} else if latest > 0 {
		v.base = v.length // nothing is retained
	}
	return v
}

func offsetIn(r *topic.Record) int64 {
	return int64(binary.BigEndian.Uint64([]byte(r.Event.Key)))
}

func offsetOf(r *http.Request) (offset int64, given bool, err *fairlead.Error) {
	text := r.URL.Query().Get("offset")
	if text == "" {
		return 0, false, nil
	}
	n, bad := strconv.ParseInt(text, 10, 64)
	if bad != nil || n < 0 {
		return 0, false, fairlead.Errorf(fairlead.InvalidArgument, "offset is not a number of bytes: use what was received so far")
	}
	return n, true, nil
}

func errForgotten(base int64) *fairlead.Error {
	return fairlead.Errorf(fairlead.OutOfRange, "the part before offset %d is no longer kept; ask for offset=%d", base, base)
}

// serveFrom serves what follows offset, and then what comes.
func (s *stream) serveFrom(w http.ResponseWriter, r *http.Request, offset int64, v view) {
	switch {
	case offset < v.base:
		writeProblem(w, errForgotten(v.base))
		return
	case offset > v.length:
		writeProblem(w, fairlead.Errorf(fairlead.InvalidArgument, "offset %d is past what was received, %d", offset, v.length))
		return
	}
	w.Header().Set("Fairlead-Offset", strconv.FormatInt(offset, 10))
	if v.phase != live {
		w.Header().Set("Fairlead-Closed", closedFlag(true))
	}
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		s.copyFrom(w, r, offset, -1)
	}
}

// writeTimeout is how long one write to a reader may take, as in package sse.
const writeTimeout = 30 * time.Second

// copyFrom writes what follows offset, up to most bytes unless that is
// negative, until the end. A body that broke aborts the connection, so that it
// cannot be taken for the whole.
func (s *stream) copyFrom(w http.ResponseWriter, r *http.Request, offset, most int64) {
	rc := http.NewResponseController(w)
	// Nothing may be there yet, and the client wants the header.
	if err := rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return
	}
	reader := &seeker{s: s, at: offset}
	defer reader.Close()
	buf := make([]byte, 32<<10)
	for most != 0 {
		room := buf
		if most > 0 && most < int64(len(room)) {
			room = room[:most]
		}
		n, err := reader.read(r.Context(), room)
		if n > 0 {
			_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := w.Write(room[:n]); err != nil {
				return
			}
			if rc.Flush() != nil {
				return
			}
			_ = rc.SetWriteDeadline(time.Time{})
			if most > 0 {
				most -= int64(n)
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// serveLiveRange answers a Range on a body that still grows (RFC 8673): with
// what is there, or, when the last position asked for is far past anything,
// with all that comes.
func (s *stream) serveLiveRange(w http.ResponseWriter, r *http.Request, v view) {
	first, last, follow, ok := parseLiveRange(r.Header.Get("Range"), v.length)
	if match := r.Header.Get("If-Range"); !ok || match != "" && match != s.etag() {
		s.serveFrom(w, r, 0, v)
		return
	}
	switch {
	case first < v.base:
		writeProblem(w, errForgotten(v.base))
		return
	case first > v.length || first == v.length && !follow:
		w.Header().Set("Fairlead-Offset", strconv.FormatInt(v.length, 10))
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", first, last))
	if !follow {
		w.Header().Set("Content-Length", strconv.FormatInt(last-first+1, 10))
	}
	w.WriteHeader(http.StatusPartialContent)
	if r.Method == http.MethodHead {
		return
	}
	s.copyFrom(w, r, first, last-first+1)
}
