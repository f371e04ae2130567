package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
)

const (
	pollWait  = 30 * time.Second // how long the server waits for an event
	pollLimit = 100              // events a page
	// maxPage bounds a page in bytes: its events of the largest size would be
	// more, and a server that sends less is asked again.
	maxPage = 256 << 20
)

// pollSession reads page after page.
type pollSession struct {
	reader *reader
	ctx    context.Context //nolint:containedctx // it is one connection's
	cancel context.CancelCauseFunc
	items  []Item // of the last page, not yet returned
}

func (s *pollSession) next() (Item, error) {
	for len(s.items) == 0 {
		if err := s.fetch(); err != nil {
			return Item{}, err
		}
	}
	item := s.items[0]
	s.items = s.items[1:]
	return item, nil
}

// fetch asks for one page. The server answers with an empty one when nothing
// came in time.
func (s *pollSession) fetch() error {
	r := s.reader
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, r.url, http.NoBody)
	if err != nil {
		return fairlead.Errorf(fairlead.InvalidArgument, "%v", err)
	}
	req.Header = r.cfg.header()
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Prefer", "wait="+strconv.Itoa(int(pollWait.Seconds())))
	q := req.URL.Query()
	q.Set("limit", strconv.Itoa(pollLimit))
	if r.after == "" {
		r.after = fairlead.Latest // as a stream does, and not as a page
	}
	q.Set("after", string(r.after))
	req.URL.RawQuery = q.Encode()

	w := newWatch(pollWait+r.cfg.IdleTimeout, s.cancel)
	defer w.stop()
	resp, err := r.cfg.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return errEnded
	}
	if resp.StatusCode != http.StatusOK {
		err := responseError(resp)
		r.pause = err.RetryAfter
		return err
	}
	var page wire.Page
	if err := json.NewDecoder(io.LimitReader(watched{resp.Body, w}, maxPage)).Decode(&page); err != nil {
		return err
	}
	s.take(&page)
	return nil
}

func (s *pollSession) take(page *wire.Page) {
	if page.Gap != nil {
		s.items = append(s.items, gapItem(page.Gap))
	}
	for i := range page.Events {
		s.items = append(s.items, eventItem(&page.Events[i]))
	}
	switch {
	case page.Fault != nil:
		s.items = append(s.items, Item{Kind: KindFault, Cursor: page.Fault.Cursor, Fault: page.Fault.Err()})
	case page.Closed:
		s.items = append(s.items, Item{Kind: KindEnd, Cursor: page.Next})
	case page.Next != "":
		s.reader.after = page.Next
	}
}

func (s *pollSession) close() { s.items = nil }

func eventItem(v *wire.Envelope) Item {
	return Item{Cursor: v.Cursor, Event: v.Event(), Skipped: v.Skipped}
}

func gapItem(g *wire.Gap) Item {
	item := Item{Kind: KindGap, Gap: Gap{After: g.After, Earliest: g.Earliest, Skipped: -1}}
	if g.Skipped != nil {
		item.Gap.Skipped = int64(min(*g.Skipped, 1<<62)) //nolint:gosec // bounded
	}
	return item
}
