package capture_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/capture"
)

// answering is a transport that answers as a function does.
type answering func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f answering) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// noticed is a body that notices its end.
type noticed struct {
	io.Reader

	closed bool
}

// Close implements io.Closer.
func (n *noticed) Close() error {
	n.closed = true
	return nil
}

func plainCall(ctx context.Context, t *testing.T) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://upstream.example/items", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestAPlainCallLeavesNothingBehindWhateverBecomesOfIt(t *testing.T) {
	t.Parallel()
	broken := errors.New("no upstream")
	for name, c := range map[string]struct {
		contentType string
		err         error
		leaves      bool
		want        error
	}{
		"an answer":                        {contentType: "application/json"},
		"an error":                         {err: broken, want: broken},
		"a caller who leaves at an error":  {err: broken, leaves: true, want: context.Canceled},
		"a caller who leaves at an answer": {contentType: "application/json", leaves: true, want: context.Canceled},
		"a caller who leaves at a stream":  {contentType: "text/event-stream", leaves: true, want: context.Canceled},
		"a stream":                         {contentType: "text/event-stream"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := capture.NewStore(capture.StoreConfig{})
			defer store.Close()
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			body := &noticed{Reader: strings.NewReader("data: 1\n\n")}
			ended := make(chan struct{})
			req := plainCall(ctx, t)
			resp, err := store.Transport(capture.Config{}, answering(func(r *http.Request) (*http.Response, error) {
				context.AfterFunc(r.Context(), func() { close(ended) })
				if r.Header.Get("Accept-Encoding") != "identity" || len(req.Header) != 0 {
					t.Errorf("sent %v for %v", r.Header, req.Header)
				}
				if c.leaves {
					leave()
				}
				if c.err != nil {
					return nil, c.err
				}
				return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {c.contentType}}, Body: body}, nil
			})).RoundTrip(req)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil {
				if got, err := io.ReadAll(resp.Body); err != nil || !strings.HasSuffix(string(got), "data: 1\n\n") {
					t.Errorf("read %q, %v", got, err)
				}
				resp.Body.Close()
			}
			if err := store.Drain(t.Context()); err != nil {
				t.Error(err)
			}
			<-ended // the call's context
			if c.err == nil && !body.closed {
				t.Error("the upstream's body is not closed")
			}
		})
	}
}

func TestAPlainCallPassesAStoreThatIsClosed(t *testing.T) {
	t.Parallel()
	store := capture.NewStore(capture.StoreConfig{})
	store.Close()
	resp, err := store.Transport(capture.Config{}, answering(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: http.NoBody}, nil
	})).RoundTrip(plainCall(t.Context(), t))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if at := resp.Header.Get("Content-Location"); at != "" {
		t.Errorf("it was captured at %s", at)
	}
}

func TestClosingTheStoreEndsAPlainCall(t *testing.T) {
	t.Parallel()
	store := capture.NewStore(capture.StoreConfig{})
	began := make(chan struct{})
	go func() {
		<-began
		store.Close()
	}()
	_, err := store.Transport(capture.Config{}, answering(func(r *http.Request) (*http.Response, error) {
		close(began)
		<-r.Context().Done()
		return nil, context.Cause(r.Context())
	})).RoundTrip(plainCall(t.Context(), t)) //nolint:bodyclose // there is none
	if why, ok := errors.AsType[*fairlead.Error](err); !ok || why.Code != fairlead.Draining {
		t.Errorf("got %v, want one of code draining", err)
	}
}
