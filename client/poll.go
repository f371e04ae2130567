package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
)

const (
	pollWait  = 30 * time.Second // how long the server waits for an event
	pollLimit = 100              // events a page
	// maxPage bounds a page, in bytes, beside one event of the largest size:
	// the server cuts a page once it has 4 MiB.
	maxPage = 16 << 20
)

// pollSession reads page after page.
type pollSession struct {
	reader *reader
	ctx    context.Context
	cancel context.CancelCauseFunc
	items  []Item          // of the last page, not yet returned
	then   fairlead.Cursor // where to go on after them
}

// openPoll fetches the first page, by which the server proves itself.
func (r *reader) openPoll(ctx context.Context, cancel context.CancelCauseFunc) (session, error) {
	r.after = cmp.Or(r.start(), fairlead.Latest) // as a stream does, and not as a page
	s := &pollSession{reader: r, ctx: ctx, cancel: cancel}
	return s, s.fetch()
}

func (s *pollSession) next() (Item, error) {
	for len(s.items) == 0 {
		if s.then != "" {
			s.reader.move(s.then)
		}
		began := time.Now()
		if err := s.fetch(); err != nil {
			return Item{}, err
		}
		// A server that does not wait for events is not asked without a pause.
		if pause := s.reader.cfg.MinBackoff; len(s.items) == 0 && time.Since(began) < pause && !sleep(s.ctx, pause) {
			return Item{}, context.Cause(s.ctx)
		}
	}
	item := s.items[0]
	s.items = s.items[1:]
	return item, nil
}

// fetch asks for one page. The server answers with an empty one when nothing
// came in time.
func (s *pollSession) fetch() error {
	r, wait := s.reader, pollWait
	if r.word() && r.after == fairlead.Latest {
		wait = 0 // first to learn where that is, lest it move on with a lost answer
	}
	target := with(r.url, map[string]string{"limit": strconv.Itoa(pollLimit), "after": string(r.after)})
	req, err := r.request(s.ctx, target, "application/json")
	if err != nil {
		return err
	}
	req.Header.Set("Prefer", "wait="+strconv.Itoa(int(wait.Seconds())))

	w := newWatch(wait+r.cfg.IdleTimeout, s.cancel)
	defer w.stop()
	resp, err := r.cfg.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := admit(resp, "application/json"); err != nil {
		return err
	}
	limit := maxPage + r.cfg.MaxEvent
	body, err := io.ReadAll(io.LimitReader(watchedBody{resp.Body, w}, limit+1))
	if err != nil {
		return fmt.Errorf("client: read page: %w", err)
	}
	if int64(len(body)) > limit {
		return fairlead.Errorf(fairlead.TooLarge, "the server sends a page of more than %d bytes", limit)
	}
	return s.take(body)
}

// take makes items of a page. An event that cannot be read spoils only itself.
func (s *pollSession) take(body []byte) error {
	var page struct {
		wire.Page
		Events []json.RawMessage `json:"events"`
	}
	err := json.Unmarshal(body, &page)
	if err == nil && page.Next == "" && !page.Closed {
		err = errors.New("it does not say what is next")
	}
	if err != nil {
		return fairlead.Errorf(fairlead.NotAcceptable, "the server does not answer with a page of events (%v); is the URL a topic's?", err)
	}
	s.then = page.Next
	if page.Gap != nil {
		s.items = append(s.items, gapItem(page.Gap))
	}
	for _, text := range page.Events {
		s.items = append(s.items, readEnvelope(text))
	}
	switch {
	case page.Fault != nil:
		s.items = append(s.items, Item{Kind: KindFault, Cursor: cmp.Or(page.Fault.Cursor, page.Next), Fault: page.Fault.Err()})
	case page.Closed:
		s.items = append(s.items, Item{Kind: KindEnd, Cursor: page.Next})
	}
	return nil
}

func (s *pollSession) close() {}

func gapItem(g *wire.Gap) Item {
	item := Item{Kind: KindGap, Gap: Gap{After: g.After, Earliest: g.Earliest, Skipped: -1}}
	if g.Skipped != nil {
		item.Gap.Skipped = int64(min(*g.Skipped, 1<<62))
	}
	return item
}
