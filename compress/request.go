package compress

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// DecodeConfig bounds what the body of a request becomes. The zero value is the
// default.
type DecodeConfig struct {
	// MaxBytes is the most that a body is decoded to, in bytes. Default 16 MiB.
	MaxBytes int64

	// MaxRatio is how many times longer than what was received a body may become
	// beyond its first MiB: JSON becomes 5 to 20 times longer, the logs of a
	// machine that repeats itself up to 100 times, a bomb 1,000 times (gzip) to
	// 30,000 times (zstd). Default 100.
	MaxRatio int64

	// Budget bounds the memory of the windows that bodies ask for, up to 8 MiB
	// each. A body that finds it used up is answered 503, so that it should not be
	// that of responses, whose streams use theirs up without harm. nil: 64 MiB,
	// for all without one of their own.
	Budget *Budget

	// Refuse answers a request whose body cannot be decoded; Accept-Encoding and
	// Retry-After are set already. nil: the error's text as text/plain.
	Refuse func(w http.ResponseWriter, r *http.Request, err *DecodeError)
}

var decodeBudget = NewBudget(64 << 20)

// The zero values of DecodeConfig.
const (
	defaultMaxDecoded = 16 << 20
	defaultMaxRatio   = 100
)

// freeRatio is how many bytes of a body are decoded whatever their ratio: a
// short body may well be a few repeated lines.
const freeRatio = 1 << 20

// maxCodings is how many codings a body may have, one over the other. Nobody
// needs the second one, but proxies have been seen to add theirs.
const maxCodings = 2

// DecodeError is why a request's body could not be decoded: the error of its
// Read. When the body grows beyond a limit, there is an *http.MaxBytesError in
// it, for handlers that know of that one.
type DecodeError struct {
	// Status is what the client is to be told: 400 for a body that is not what
	// its Content-Encoding says, 413 for one that becomes too long, 503 when
	// there is no memory to decode it; 415 for a coding that is not known.
	Status int
	Err    error
}

// Error says what is wrong with the body; it has none of it in it.
func (e *DecodeError) Error() string { return "compress: decode request: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *DecodeError) Unwrap() error { return e.Err }

// Decode returns a handler that gives next the bodies of requests decoded, with
// Content-Encoding zstd, br or gzip, or two of them, one over the other
// (RFC 9110 §8.4). The others' requests pass as they are. A coding that it does
// not know is answered 415, with those that it does in Accept-Encoding
// (RFC 7694).
//
// Bodies are decoded as they are read. A body that cannot be fails next's Read
// with a [*DecodeError]; when next then returns without an answer, the client is
// told its Status. Content-Length and what else spoke of the coded body is
// removed. A body may be read and closed concurrently, but not after next has
// returned.
func Decode(cfg DecodeConfig, next http.Handler) http.Handler {
	cfg.MaxBytes = cmp.Or(max(cfg.MaxBytes, 0), defaultMaxDecoded)
	cfg.MaxRatio = min(cmp.Or(max(cfg.MaxRatio, 0), defaultMaxRatio), 1<<20)
	if cfg.Budget == nil {
		cfg.Budget = decodeBudget
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header["Content-Encoding"]) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		codings, err := requestCodings(r.Header["Content-Encoding"])
		if err != nil {
			w.Header().Set("Accept-Encoding", codingNames)
			cfg.refuse(w, r, &DecodeError{http.StatusUnsupportedMediaType, err})
			return
		}
		serveDecoded(&cfg, codings, next, w, r)
	})
}

func serveDecoded(cfg *DecodeConfig, codings []string, next http.Handler, w http.ResponseWriter, r *http.Request) {
	decoded := new(http.Request)
	*decoded = *r // not Clone: the server fills the trailers into this very map
	decoded.Header = r.Header.Clone()
	for _, name := range []string{"Content-Encoding", "Content-Length", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest"} {
		decoded.Header.Del(name)
	}
	if r.ContentLength == 0 || len(codings) == 0 {
		next.ServeHTTP(w, decoded) // what is not there needs no decoding
		return
	}
	body := newBody(cfg, codings, r.Body)
	decoded.Body, decoded.ContentLength = body, -1
	answer := &answer{ResponseWriter: w}
	defer body.free()
	next.ServeHTTP(answer, decoded)
	if failed := body.failed.Load(); failed != nil && !answer.begun {
		if failed.Status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		cfg.refuse(w, r, failed)
	}
}

func (cfg *DecodeConfig) refuse(w http.ResponseWriter, r *http.Request, err *DecodeError) {
	if cfg.Refuse != nil {
		cfg.Refuse(w, r, err)
		return
	}
	http.Error(w, err.Err.Error(), err.Status)
}

// requestCodings returns the codings of a body, the outermost first.
func requestCodings(lines []string) ([]string, error) {
	var codings []string
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.ToLower(strings.Trim(name, " \t"))
			switch name {
			case "", "identity":
				continue
			case "x-gzip":
				name = gzipName
			}
			if !slices.Contains(codingList, name) {
				return nil, fmt.Errorf("the request's content coding is not known here: use one of %s, or none", codingNames)
			}
			if len(codings) == maxCodings {
				return nil, fmt.Errorf("the request's body has more than %d codings, one over the other: use one of %s, or none", maxCodings, codingNames)
			}
			codings = append([]string{name}, codings...)
		}
	}
	return codings, nil
}

// answer knows whether there has been one.
type answer struct {
	http.ResponseWriter

	begun bool
}

// Unwrap lets an http.ResponseController set deadlines.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	a.begun = a.begun || status >= 200 || status == http.StatusSwitchingProtocols
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(p)
}

func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	a.begun = true
	return io.Copy(a.ResponseWriter, r)
}

// FlushError begins the answer, too.
func (a *answer) FlushError() error {
	a.begun = true
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Flush is FlushError for those who ask for an http.Flusher.
func (a *answer) Flush() { _ = a.FlushError() }
