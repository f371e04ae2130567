package deliver

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
)

// problem is the body of an error (RFC 9457). Its type is about:blank, so it
// has none.
type problem struct {
	Title  string        `json:"title"`
	Status int           `json:"status"`
	Detail string        `json:"detail"`
	Code   fairlead.Code `json:"code"`
	*missed
}

// missed are further members of a gap that the reader asked to fail at.
type missed struct {
	After    fairlead.Cursor `json:"after"`
	Earliest fairlead.Cursor `json:"earliest"`
	Skipped  *uint64         `json:"skipped"`
}

// gapError is a gap under gap=fail.
type gapError struct{ gap wire.Gap }

func (g *gapError) Error() string { return g.Unwrap().Error() }

// Unwrap returns the gap as a fairlead.Error.
func (g *gapError) Unwrap() error {
	return fairlead.Errorf(fairlead.OutOfRange, "events after this cursor are no longer retained; start again with after=earliest, or leave gap=fail out to be told and go on")
}

func writeProblem(w http.ResponseWriter, r *http.Request, e *fairlead.Error) {
	body := problem{Title: e.Code.Title(), Status: e.Code.HTTPStatus(), Detail: e.Message, Code: e.Code}
	sendProblem(w, r, e, body)
}

// writeGap answers gap=fail.
func writeGap(w http.ResponseWriter, r *http.Request, g *gapError) {
	e := fairlead.AsError(g)
	body := problem{Title: e.Code.Title(), Status: e.Code.HTTPStatus(), Detail: e.Message, Code: e.Code}
	body.missed = &missed{g.gap.After, g.gap.Earliest, g.gap.Skipped}
	sendProblem(w, r, e, body)
}

func sendProblem(w http.ResponseWriter, r *http.Request, e *fairlead.Error, p problem) {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(text) // a client that has gone needs no answer
	}
}

// answer writes err, which serve returned.
func answer(w http.ResponseWriter, r *http.Request, err error) {
	if g, ok := errors.AsType[*gapError](err); ok {
		writeGap(w, r, g)
		return
	}
	writeProblem(w, r, fairlead.AsError(err))
}
